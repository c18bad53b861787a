"""Long journals are read page by page: few rows are looked at for each, and all pages together are exact."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import UTC, date, datetime

import pytest
from store_world import CELL

from ledger.store import lists
from ledger.store.directory import Directory
from ledger.store.reading import journal_parts, shares
from ledger.store.reading.month_statement import StatementQuery
from ledger.store.reading.reads import NEWEST, Reads
from ledger.store.reading.shares import PoolShares, TooManyReportsError
from ledger.store.reading.usage_report import UsageQuery

DAY, NEXT = date(2026, 10, 1), date(2026, 10, 2)
ENTRIES = 25_000
"""More than are looked at for a page, and several times what is added up for one."""
LONG_DAY = 22_000

CHARGES = f"""
INSERT INTO {CELL}.entries (
    customer, sequence, kind, request_id, issued, pending, available, held, consumed, expired, voided,
    refunded, debt, issued_after, pending_after, available_after, held_after, consumed_after, expired_after,
    voided_after, refunded_after, debt_after, effective_at, booked_at, plan, priced, uncollected,
    late, final, labels, lines)
SELECT $1, s, 'CHARGE', 'r' || s, 0, 0, -s, 0, s, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
       CASE WHEN s <= {LONG_DAY} THEN '2026-10-01Z'::timestamptz + s * interval '1 s'
            ELSE '2026-10-02Z'::timestamptz + s * interval '1 s' END,
       now(), 'team', s, 0, false, true,
       json_strip_nulls(json_build_object(
           'project', 'p' || s % 3, 'rare', CASE s WHEN 7 THEN 'yes' END)), $2::json
FROM generate_series(1, $3::bigint) s
"""


def line(count: int = 1) -> str:
    one = {
        "kind": "tokens",
        "treatment": "CHARGED",
        "name": "m",
        "quantities": {"input": "0.1"},
        "credits_micros": 1,
    }
    return json.dumps([one] * count)


async def sold(owner, name: str, entries: int, lines: str) -> None:
    """A customer whose journal is so many charges: of 1, 2, 3 … micros."""
    customer = await owner.fetchval(
        "INSERT INTO ledger.customers (customer_id, cell) VALUES ($1, $2) RETURNING customer", name, CELL
    )
    await owner.execute(
        f"""INSERT INTO {CELL}.wallets (
                customer, sequence, display_name, plan, zone, multiplier_nanos, issued, pending, available,
                held, consumed, expired, voided, refunded, debt, last_instant, created_at,
                token)
            VALUES ($1, $2, '', 'team', 'UTC', 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, now(), now(), 1)""",
        customer,
        entries,
    )
    await owner.execute(CHARGES, customer, lines, entries)
    await owner.execute(f"ANALYZE {CELL}.entries")


@pytest.fixture
async def reads(owner, database):
    await sold(owner, "busy", ENTRIES, line())
    return Reads(database.reader, database.reports, Directory(database.reader))


async def report(reads, query, size=1_000, customer="busy"):
    """All pages."""
    found, place = [], None
    while True:
        page = await reads.usage(customer, query, place, size)
        found.append(page.rows)
        if page.next is None:
            return found
        place = page.next


async def test_a_long_day_is_reported_in_pieces(reads):
    """Pieces of a day add up to it exactly; the next day is whole; no page adds up more than it may."""
    pages = await report(reads, UsageQuery(DAY, NEXT, ("project",), {}))
    items, micros = Counter(), Counter()
    for rows in pages:
        assert sum(row.items for row in rows) <= journal_parts.ADDED_UP_MAX + journal_parts.STRIDE
        for row in rows:
            items[row.key.day, row.key.labels] += row.items
            micros[row.key.day] += row.credits_micros
    assert len(pages) == -(-LONG_DAY // journal_parts.ADDED_UP_MAX) + 1
    assert items == Counter((DAY if n <= LONG_DAY else NEXT, (f"p{n % 3}",)) for n in range(1, ENTRIES + 1))
    assert micros == {DAY: sum(range(LONG_DAY + 1)), NEXT: sum(range(LONG_DAY + 1, ENTRIES + 1))}
    assert {row.key.day for row in pages[-1]} == {NEXT}


async def test_a_long_month_is_stated_in_pieces(reads):
    """Pieces of a month add up to it exactly, and no page adds up more than it may."""
    query = StatementQuery(DAY, ("project",), datetime.now(UTC))
    items, micros, place, counts = Counter(), 0, None, []
    while True:
        page = await reads.month("busy", query, place, 1_000)
        counts.append(sum(line.items for line in page.lines))
        items.update({line.labels: line.items for line in page.lines})
        micros += sum(line.credits_micros for line in page.lines)
        if page.next is None:
            break
        place = page.next
    assert max(counts) <= journal_parts.ADDED_UP_MAX + journal_parts.STRIDE
    assert items == Counter((f"p{n % 3}",) for n in range(1, ENTRIES + 1))
    assert micros == sum(range(ENTRIES + 1))


async def test_small_pages_of_a_piece(reads):
    """Rows of a piece are reported once each, whatever the size of the page."""
    query = UsageQuery(DAY, NEXT, ("project",), {})
    large = [row for rows in await report(reads, query) for row in rows]
    assert [row for rows in await report(reads, query, size=2) for row in rows] == large


async def test_usage_that_nothing_fits(reads):
    """Pages without rows go on: each looks at so many entries, and finds the one that fits."""
    pages = await report(reads, UsageQuery(DAY, NEXT, (), {"rare": "yes"}))
    assert [sum(row.items for row in rows) for rows in pages] == [1, 0]
    pages = await report(reads, UsageQuery(DAY, NEXT, (), {"rare": "no"}))
    assert pages == [[], []]


async def test_a_page_of_large_charges_is_short(owner, database):
    """What is added up is bounded by the size of the lines too: one charge may have a thousand."""
    await sold(owner, "large", 300, line(1_000))
    reads = Reads(database.reader, database.reports, Directory(database.reader))
    pages = await report(reads, UsageQuery(DAY, DAY, (), {}), customer="large")
    most = journal_parts.ADDED_UP_BYTES_MAX // len(line(1_000)) + 1 + journal_parts.STRIDE
    counts = [sum(row.items for row in rows) // 1_000 for rows in pages]
    assert sum(counts) == 300
    assert max(counts) <= most < 300
    page = await reads.charges("large", NEWEST, 1_000, reservation=None, labels={})
    assert sum(len(line(1_000)) for _ in page.rows[1:]) <= lists.LINES_BYTES_MAX
    assert page.next_before == page.rows[-1].entry.sequence


async def test_lists_by_a_label_that_nothing_has(reads):
    """Empty pages with a place to go on, until the journal is over; a rare one is found on the last."""
    for rare, expected in (("no", []), ("yes", [7])):
        before, found, looks = NEWEST, [], []
        while before is not None:
            page = await reads.charges("busy", before, 50, reservation=None, labels={"rare": rare})
            found += [booked.entry.sequence for booked in page.rows]
            looks.append((before, page.next_before))
            before = page.next_before
        assert found == expected
        assert looks == [
            (NEWEST, ENTRIES + 1 - lists.LOOKED_AT_MAX),
            (ENTRIES + 1 - lists.LOOKED_AT_MAX, None),
        ]
    assert not (await reads.reservations("busy", NEWEST, 50, state=None, labels={"rare": "no"})).rows


@pytest.mark.parametrize("size", [1, 999, 1_000])
async def test_lists_are_whole(reads, size):
    """Pages neither repeat nor miss a row, and the last has no token."""
    found, before = [], 2_001
    while before is not None:
        page = await reads.statement("busy", before, size)
        assert len(page.rows) <= size
        found += [entry.sequence for entry in page.rows]
        before = page.next_before
    assert found == list(range(2_000, 0, -1))


# -- Shares --------------------------------------------------------------------------------------------------


class Use:
    """A customer's use of a connection that lasts until it is asked to end."""

    def __init__(self, of: PoolShares, customer: int) -> None:
        self.has_begun = asyncio.Event()
        self.may_end = asyncio.Event()
        self.task = asyncio.create_task(self._use(of, customer))

    async def _use(self, of: PoolShares, customer: int) -> None:
        async with of.acquire(customer):
            self.has_begun.set()
            await self.may_end.wait()

    async def end(self) -> None:
        self.may_end.set()
        await self.task


async def test_customers_share_connections(database):
    """One customer has one at a time, whatever it asks for; others have theirs beside it, in their turn."""
    of = PoolShares(database.reports)
    busy = [Use(of, 1) for _ in range(12)]
    await busy[0].has_begun.wait()
    others = [Use(of, customer) for customer in (2, 3)]
    async with asyncio.timeout(60):
        for other in others:
            await other.has_begun.wait()
    late = Use(of, 4)
    await busy[0].end()
    async with asyncio.timeout(60):
        await late.has_begun.wait()
    assert sum(use.has_begun.is_set() for use in busy) <= 2
    for use in (*others, late, *busy[1:]):
        await use.end()
    assert of._lines == {}


async def test_lines_have_an_end(database):
    """A customer who asks for more than anyone waits for is refused; others are not."""
    of = PoolShares(database.reports)
    waiting = [Use(of, 1) for _ in range(shares.WAITING_OF_CUSTOMER_MAX)]
    await waiting[0].has_begun.wait()
    with pytest.raises(TooManyReportsError):
        async with of.acquire(1):
            pass
    async with asyncio.timeout(60), of.acquire(2):
        pass
    waiting[-1].task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[-1].task
    again = Use(of, 1)
    for use in (*waiting[:-1], again):
        await use.end()
