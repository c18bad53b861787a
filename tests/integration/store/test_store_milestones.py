"""Entries of an instant are found by milestones: every 64th of a customer's entries is in the index."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from store_world import CELL, World, priced

from ledger.books import Charge
from ledger.books.model.amounts import Credits
from ledger.store.cells.write import write
from ledger.store.directory import Directory
from ledger.store.reading.journal_parts import SPAN
from ledger.store.reading.milestones import MILESTONE, first_after, last_before
from ledger.store.reading.reads import BALANCE_AT, Reads
from ledger.store.reading.usage_report import UsageQuery

ENTRIES = 3 * MILESTONE + 5
SECOND = timedelta(seconds=1)


@pytest.fixture
async def entries(database, connection):
    """A customer's entries, five to each instant, so that milestones share theirs with others."""
    world = World()
    customer = await world.new_customer(database, "acme")
    began = world.now
    world.now = began - timedelta(seconds=4)
    while world.wallets[customer].sequence < ENTRIES:
        world.reserve(customer, micros=1)
        if world.wallets[customer].sequence % 5 == 0:
            world.now = max(world.now, world.wallets[customer].last_instant) + timedelta(milliseconds=1)
    batch = world.take()
    batch.decided_at = min(batch.decided_at, began)
    await write(connection, CELL, batch)
    assert len({entry.effective_at for entry in batch.entries}) < len(batch.entries) / 4
    return batch.entries


async def test_a_balance_is_that_of_the_last_entry_up_to_an_instant(database, entries):
    """At each instant, just before and just after it, at both ends of the journal and beyond."""
    reads = Reads(database.reader, database.reports, Directory(database.reader))
    instants = {entry.effective_at for entry in entries}
    for instant in sorted(instants):
        for asked in (instant - SECOND / 2000, instant, instant + SECOND / 2000):
            after = [entry.after for entry in entries if entry.effective_at <= asked]
            found = await reads.balance_at("acme", asked)
            if after:
                assert found == Credits(available=after[-1].available, held=after[-1].held)
            else:
                assert found == Credits()
    assert await reads.balance_at("acme", datetime(2000, 1, 1, tzinfo=UTC)) == Credits()
    assert (await reads.balance_at("acme", max(instants) + 100 * SECOND)).held == entries[-1].after.held


async def test_a_walk_begins_and_ends_at_milestones(owner, database, entries):
    """A balance of the past passes over no more entries than there are between two milestones."""
    await owner.execute(f"ANALYZE {CELL}.entries")
    text = BALANCE_AT.format(cell=CELL)
    middle = entries[len(entries) // 2]
    [explained] = await database.finance.fetchval(
        f"EXPLAIN (ANALYZE, FORMAT JSON) {text}", middle.customer, middle.effective_at
    )
    assert passed_over(explained) <= MILESTONE


def passed_over(explained) -> int:
    """How many rows a plan read and left out; it uses the milestones."""
    reported = json.dumps(explained)
    assert "entries_milestones" in reported
    assert "Seq Scan" not in reported
    passed, nodes = 0, [explained["Plan"]]
    while nodes:
        node = nodes.pop()
        nodes.extend(node.get("Plans", ()))
        passed += node.get("Rows Removed by Filter", 0)
    return passed


# -- Days: the instants of a journal, moved to the edges of days ----------------------------------------


FIRST, SECOND_DAY, THIRD, NEVER = (date(2026, 3, day) for day in (3, 5, 6, 7))
MICROSECOND = timedelta(microseconds=1)


def begins(day: date) -> datetime:
    """The first instant of a day of the customer's."""
    return datetime.combine(day, time.min, ZoneInfo("Europe/Stockholm")).astimezone(UTC)


def instant_of(sequence: int) -> datetime:
    """Milestone 64 is among the equals that begin a day, and the entry after milestone 128 begins one."""
    if sequence < MILESTONE - 4:
        return begins(FIRST) + sequence * SECOND
    if sequence < MILESTONE + 4:
        return begins(SECOND_DAY)
    if sequence < 2 * MILESTONE:
        return begins(SECOND_DAY) + sequence * SECOND
    if sequence == 2 * MILESTONE:
        return begins(THIRD) - MICROSECOND
    if sequence < 2 * MILESTONE + 4:
        return begins(THIRD)
    return begins(THIRD) + sequence * SECOND


@pytest.fixture
async def days(owner, database, connection):
    """A customer's charges of three days, by sequence; each with its instant."""
    world = World()
    customer = await world.new_customer(database, "acme")
    while world.wallets[customer].sequence < ENTRIES:
        world.do(customer, Charge(world.request_id(), b"f", None), priced(3))
    batch = world.take()
    await write(connection, CELL, batch)
    found = {entry.sequence: instant_of(entry.sequence) for entry in batch.entries}
    await owner.executemany(
        f"UPDATE {CELL}.entries SET effective_at = $2 WHERE sequence = $1",
        [(1, instant_of(1)), *found.items()],
    )
    assert batch.entries[0].kind == "GRANT"
    return {entry.sequence: found[entry.sequence] for entry in batch.entries[1:]}


async def test_a_report_takes_the_entries_of_its_days(database, days):
    """Usage of a day is reported whole and once, whichever milestones stand about its edges."""
    reads = Reads(database.reader, database.reports, Directory(database.reader))
    counts = {
        day: sum(begins(day) <= instant < begins(day + timedelta(1)) for instant in days.values())
        for day in (FIRST, SECOND_DAY, THIRD)
    }
    assert sum(counts.values()) == len(days)
    rows = (await reads.usage("acme", UsageQuery(FIRST, NEVER, (), {}), None, 10)).rows
    assert {row.key.day: row.items for row in rows} == counts
    for day in (FIRST - timedelta(1), FIRST, FIRST + timedelta(1), SECOND_DAY, THIRD, NEVER):
        rows = (await reads.usage("acme", UsageQuery(day, day, (), {}), None, 10)).rows
        assert {row.key.day: row.items for row in rows} == ({day: counts[day]} if day in counts else {})


async def test_an_instant_is_between_its_milestones(owner, days):
    """The last milestone before it and the first after it, those of its own instant aside."""
    customer = await owner.fetchval("SELECT customer FROM ledger.customers")
    milestones = {sequence: at for sequence, at in days.items() if sequence % MILESTONE == 0}
    text = f"SELECT {last_before('$2')} AS before, {first_after('$2')} AS after".format(cell=CELL)
    for instant in {at + shift for at in days.values() for shift in (-MICROSECOND, 0 * SECOND, MICROSECOND)}:
        row = await owner.fetchrow(text, customer, instant)
        assert row["before"] == max((s for s, at in milestones.items() if at < instant), default=0)
        assert row["after"] == min((s for s, at in milestones.items() if at > instant), default=2**63 - 1)


async def test_a_report_walks_from_milestone_to_milestone(owner, database, days):
    """To find the first and the last entry of a day, no more is read than lies to the milestones about it."""
    await owner.execute(f"ANALYZE {CELL}.entries")
    customer = await owner.fetchval("SELECT customer FROM ledger.customers")
    text = SPAN.format(cell=CELL)
    for day in (FIRST + timedelta(1), SECOND_DAY, THIRD, NEVER):
        [explained] = await database.finance.fetchval(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {text}", customer, begins(day), begins(day + timedelta(1))
        )
        assert passed_over(explained) <= 4 * MILESTONE
