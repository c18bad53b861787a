"""The directory of customers, and the versions of prices."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from store_world import CELL, World

from ledger import books
from ledger.store.directory import (
    CustomerExists,
    CustomerKey,
    RequestIdReused,
    create_customer,
    customer_ids,
    due_customers,
    find_customers,
)
from ledger.store.load import LoadRequest, load
from ledger.store.versions import (
    StoredVersion,
    UnknownVersion,
    all_costs,
    cards_of,
    get_card,
    get_costs,
    store_card,
    store_costs,
)
from ledger.store.write import write

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def maker(request_id="r-1", fingerprint=b"f"):
    return lambda customer: books.create(
        customer, "Åsa", "team", "card", "Europe/Stockholm", request_id, fingerprint, NOW
    )


async def test_a_customer_is_created_with_its_first_entry(database, connection):
    """Directory, wallet and entry 1 are there together, and found by id and by number."""
    created = await create_customer(database.writer, "acme", CELL, maker())
    key = created.key
    assert not created.replayed
    assert await find_customers(database.reader, ["acme", "nobody"]) == {"acme": key}
    assert await customer_ids(database.reader, [key.customer, 10**9]) == {key.customer: "acme"}
    loaded = (await load(connection, CELL, [LoadRequest(key.customer, request_ids=("r-1",))]))[key.customer]
    assert loaded.wallet == maker()(key.customer).wallet
    assert loaded.entries == {"r-1": created.entry}


async def test_a_repeated_creation_gets_its_entry_again(database):
    """The same request id and fingerprint give the stored entry; anything else is refused."""
    first = await create_customer(database.writer, "acme", CELL, maker())
    again = await create_customer(database.writer, "acme", CELL, maker())
    assert again.replayed
    assert (again.key, again.entry) == (first.key, first.entry)
    with pytest.raises(RequestIdReused):
        await create_customer(database.writer, "acme", CELL, maker(fingerprint=b"other"))
    with pytest.raises(CustomerExists):
        await create_customer(database.writer, "acme", CELL, maker(request_id="r-2"))


async def test_of_creations_at_once_one_creates(database):
    """Concurrent repeats of one creation make one customer, and all get the same answer."""
    made = await asyncio.gather(*(create_customer(database.writer, "acme", CELL, maker()) for _ in range(4)))
    assert sorted(created.replayed for created in made) == [False, True, True, True]
    assert len({created.key for created in made}) == 1


async def test_a_creation_that_fails_leaves_nothing(database):
    """A wallet that cannot be written leaves no customer in the directory."""
    with pytest.raises(Exception, match="check constraint"):
        await create_customer(database.writer, "acme", CELL, maker(request_id=""))
    assert await find_customers(database.reader, ["acme"]) == {}


async def test_whom_the_clock_waits_for(database, connection):
    """Customers with something due come most overdue first, at most so many; the others not at all."""
    world = World()
    customers = [await world.new_customer(database) for _ in range(4)]
    for customer, minutes in zip(customers, (3, 1, 2), strict=False):
        world.reserve(customer, 1, ttl=timedelta(minutes=minutes))
    await write(connection, CELL, world.take())
    due_at = {customer: wallet.next_due_at for customer, wallet in world.wallets.items()}
    third, first, second, _ = customers
    now = due_at[second]
    assert await due_customers(database.writer, CELL, now, 10) == [
        (first, due_at[first]),
        (second, due_at[second]),
    ]
    assert await due_customers(database.writer, CELL, due_at[third], 1) == [(first, due_at[first])]
    assert await due_customers(database.writer, CELL, NOW, 10) == []


def test_a_key_names_customer_and_cell():
    """Callers take it apart by position."""
    assert CustomerKey(1, CELL) == (1, CELL)


async def test_versions_are_stored_once_by_their_hash(database):
    """A version that is there stays as it is; its document is found by its hash."""
    await store_card(database.writer, "h1", "standard", 1, NOW, "document 1")
    await store_card(database.writer, "h1", "standard", 9, NOW + timedelta(days=9), "another")
    await store_card(database.writer, "h2", "standard", 2, NOW + timedelta(days=1), "document 2")
    await store_card(database.writer, "h3", "other", 1, NOW, "document 3")
    assert await cards_of(database.writer, "standard") == [
        StoredVersion("h2", 2, NOW + timedelta(days=1)),
        StoredVersion("h1", 1, NOW),
    ]
    assert await get_card(database.writer, "h1") == "document 1"
    await store_costs(database.writer, "c1", 1, NOW, "costs 1")
    await store_costs(database.writer, "c1", 1, NOW, "costs 1")
    assert await all_costs(database.finance) == [StoredVersion("c1", 1, NOW)]
    assert await get_costs(database.finance, "c1") == "costs 1"
    with pytest.raises(UnknownVersion):
        await get_card(database.writer, "c1")
    with pytest.raises(UnknownVersion):
        await get_costs(database.writer, "h1")
