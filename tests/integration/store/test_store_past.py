"""A balance of the past is reported once it is final."""

from __future__ import annotations

from datetime import timedelta

import pytest
from store_world import CELL, CREDIT, PLAN, World

from ledger import books
from ledger.books.model.amounts import Credits
from ledger.store.cells.write import write
from ledger.store.directory import Directory
from ledger.store.reading.reads import BooksBehindError, Reads

MICROSECOND = timedelta(microseconds=1)


async def test_a_balance_waits_for_what_is_due(database, connection):
    """Between an expiry and its entry there is no answer for its instant; for those before it there is."""
    world = World()
    customer = await world.new_customer(database, "acme", credits_count=0)
    expiry = world.now + timedelta(seconds=1)
    world.grant(customer, 5, expires_at=expiry)
    await write(connection, CELL, world.take())
    reads = Reads(database.reader, database.reports, Directory(database.reader))

    for instant in (expiry, expiry + timedelta(days=1)):
        with pytest.raises(BooksBehindError):
            await reads.balance_at("acme", instant)
    assert await reads.balance_at("acme", expiry - MICROSECOND) == Credits(available=5 * CREDIT)

    world.tick(seconds=2)
    decisions, *_ = books.due(
        world.wallets[customer], [], None, now=world.now, plan=PLAN, plan_at=lambda _: PLAN
    )
    for decision in decisions:
        world.apply(decision)
    await write(connection, CELL, world.take())
    assert await reads.balance_at("acme", expiry) == Credits()
    assert await reads.balance_at("acme", expiry - MICROSECOND) == Credits(available=5 * CREDIT)
