"""A month's statement ties: what came and went is what lies between its balances, to the micro-credit."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from store_world import CELL, World

from ledger import books
from ledger.books import Charge, EntryKind, GrantKind, Refund, Reserve, Reverse
from ledger.store.cells.columns import ENTRY
from ledger.store.cells.load import load_reversal
from ledger.store.cells.rows_in import entry_of
from ledger.store.cells.write import write
from ledger.store.directory import Directory
from ledger.store.reading.journal_parts import ReportOutdatedError
from ledger.store.reading.month_statement import (
    MonthNotBegunError,
    StatedType,
    StatementPlace,
    StatementQuery,
    next_month,
)
from ledger.store.reading.reads import Reads
from tests.amounts import CREDIT
from tests.build import line, priced

MONTHS = [date(2026, month, 1) for month in (2, 3, 4)]
"""Of Stockholm's, in which the clocks go forward on the 29th of March."""
MICROSECOND = timedelta(microseconds=1)
LATE = datetime(2026, 9, 1, tzinfo=UTC)


def begins(month: date) -> datetime:
    return datetime.combine(month, time.min, ZoneInfo("Europe/Stockholm")).astimezone(UTC)


def instants(count: int, dice: random.Random) -> list[datetime]:
    """As many instants, of which some begin a month and some are the last before it; they never go back."""
    first, last = begins(MONTHS[0]), begins(next_month(MONTHS[-1]))
    edges = [begins(month) for month in (*MONTHS, next_month(MONTHS[-1]))]
    choices = [edge - shift * MICROSECOND for edge in edges for shift in (0, 1)]
    span = (last - first) // MICROSECOND
    return sorted(
        dice.choice(choices) if dice.random() < 0.4 else first + dice.randrange(span) * MICROSECOND
        for _ in range(count)
    )


def random_usage(dice: random.Random):
    """Lines of a few kinds and names, of which some are measured."""
    lines = []
    for _ in range(dice.randrange(1, 4)):
        kind, unit = dice.choice(["tokens", "units"]), dice.choice(["", "DBU"])
        public = {
            "title": "=Title" if unit else "Title",
            "kind": kind,
            "name": dice.choice("mn"),
            "quantities": {"quantity": f"{dice.randrange(10**6)}.5"},
        }
        if unit:
            public["measured"] = {"unit": unit, "quantity": "0.000000001"}
        lines.append(line(dice.randrange(1, 150 * CREDIT), 7, kind=kind, public=public))
    return priced(*lines)


async def random_history(world: World, connection, customer: int, dice: random.Random) -> None:
    """Grants of two kinds, holds, commits, releases, charges that are not covered, refunds and reversals."""

    async def do(*args, **more):
        entry = world.do(customer, *args, **more).entry
        await write(connection, CELL, world.take())
        return entry

    for _ in range(14):
        labels = {"project": dice.choice(["a", "b"]), "internal.route": "r"}
        roll = dice.random()
        if roll < 0.2 or world.wallets[customer].balances.available < CREDIT:
            kind = dice.choice([GrantKind.PROMO, GrantKind.PAID])
            amount = dice.randrange(1, 3 * CREDIT)
            await do(
                books.IssueGrant(
                    world.request_id(), b"f", kind=kind, amount_micros=amount, paid_total_nanousd=0
                )
            )
        elif roll < 0.5:
            held = await do(Reserve(world.request_id(), b"f", amount_micros=dice.randrange(1, CREDIT // 4)))
            if dice.random() < 0.3:
                await do(books.Release(world.request_id(), b"f", held.sequence))
            elif dice.random() < 0.8:
                command = books.Commit(world.request_id(), b"f", held.sequence, None, dice.random() < 0.7)
                await do(command, usage=random_usage(dice))
        else:
            # Work that is done is booked however much of it is covered.
            charge = Charge(world.request_id(), b"f", None, labels=labels, already_used=True)
            booked = await do(charge, usage=random_usage(dice))
            for command in (
                Refund(world.request_id(), b"f", booked.sequence, dice.choice([None, 1]), "goodwill"),
                Reverse(world.request_id(), b"f", booked.sequence, None, "undone"),
            ):
                facts = await load_reversal(
                    connection, CELL, customer, charge=booked.sequence, reservation=None
                )
                if dice.random() < 0.3 and not isinstance(
                    world.decide(customer, command, facts=facts), books.Refusal
                ):
                    await do(command, facts=facts)


def expected_lines(entries: list[books.Entry]) -> Counter:
    """What the lines of a statement of these entries say: figures by what tells them apart."""
    figures: Counter = Counter()
    for entry in entries:
        labels = entry.labels.get("project", "")
        is_usage = entry.kind in (EntryKind.COMMIT, EntryKind.CHARGE)
        part = "USAGE" if is_usage else entry.kind.value
        sign = {EntryKind.REVERSAL: -1, EntryKind.REFUND: 0}.get(entry.kind, 1)
        rest = entry.priced_micros
        for each in entry.lines:
            measured = each.public.get("measured", {"unit": "", "quantity": "0"})
            key = (part, labels, each.public["kind"], each.public["name"], measured["unit"])
            figures[*key, "credits"] += each.credits_micros
            figures[*key, "items"] += sign
            figures[*key, "measured"] += sign * Decimal(measured["quantity"])
            figures[*key, "quantity"] += sign * Decimal(each.public["quantities"]["quantity"])
            rest -= each.credits_micros
        figures[part, labels, "", "", "", "credits"] += rest
        figures["NOT_COLLECTED", labels, "", "", "", "credits"] -= entry.uncollected_micros
        if entry.kind is EntryKind.GRANT:
            figures["GRANT", "", "", "", "", "credits"] -= entry.credits.issued
    return nonzero(figures)


def reported_lines(lines) -> Counter:
    figures: Counter = Counter()
    for each in lines:
        key = (each.part.value, *each.labels, each.kind, each.name, each.unit)
        figures[*key, "credits"] += each.credits_micros
        figures[*key, "items"] += each.items
        figures[*key, "measured"] += each.measured
        figures[*key, "quantity"] += each.quantities.get("quantity", Decimal(0))
    return nonzero(figures)


def nonzero(figures: Counter) -> Counter:
    return Counter({key: figure for key, figure in figures.items() if figure})


def net(balances: books.Credits) -> int:
    return balances.available + balances.held + balances.pending + balances.debt


async def statement(reads, name: str, month: date, size: int):
    """The first page, and the lines of all of them."""
    query, place, lines, first = StatementQuery(month, ("project",), LATE), None, [], None
    while True:
        page = await reads.month(name, query, place, size)
        assert len(page.lines) <= size
        lines += page.lines
        first = first or page
        assert (page.opening, page.closing, page.as_of) == (first.opening, first.closing, None)
        if page.next is None:
            return first, lines
        place = page.next


@pytest.mark.parametrize("seed", range(4))
async def test_statements_tie(world, owner, connection, database, seed):
    """Of random histories over a change of the clocks, in pages of any size: lines and balances agree."""
    dice = random.Random(seed)  # noqa: S311 -- the same history again for the same seed
    customer = next(iter(world.wallets))
    await random_history(world, connection, customer, dice)
    entries = await stored(database, customer)
    when = instants(len(entries), dice)
    await owner.executemany(
        f"UPDATE {CELL}.entries SET effective_at = $3 WHERE customer = $1 AND sequence = $2",
        [(customer, entry.sequence, at) for entry, at in zip(entries, when, strict=True)],
    )
    name, reads = await reading(owner, database, customer)
    before = books.Credits()
    for month in (date(2026, 1, 1), *MONTHS, date(2026, 5, 1), date(2026, 6, 1)):
        end = begins(next_month(month))
        own = [entry for entry, at in zip(entries, when, strict=True) if begins(month) <= at < end]
        for size in (1, 3, 1_000):
            page, lines = await statement(reads, name, month, size)
            assert (page.begins_at, page.ends_at) == (begins(month), end)
            assert reported_lines(lines) == expected_lines(own)
            assert (page.opening, page.closing) == (before, own[-1].after if own else before)
        change, granted = page.change, total(lines, StatedType.GRANT)
        used = total(lines, *(part for part in StatedType if part is not StatedType.GRANT))
        assert (granted, used) == (-change.issued, change.consumed)
        left = granted - used - change.expired - change.voided - change.refunded
        assert net(page.opening) + left == net(page.closing)
        past = await reads.balance_at(name, end - MICROSECOND)
        assert past == page.closing._replace(issued=0, consumed=0, expired=0, voided=0, refunded=0)
        before = page.closing
    assert before == world.wallets[customer].balances


def total(lines, *parts: StatedType) -> int:
    return sum(each.credits_micros for each in lines if each.part in parts)


async def stored(database, customer: int) -> list[books.Entry]:
    """All entries of a customer."""
    async with database.reader.acquire() as reader:
        rows = await reader.fetch(
            f"SELECT {ENTRY.select('e')} FROM {CELL}.entries e WHERE customer = $1 ORDER BY sequence",
            customer,
        )
    return [entry_of(row) for row in rows]


async def reading(owner, database, customer: int) -> tuple[str, Reads]:
    """The customer's id, and what reads it."""
    name = await owner.fetchval("SELECT customer_id FROM ledger.customers WHERE customer = $1", customer)
    return name, Reads(database.reader, database.reports, Directory(database.reader))


async def test_a_month_is_final_when_nothing_can_come(world, owner, database):
    """Until it has ended, until all that takes effect in it is written, and until what was due in it is."""
    customer = next(iter(world.wallets))
    name, reads = await reading(owner, database, customer)
    month, end = MONTHS[0], begins(next_month(MONTHS[0]))
    due = f"UPDATE {CELL}.wallets SET next_due_at = $2 WHERE customer = $1"
    for final_until, due_at, is_final in (
        (end - MICROSECOND, None, False),
        (end, None, True),
        (end, end - MICROSECOND, False),
        (end, end, True),
    ):
        await owner.execute(due, customer, due_at)
        page = await reads.month(name, StatementQuery(month, (), final_until), None, 10)
        assert (page.as_of is None) == is_final, (final_until, due_at)


async def test_a_statement_is_of_one_time_zone(world, owner, database):
    """Pages go on in the zone in which they began; a month that has not begun there has no statement."""
    customer = next(iter(world.wallets))
    name, reads = await reading(owner, database, customer)
    now = datetime.now(UTC)
    query = StatementQuery(world.now.date().replace(day=1) - timedelta(days=1), (), now)
    query = replace(query, month=query.month.replace(day=1))
    page = await reads.month(name, query, None, 10)
    place = StatementPlace(page.zone, None, 1, 3, 1, 0)
    assert len((await reads.month(name, query, place, 10)).lines) == 1
    with pytest.raises(ReportOutdatedError):
        await reads.month(name, query, place._replace(zone="Europe/Berlin"), 10)
    with pytest.raises(MonthNotBegunError, match="Europe/Stockholm"):
        await reads.month(name, replace(query, month=date(2100, 1, 1)), None, 10)
