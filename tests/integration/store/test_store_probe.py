"""The write that probes for repeats: who has one of the batch's request ids already is left out."""

from __future__ import annotations

import pytest
from store_world import CELL, CREDIT

from ledger.store.cells.write import RepeatedRequestError, write


@pytest.mark.parametrize("others", [True, False], ids=["with others", "alone"])
async def test_a_repeat_leaves_its_customer_out(world, connection, database, others):
    """Everyone else in the batch is written; the customer of the repeat is not, and is named."""
    first, second, _ = world.wallets
    await write(connection, CELL, world.take())
    world.reserve(first, CREDIT)
    known = world.batch.entries[-1]
    await write(connection, CELL, world.take())
    world.reserve(first, CREDIT)
    if others:
        world.reserve(second, CREDIT)
    batch = world.take()
    batch.entries[0] = _with_id(batch.entries[0], known.request_id)
    with pytest.raises(RepeatedRequestError):
        await write(connection, CELL, batch)
    written = await write(connection, CELL, batch, probe=True)
    assert written.customers == ({second} if others else set())
    assert written.repeated == {first}
    assert await _sequence(database, first) == batch.before[first].sequence


async def test_without_a_repeat_all_are_written(world, connection):
    """The text that probes does what the other does."""
    first, second, third = world.wallets
    for customer in (first, second, third):
        world.reserve(customer, CREDIT)
    written = await write(connection, CELL, world.take(), probe=True)
    assert written.customers == {first, second, third}
    assert written.repeated == set()


def _with_id(entry, request_id):
    fields = {name: getattr(entry, name) for name in type(entry).__annotations__}
    return type(entry)(**{**fields, "request_id": request_id})


async def _sequence(database, customer):
    return await database.finance.fetchval(
        f"SELECT sequence FROM {CELL}.wallets WHERE customer = $1", customer
    )
