"""The directory of customers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from store_world import CELL, World

from ledger import books
from ledger.store.cells.load import LoadRequest, load
from ledger.store.cells.write import write
from ledger.store.directory import (
    CustomerExistsError,
    CustomerKey,
    Directory,
    RequestIdReusedError,
    customer_ids,
    due_customers,
    find_customers,
)
from tests.acts import ACT
from tests.customers import create_customer

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def maker(request_id="r-1", fingerprint=b"f"):
    return lambda customer, _: books.create(
        customer, "Åsa", "team", "card", "Europe/Stockholm", request_id, fingerprint, NOW
    )


async def test_a_customer_is_created_at_the_databases_time(database, connection):
    """Nothing has told this process what time it is there: the first entry takes it from the statement."""
    instants = [await connection.fetchval("SELECT clock_timestamp()")]

    def make(customer, now):
        instants.append(now)
        return maker()(customer, now)

    await create_customer(database.writer, "acme", CELL, make, ACT)
    instants.append(await connection.fetchval("SELECT clock_timestamp()"))
    assert instants == sorted(instants)


async def test_a_customer_is_created_with_its_first_entry(database, connection):
    """Directory, wallet and entry 1 are there together, and found by id and by number."""
    created = await create_customer(database.writer, "acme", CELL, maker(), ACT)
    key = created.key
    assert not created.replayed
    assert await find_customers(database.reader, ["acme", "nobody"]) == {"acme": key}
    assert await customer_ids(database.reader, [key.customer, 10**9]) == {key.customer: "acme"}
    loaded = (await load(connection, CELL, [LoadRequest(key.customer, request_ids=("r-1",))]))[key.customer]
    assert loaded.wallet == maker()(key.customer, NOW).wallet
    assert loaded.entries == {"r-1": created.entry}


async def test_a_repeated_creation_gets_its_entry_again(database):
    """The same request id and fingerprint give the stored entry; anything else is refused."""
    first = await create_customer(database.writer, "acme", CELL, maker(), ACT)
    again = await create_customer(database.writer, "acme", CELL, maker(), ACT)
    assert again.replayed
    assert (again.key, again.entry) == (first.key, first.entry)
    with pytest.raises(RequestIdReusedError):
        await create_customer(database.writer, "acme", CELL, maker(fingerprint=b"other"), ACT)
    with pytest.raises(CustomerExistsError):
        await create_customer(database.writer, "acme", CELL, maker(request_id="r-2"), ACT)


async def test_of_creations_at_once_one_creates(database):
    """Concurrent repeats of one creation make one customer, and all get the same answer."""
    made = await asyncio.gather(
        *(create_customer(database.writer, "acme", CELL, maker(), ACT) for _ in range(4))
    )
    assert sorted(created.replayed for created in made) == [False, True, True, True]
    assert len({created.key for created in made}) == 1


async def test_a_creation_that_fails_leaves_nothing(database):
    """A wallet that cannot be written leaves no customer in the directory."""
    with pytest.raises(Exception, match="check constraint"):
        await create_customer(database.writer, "acme", CELL, maker(request_id=""), ACT)
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


async def test_a_customer_is_looked_up_once(database):
    """What is found is remembered; what is not there is looked for again, and found once it was created."""
    directory = Directory(database.reader)
    assert await directory.find("acme") is None
    assert directory.known("acme") is None
    created = await create_customer(database.writer, "acme", CELL, maker(), ACT)
    assert await asyncio.gather(*(directory.find("acme") for _ in range(3))) == [created.key] * 3
    assert directory.known("acme") == created.key
    await database.reader.close()
    assert await directory.find("acme") == created.key


async def test_a_customer_created_during_a_look_up_is_found(database, owner):
    """A look-up that began before a creation answers only those who asked before it."""
    directory = Directory(database.reader)
    async with owner.transaction():
        await owner.execute("LOCK TABLE ledger.customers IN ACCESS EXCLUSIVE MODE")
        early = asyncio.create_task(directory.find("nobody"))
        await until_one_waits(owner)
        late = asyncio.create_task(directory.find("acme"))
        await asyncio.sleep(0)
        key = await owner.fetchrow(
            "INSERT INTO ledger.customers (customer_id, cell) VALUES ('acme', $1) RETURNING customer, cell",
            CELL,
        )
    assert await early is None
    assert await late == tuple(key)


async def test_a_look_up_given_up_is_finished_for_the_others(database, owner):
    """One who asks and leaves takes nobody's answer along."""
    created = await create_customer(database.writer, "acme", CELL, maker(), ACT)
    directory = Directory(database.reader)
    async with owner.transaction():
        await owner.execute("LOCK TABLE ledger.customers IN ACCESS EXCLUSIVE MODE")
        asking = [asyncio.create_task(directory.find("acme")) for _ in range(2)]
        await until_one_waits(owner)
        asking[0].cancel()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1] == created.key


async def test_a_database_that_is_away_is_told_to_all_who_ask(database):
    """The driver's error reaches everybody who waits, and the next look-up begins anew."""
    directory = Directory(database.reader)
    await database.reader.close()
    for _ in range(2):
        answers = await asyncio.gather(*(directory.find(name) for name in "abc"), return_exceptions=True)
        assert [type(answer) for answer in answers] == [asyncpg.InterfaceError] * 3


async def until_one_waits(owner):
    """Returns when another session waits for a lock."""
    waiting = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    async with asyncio.timeout(60):
        while not await owner.fetchval(waiting):
            await owner.execute("SELECT pg_stat_clear_snapshot()")


def test_a_key_names_customer_and_cell():
    """Callers take it apart by position."""
    assert CustomerKey(1, CELL) == (1, CELL)
