"""Pools: a session goes back as it is, for nothing is left in it."""

from __future__ import annotations

import asyncio

import pytest

IDLE = "SELECT state, query FROM pg_stat_activity WHERE pid = $1"


async def test_a_use_is_one_round_trip(database, owner):
    """What a session did last is its caller's statement: going back to the pool sends none."""
    for pool in (database.reader, database.finance, database.writer):
        backend = await pool.fetchval("SELECT pg_backend_pid()")
        assert await pool.fetchval("SELECT pg_backend_pid()") == backend
        assert tuple(await owner.fetchrow(IDLE, backend)) == ("idle", "SELECT pg_backend_pid()")


async def test_an_open_transaction_is_rolled_back(database, owner):
    """A transaction that its caller left open ends with the use, without effect."""
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with database.writer.acquire() as connection:
        backend = connection.get_server_pid()
        await connection.execute("BEGIN")
        await connection.execute(
            "INSERT INTO ledger.customers (customer_id, cell) VALUES ('acme', 'cell_00')"
        )
    assert await owner.fetchval("SELECT state FROM pg_stat_activity WHERE pid = $1", backend) == "idle"
    assert await owner.fetchval("SELECT count(*) FROM ledger.customers") == 0


async def test_a_variable_of_a_transaction_ends_with_it(database):
    """What a statement sets for its transaction is not there for the next use."""
    async with database.reader.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL statement_timeout = '1ms'")
    assert await database.reader.fetchval("SHOW statement_timeout") == "10s"


async def test_a_use_given_up_leaves_nothing(database, owner):
    """A statement that its caller gave up within a transaction is ended, and the pool goes on."""
    begun = asyncio.Event()

    async def use():
        async with database.writer.acquire() as connection, connection.transaction():
            await connection.execute(
                "INSERT INTO ledger.customers (customer_id, cell) VALUES ('acme', 'cell_00')"
            )
            begun.set()
            await connection.execute("SELECT pg_sleep(60)")

    given_up = asyncio.create_task(use())
    await begun.wait()
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    answers = [await database.writer.fetchval("SELECT $1::int", number) for number in range(8)]
    assert answers == list(range(8))
    left = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND state LIKE '%transaction%'"
    )
    assert await owner.fetchval(left) == 0
    assert await owner.fetchval("SELECT count(*) FROM ledger.customers") == 0
