"""Migrations: twice, at once, and every cell alike."""

from __future__ import annotations

import asyncio
import re

import asyncpg
import pytest

from ledger.store.postgres.database import Database
from ledger.store.postgres.migrate import migrate

COLUMNS = """
SELECT c.relname, c.relkind, c.reloptions, a.attname, format_type(a.atttypid, a.atttypmod) AS type,
       a.attnotnull, pg_get_expr(d.adbin, d.adrelid) AS default, c.relacl::text
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = $1::regnamespace ORDER BY 1, a.attnum
"""
SHARED = ["ledger: shared_0001", "ledger: shared_0002", "ledger: shared_0003", "ledger: shared_0004"]
OF_A_CELL = [f"cell_{number:04}" for number in range(1, 14)]
INDEXES = "SELECT indexdef FROM pg_indexes WHERE schemaname = $1 ORDER BY indexname"
CONSTRAINTS = """
SELECT conrelid::regclass::text || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = $1::regnamespace ORDER BY 1
"""


@pytest.fixture
async def empty_url(postgres):
    """A database without a schema."""
    connection = await asyncpg.connect(postgres.url)
    await connection.execute("CREATE DATABASE empty")
    yield postgres.url.replace("/postgres?", "/empty?")
    await connection.execute("DROP DATABASE empty WITH (FORCE)")
    await connection.close()


async def schema_of(connection, cell):
    """All that a cell is made of, without its name."""
    rows = [row for query in (COLUMNS, INDEXES, CONSTRAINTS) for row in await connection.fetch(query, cell)]
    return [re.sub(cell, "cell", repr(tuple(row))) for row in rows]


async def test_migrate_tells_what_it_applied_and_a_second_time_nothing(empty_url):
    """A database at the newest revision is left as it is."""
    assert await migrate(empty_url) == [*SHARED, *(f"cell_00: {each}" for each in OF_A_CELL)]
    assert await migrate(empty_url) == []


async def test_servers_that_start_at_once_migrate_once(empty_url):
    """Of concurrent migrations one applies, the others wait and find nothing to do."""
    reported = await asyncio.gather(*(migrate(empty_url) for _ in range(4)))
    assert sorted(reported, key=len)[:3] == [[], [], []]
    assert len(max(reported, key=len)) == len(SHARED) + len(OF_A_CELL)


async def test_cells_are_alike(empty_url):
    """Every cell has the same tables, indexes, constraints, views and rights."""
    await migrate(empty_url)
    assert await migrate(empty_url, ["cell_00", "cell_01"]) == [f"cell_01: {each}" for each in OF_A_CELL]
    connection = await asyncpg.connect(empty_url)
    first, second = [await schema_of(connection, cell) for cell in ("cell_00", "cell_01")]
    await connection.close()
    assert len(first) > 100
    assert first == second


async def test_a_migration_that_fails_leaves_its_schema_as_it_was(empty_url):
    """Each schema migrates in a transaction of its own: whole, or not at all."""
    connection = await asyncpg.connect(empty_url)
    await connection.execute("CREATE SCHEMA cell_01; CREATE TABLE cell_01.lots (a int)")
    with pytest.raises(Exception, match="already exists"):
        await migrate(empty_url, ["cell_00", "cell_01"])
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = $1"
    assert await connection.fetchval(tables, "cell_01") == 1
    assert await connection.fetchval(tables, "cell_00") > 10
    await connection.close()


async def test_a_cell_has_a_cells_name(empty_url):
    """Names of cells become part of statements: nothing else is taken."""
    with pytest.raises(ValueError, match="cell_00 to cell_99"):
        await migrate(empty_url, ["cell_00; DROP TABLE x"])


async def test_an_owner_that_is_no_superuser(postgres, empty_url):
    """It migrates where others have created the roles; these then need URLs of their own."""
    admin = await asyncpg.connect(empty_url)
    await admin.execute("CREATE ROLE boss LOGIN; ALTER DATABASE empty OWNER TO boss")
    owner_url = empty_url.replace("//postgres:", "//boss:")
    assert {step.partition(":")[0] for step in await migrate(owner_url)} == {"ledger", "cell_00"}
    reader_url, finance_url, writer_url = (
        url.replace("/postgres?", "/empty?")
        for url in (postgres.reader_url, postgres.finance_url, postgres.writer_url)
    )
    database = await Database.open(
        owner_url, reader_url=reader_url, finance_url=finance_url, writer_url=writer_url
    )
    assert await database.reader.fetchval("SELECT count(*) FROM cell_00.entries") == 0
    await database.close()
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="role"):
        await Database.open(owner_url)
    await admin.execute("ALTER DATABASE empty OWNER TO postgres; DROP OWNED BY boss CASCADE; DROP ROLE boss")
    await admin.close()
