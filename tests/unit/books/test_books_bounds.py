"""Sums that the books keep, at their bounds and one past them: 64 bits hold whatever an entry says."""

from __future__ import annotations

import pytest
from books_world import World

from ledger.books import (
    MAX_AMOUNT,
    Charge,
    Commit,
    GrantKind,
    IssueGrant,
    OverCapture,
    Plan,
    Priced,
    Refund,
    Reserve,
    Reverse,
)
from tests.amounts import CREDIT
from tests.build import decided, line, priced

INT64_MAX = 2**63 - 1


def of_memos(saved: tuple[int, ...] = (), own_key: tuple[int, ...] = ()) -> Priced:
    """Give usage of a line for each memo, in nano-dollars."""
    lines = [line(1, saved_nanousd=each) for each in saved]
    return priced(*lines, *(line(1, own_key_nanousd=each) for each in own_key))


@pytest.mark.parametrize(
    ("usage", "fits"),
    [
        (of_memos(saved=(MAX_AMOUNT, -MAX_AMOUNT)), True),
        (of_memos(saved=(MAX_AMOUNT + 1, -MAX_AMOUNT)), False),
        (of_memos(saved=(MAX_AMOUNT, -MAX_AMOUNT - 1)), False),
        (of_memos(saved=(2**70, -(2**70))), False),
        (of_memos(own_key=(MAX_AMOUNT,)), True),
        (of_memos(own_key=(MAX_AMOUNT, 1)), False),
    ],
)
def test_memos_of_each_line_fit(usage: Priced, fits: bool) -> None:
    """What one line saves another may lose: each line has its memo within bounds, or none has any."""
    world = World()
    money = decided(world.run(Charge("c", b"", None, already_used=True), usage)).entry.money
    assert money is not None
    memos = [(line.saved_nanousd, line.own_key_nanousd) for line in money.lines]
    reported = [(line.saved_exact_nanousd[0], line.own_key_exact_nanousd[0]) for line in usage.lines]
    assert memos == (reported if fits else [(0, 0)] * len(reported))
    assert [line.internal.get("uncosted", False) for line in money.lines] == [not fits] * len(reported)


def grant(world: World, name: str, nanousd: int) -> None:
    """Grant ten credits for so much."""
    decided(world.run(IssueGrant(name, b"", 10 * CREDIT, GrantKind.PAID, nanousd)))


def worth(world: World) -> int:
    """Give what the customer's lots are worth, in nano-dollars."""
    return sum(lot.value_nanousd for lot in world.wallet.lots)


@pytest.mark.parametrize(("second", "back"), [(1, MAX_AMOUNT - 1), (2, MAX_AMOUNT - 2)])
def test_what_comes_back_never_makes_lots_worth_too_much(second: int, back: int) -> None:
    """Value comes back up to the bound of all lots; what is beyond stays revenue, and no credit is lost."""
    world = World()
    grant(world, "g1", MAX_AMOUNT - 1)
    charge = decided(world.run(Charge("c1", b"", 10 * CREDIT))).entry
    grant(world, "g2", second)
    refund = decided(world.run(Refund("r", b"", charge.sequence, None, "test"))).entry
    assert refund.money is not None
    assert (refund.credits.available, refund.money.dollars.deferred) == (10 * CREDIT, back)
    assert worth(world) == MAX_AMOUNT


def test_a_reservation_drawn_from_grants_at_the_bound_is_reversed() -> None:
    """Three parts draw three grants worth `MAX_AMOUNT` each: what comes back of them fits one entry."""
    world = World(Plan("generous", None, OverCapture.ALLOW_IF_AVAILABLE))
    grant(world, "g0", 0)
    reservation = decided(world.run(Reserve("r", b"", 1))).entry.sequence
    for n in range(3):
        grant(world, f"g{n + 1}", MAX_AMOUNT)
        left = world.wallet.balances.available + world.wallet.balances.held
        decided(world.run(Commit(f"c{n}", b"", reservation, left, final=n == 2)))
        assert worth(world) == 0
    entry = decided(world.run(Reverse("v", b"", None, reservation, "test"))).entry
    assert entry.money is not None
    assert (entry.credits.available, entry.money.dollars.deferred) == (40 * CREDIT, MAX_AMOUNT)
    assert worth(world) == MAX_AMOUNT
    assert max(map(abs, entry.money.dollars)) <= INT64_MAX


def test_a_charge_of_all_that_refunds_gave_back_is_booked() -> None:
    """What was drawn from three grants worth `MAX_AMOUNT` comes back one by one, and is drawn at once."""
    world = World()
    charges = []
    for n in range(3):
        grant(world, f"g{n}", MAX_AMOUNT)
        charges.append(decided(world.run(Charge(f"c{n}", b"", 10 * CREDIT))).entry.sequence)
    for sequence in charges:
        decided(world.run(Refund(f"r{sequence}", b"", sequence, None, "test")))
    entry = decided(world.run(Charge("all", b"", 30 * CREDIT))).entry
    assert entry.money is not None
    assert (entry.credits.consumed, entry.money.dollars.revenue) == (30 * CREDIT, MAX_AMOUNT)
