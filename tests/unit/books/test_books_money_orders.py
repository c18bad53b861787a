"""Whatever becomes of a grant that was sold, in any order: no more is credited than was billed for it."""

from __future__ import annotations

from copy import copy

import pytest
from books_tables import Table
from books_world import World

from ledger.books import LotKey
from ledger.books.model.lots import NO_RECORD

BEGINNINGS = {
    "a grant is used": (
        "grant G1 100 PAID 50 expires=20:00",
        "charge C1 40",
    ),
    "a grant has paid debt": (
        "charge C0 30 used",
        "grant G1 100 PAID 50 expires=20:00",
        "charge C1 40",
    ),
}
"""Each with an overdraft, a hold, and a grant whose payment is awaited."""

STEPS = (
    "payback G1 7",
    "payback G1 usd=45",
    "writeoff G1 5",
    "writeoff G1",
    "writeoff debt",
    "dispute G1",
    "resolve G1 won",
    "resolve G1 lost",
    "void G1 paid",
    "void G1 debt",
    "confirm G2",
    "refund V C1 15",
    "refund V C1",
    "reverse V C1",
    "reverse V C0",
    "release R1",
    "commit R1 15 final",
    "tick 20h",
    "prolong G1 expires=2d",
    "charge C2 60 used",
    "void V.0 debt",
    "payback V.0",
)
"""`V` is the newest that credits came back by: the lot that it has made, if it has."""

IN_A_ROW = 3


def begun(beginning: str) -> Table:
    """Give a customer as it begins."""
    table = Table()
    table.do_plan([], {"over_capture": "ALLOW_WITH_OVERDRAFT", "overdraft": "500"})
    table.do_card([], {"price": "0.7"})
    for line in (
        *BEGINNINGS[beginning],
        "reserve R1 20 ttl=24h",
        "grant G2 10 PAID 5 pending_payment",
    ):
        assert table.has_effect(line), line
    return table


def forked(table: Table) -> Table:
    """Give the same customer once more."""
    fork, world = copy(table), copy(table.world)
    fork.names, fork.world = dict(table.names), world
    for kept in ("entries", "lots", "records", "reservations", "states", "renewals"):
        setattr(world, kept, copy(getattr(world, kept)))
    return fork


def broken(world: World) -> list[str]:
    """Tell which laws of what was billed do not hold."""
    dollars = [entry.money.dollars for entry in world.entries if entry.money]
    receivable, payable, deferred = (
        sum(getattr(each, account) for each in dollars)
        for account in ("receivable", "refund_payable", "deferred")
    )
    claimed = world.claimed_nanousd()
    found = []
    if not payable <= -receivable:
        found.append(f"{payable} is to be paid back, of {-receivable} that was billed and not credited")
    if claimed != -receivable - payable:
        found.append(f"{claimed} is claimed by lots, {-receivable - payable} by the accounts")
    if not 0 <= deferred <= claimed:
        found.append(f"{deferred} is deferred, {claimed} is claimed")
    return found + [line for key in world.lots if (line := _broken_of(world, key))]


def _broken_of(world: World, key: LotKey) -> str | None:
    """Tell how a lot breaks the law: its payment, if it is known, has what was taken off, and what stays.

    Nor is more of it given up than was ever used.
    """
    record, lot = world.records.get(key, NO_RECORD), world.lots[key]
    value = lot.value_nanousd
    if not 0 <= record.given_up_micros <= lot.amount_micros:
        return f"{key}: {record.given_up_micros} is given up of {lot.amount_micros}"
    if record.paid_nanousd is None or record.taken_off_nanousd + value <= record.paid_nanousd:
        return None
    return f"{key}: {record.taken_off_nanousd} off {record.paid_nanousd}, and {value} stays"


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_no_more_is_credited_than_was_billed(beginning: str) -> None:
    """After any three events in any order each law of what was billed holds, and the audit of the books."""
    effective: set[str] = set()

    def walk(table: Table, before: tuple[str, ...]) -> None:
        for line in STEPS:
            after = forked(table)
            if not after.has_effect(line):
                continue
            effective.add(line)
            assert broken(after.world) == [], (*before, line)
            if len(before) + 1 < IN_A_ROW:
                walk(after, (*before, line))

    walk(begun(beginning), ())
    assert effective >= {line for line in STEPS if "C0" not in line or beginning == "a grant has paid debt"}
