"""Which styles survive: what the table of the demo says where costs fall, or customers bring their keys."""

from __future__ import annotations

from ledger.cli.demonstration.styles_table import Sold, World, survives
from tests.amounts import DOLLAR


def test_costs_of_the_worlds(sold):
    """Costs are the same in every style: 30 % of all, 30 % of models' alone, or machines' alone."""
    for row in sold.values():
        today, cheaper, levers, own_keys = (row[world].cost_nanousd for world in World)
        machines = own_keys
        assert abs(10 * cheaper - 3 * today) < 10 * 123
        assert abs(10 * levers - 3 * (today - machines) - 10 * machines) < 10 * 123


def test_levers_move_no_price(sold):
    """What customers pay does not change when a lever serves for less, but where they are charged by it."""
    moved = {
        style
        for style, row in sold.items()
        if row[World.LEVERS].paid_nanousd != row[World.TODAY].paid_nanousd
    }
    assert moved == {"platform-fee"}


def test_which_styles_survive(sold):
    """Rates of usage live by the provider's bill; outcomes by neither; cost-plus falls with it."""
    stored = {
        style: [world for world in (World.CHEAPER, World.OWN_KEYS) if survives(row, world)]
        for style, row in sold.items()
    }
    assert stored == {
        "devin": [World.CHEAPER],
        "snowflake": [World.CHEAPER],
        "databricks": [World.CHEAPER],
        "sierra": [World.CHEAPER, World.OWN_KEYS],
        "cost-plus": [World.OWN_KEYS],
        "value": [World.CHEAPER, World.OWN_KEYS],
        "platform-fee": [World.OWN_KEYS],
    }


def test_half_is_what_survival_takes():
    """Half of today's is enough; where today leaves nothing, half of what the levers do."""
    row = {
        World.TODAY: Sold(30 * DOLLAR, 20 * DOLLAR),
        World.CHEAPER: Sold(25 * DOLLAR, 20 * DOLLAR),
        World.LEVERS: Sold(40 * DOLLAR, 20 * DOLLAR),
        World.OWN_KEYS: Sold(25 * DOLLAR - 1, 20 * DOLLAR),
    }
    assert survives(row, World.CHEAPER)
    assert not survives(row, World.OWN_KEYS)
    row[World.TODAY] = Sold(20 * DOLLAR, 20 * DOLLAR + 9)
    assert not survives(row, World.CHEAPER)
