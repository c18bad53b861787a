"""Entries of an instant are found by milestones: every 64th of a customer's entries is in the index."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from store_world import CELL, World

from ledger.books.model import Credits
from ledger.store.directory import Directory
from ledger.store.milestones import MILESTONE
from ledger.store.reads import BALANCE_AT, Reads
from ledger.store.usage_report import UsageQuery
from ledger.store.write import write

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
    reads = Reads(database.reader, Directory(database.reader))
    instants = {entry.effective_at for entry in entries}
    for instant in sorted(instants):
        for asked in (instant - SECOND / 2000, instant, instant + SECOND / 2000):
            after = [entry.after for entry in entries if entry.effective_at <= asked]
            found = await reads.balance_at("acme", asked)
            expected = after[-1] if after else found
            assert found == Credits(available=expected.available, held=expected.held)
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
    told = json.dumps(explained)
    assert "entries_milestones" in told
    assert "Seq Scan" not in told
    passed, nodes = 0, [explained["Plan"]]
    while nodes:
        node = nodes.pop()
        nodes.extend(node.get("Plans", ()))
        passed += node.get("Rows Removed by Filter", 0)
    assert passed <= MILESTONE


async def test_a_report_takes_the_entries_of_its_days(database, connection):
    """Usage of a day is told whole, whichever milestones stand about it."""
    world = World()
    customer = await world.new_customer(database, "acme")
    while world.wallets[customer].sequence < 2 * MILESTONE + 3:
        world.commit(customer, world.reserve(customer))
    batch = world.take()
    await write(connection, CELL, batch)
    reads = Reads(database.reader, Directory(database.reader))
    charges = [entry for entry in batch.entries if entry.lines]
    day = world.now.date()
    for first, last, items in (
        (day - timedelta(days=1), day + timedelta(days=1), len(charges)),
        (day - timedelta(days=9), day - timedelta(days=2), 0),
        (day + timedelta(days=2), day + timedelta(days=9), 0),
    ):
        rows = await reads.usage("acme", UsageQuery(first, last, (), {}), None, 10)
        assert sum(row.items for row in rows) == items
