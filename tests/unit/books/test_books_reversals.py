"""What a reversal says of itself, and what it makes of a reservation: whole values, field by field."""

from __future__ import annotations

from datetime import timedelta

import pytest
from books_world import World

from ledger.books import (
    Charge,
    Command,
    Commit,
    Decision,
    EntryKind,
    GrantKind,
    IssueGrant,
    MoneyLine,
    Plan,
    Priced,
    RefusalReason,
    ReservationCosts,
    ReservationState,
    Reserve,
    Reverse,
    Treatment,
    decide,
)
from tests import build
from tests.build import START, decided, line

LABELS = {"project": "red"}


def run(world: World, command: Command, priced: Priced | None = None) -> Decision:
    """Run a command that is not refused."""
    return decided(world.run(command, priced))


def usage(*lines: tuple[str, Treatment, int, int]) -> Priced:
    """Give lines of kind, treatment, micro-credits and nano-dollars of cost, on a card with outcomes."""
    made = (
        line(micros, cost, kind=kind, treatment=treatment, public={"title": kind}, internal={"rule": kind})
        for kind, treatment, micros, cost in lines
    )
    return build.priced(*made, has_outcome_rule=True, outcome_charged=True, occurred_at=START)


@pytest.fixture
def world() -> World:
    """Give a customer of another plan than the usual, with credits to draw."""
    world = World(Plan("gold", None))
    run(world, IssueGrant("grant", b"g", 100, GrantKind.PAID, 200))
    return world


def test_the_reversal_of_a_charge_names_its_request_its_plan_and_what_the_charge_was_made_under(
    world: World,
) -> None:
    """Request, plan and reason are its own; subject, terms and labels are those of the charge."""
    charge = run(world, Charge("charge", b"c", 10, labels=LABELS)).entry
    entry = run(world, Reverse("undo", b"u", charge.sequence, None, "twice")).entry
    assert (entry.kind, entry.request_id, entry.fingerprint) == (EntryKind.REVERSAL, "undo", b"u")
    assert (entry.plan, entry.reason) == ("gold", "twice")
    assert (entry.subject, entry.subject_n, entry.reservation) == (charge.sequence, None, None)
    assert (entry.terms, entry.labels) == (world.terms, LABELS)


def test_the_reversal_of_a_reservation_names_the_reservation_and_carries_its_labels_alone(
    world: World,
) -> None:
    """Labels of a single commit are not those of the whole."""
    hold = run(world, Reserve("hold", b"h", 50, labels=LABELS)).entry.sequence
    run(world, Commit("commit", b"c", hold, 10, final=True, labels={"step": "1"}))
    entry = run(world, Reverse("undo", b"u", None, hold, "twice")).entry
    assert (entry.subject, entry.subject_n) == (hold, None)
    assert (entry.terms, entry.labels, entry.plan) == (world.terms, LABELS, "gold")


def test_each_line_is_undone_under_its_kind_its_treatment_and_its_rule(world: World) -> None:
    """Credits, revenue and cost are negated line by line; what the line was stays."""
    charged = usage(("tokens", Treatment.CHARGED, 30, 7), ("compute", Treatment.INCLUDED, 0, 5))
    charge = run(world, Charge("charge", b"c", None), charged).entry
    money = run(world, Reverse("undo", b"u", charge.sequence, None, "why")).entry.money
    assert money is not None
    assert money.lines == (
        MoneyLine("tokens", Treatment.CHARGED, {"rule": "tokens"}, -30, -60, -7),
        MoneyLine("compute", Treatment.INCLUDED, {"rule": "compute"}, 0, 0, -5),
    )


def test_a_reversed_reservation_is_as_if_nothing_had_been_charged(world: World) -> None:
    """Terms, life, labels and the card's outcome rule stay; prices, costs, runs and outcomes are gone."""
    hold = run(world, Reserve("hold", b"h", 50, ttl=timedelta(minutes=7), labels=LABELS))
    before = hold.reservation
    assert before is not None
    spent = usage(("tokens", Treatment.CHARGED, 30, 7))._replace(own_run="60 s")
    run(world, Commit("commit", b"c", before.sequence, None, final=True), spent)
    after = run(world, Reverse("undo", b"u", None, before.sequence, "why")).reservation
    assert after == before._replace(state=ReservationState.REVERSED, pins=(), has_outcome_rule=True)
    assert (after.own_run, after.costs) == (None, ReservationCosts())
    assert (after.outcome_charged, after.expires_at) == (False, START + timedelta(minutes=7))


@pytest.mark.parametrize(("state", "reported"), [("REVERSED", False), ("COMMITTED", True)])
def test_a_reservation_is_undone_once_whichever_record_tells_it(
    world: World, state: str, *, reported: bool
) -> None:
    """Its own state is enough, and so is a reversal in the journal."""
    hold = run(world, Reserve("hold", b"h", 50)).entry.sequence
    run(world, Commit("commit", b"c", hold, 10, final=True))
    command = Reverse("undo", b"u", None, hold, "why")
    facts = world.facts(command)
    assert facts.reservation is not None
    facts = facts._replace(
        reservation=facts.reservation._replace(state=ReservationState(state)), reversed=reported
    )
    outcome = decide(
        world.wallet, command, now=world.now, plan=world.plan, priced=None, terms=None, facts=facts
    )
    assert not isinstance(outcome, Decision)
    assert outcome.reason is RefusalReason.CHARGE_NOT_REVERSIBLE


def test_a_lot_that_the_wallet_has_lost_since_it_was_read_is_empty(world: World) -> None:
    """What it had and held when it was read was drawn in the meantime, and does not come back with it."""
    charge = run(world, Charge("charge", b"c", 40)).entry.sequence
    hold = run(world, Reserve("hold", b"h", 60)).entry.sequence
    command = Reverse("undo", b"u", charge, None, "why")
    read = world.facts(command)
    assert [(lot.remaining_micros, lot.held_micros, lot.value_nanousd) for lot in read.lots] == [
        (60, 60, 120)
    ]
    run(world, Commit("commit", b"c", hold, 60, final=True))
    assert world.wallet.lots == ()
    undone = [
        decide(world.wallet, command, now=world.now, plan=world.plan, priced=None, terms=None, facts=facts)
        for facts in (read, world.facts(command))
    ]
    assert isinstance(undone[0], Decision)
    assert undone[0] == undone[1]
    assert [(lot.remaining_micros, lot.held_micros, lot.value_nanousd) for lot in undone[0].lots] == [
        (40, 0, 80)
    ]
