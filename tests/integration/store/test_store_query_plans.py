"""Guards on plans: a statement of the hot path looks up rows by index, on empty tables and on full ones."""

from __future__ import annotations

import json

import asyncpg
from store_world import CELL, CREDIT, TABLES, World, priced

from ledger.books import State
from ledger.store import directory
from ledger.store.cells import load, write_statement
from ledger.store.cells.write import write


def write_text(*, probe):
    return write_statement.write_statement(CELL, write_statement.PARTS, probe=probe)


WRITE = write_text(probe=False)
STATEMENTS = {
    "write, all parts": WRITE,
    "write and probe": write_text(probe=True),
    "check": write_statement.CHECK.format(cell=CELL),
    "load": load.LOAD.format(cell=CELL),
    "load states": load.LOAD_STATES.format(cell=CELL),
    "load a reversal": load.LOAD_REVERSAL.format(cell=CELL),
    "lock wallets": load.LOCK_WALLETS.format(cell=CELL),
    "find entries": load.FIND_ENTRIES.format(cell=CELL),
}
FORBIDDEN = {"Seq Scan", "Hash Join", "Merge Join"}


async def nodes_of(connection, statement):
    """All nodes of the statement's generic plan."""
    prepared = await connection.prepare(statement)
    nulls = [None] * len(prepared.get_parameters())
    explained = await connection.fetchval(f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {statement}", *nulls)
    nodes = []
    left = [plan["Plan"] for plan in explained]
    while left:
        node = left.pop()
        nodes.append(node)
        left.extend(node.get("Plans", ()))
    return nodes


async def fill(url, customer, copies=500):
    """Copies of all rows of one customer, as other customers."""
    owner = await asyncpg.connect(url)
    for table in TABLES:
        columns = await owner.fetch(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = $1 AND table_name = $2"
            " AND is_generated = 'NEVER' AND column_name <> 'customer'",
            CELL,
            table,
        )
        names = ", ".join(name for (name,) in columns)
        await owner.execute(
            f"INSERT INTO {CELL}.{table} (customer, {names}) SELECT copy, {names}"
            f" FROM {CELL}.{table}, generate_series(1001, 1000 + {copies}) AS copy"
            f" WHERE customer = {customer}"
        )
        assert await owner.fetchval(f"SELECT count(*) FROM {CELL}.{table}") >= copies
        await owner.execute(f"ANALYZE {CELL}.{table}")
    await owner.close()


async def assert_looks_up_by_index(connection):
    """No scan of a table, no join but nested loops; membership in the verdict is a hashed subplan."""
    for name, statement in STATEMENTS.items():
        nodes = await nodes_of(connection, statement)
        assert not {node["Node Type"] for node in nodes} & FORBIDDEN, name
        if name.startswith("write"):
            assert "hashed SubPlan" in json.dumps(nodes), name
    [lock] = [node for node in await nodes_of(connection, WRITE) if node["Node Type"] == "LockRows"]
    assert [child["Node Type"] for child in lock["Plans"]] == ["Sort"]
    assert lock["Plans"][0]["Sort Key"] == ["w.customer"]


async def test_plans_on_empty_tables(connection):
    """Rows are looked up by index, and locks taken in order, where the tables are empty."""
    await assert_looks_up_by_index(connection)


async def test_plans_on_full_tables(database, database_url, connection):
    """The same where there are many customers' rows of every kind; the sweeper's look too."""
    world = World()
    customer = await world.new_customer(database)
    for _ in range(5):
        sequence = world.reserve(customer, CREDIT)
        world.commit(customer, sequence, priced(1, states={f"run/{sequence}": State("s")}), final=False)
    world.commit(customer, world.reserve(customer), priced(1_004 * CREDIT))
    await write(connection, CELL, world.take())
    await fill(database_url, customer)
    await assert_looks_up_by_index(connection)
    async with database.writer.acquire() as pooled:
        nodes = await nodes_of(pooled, directory.DUE.format(cell=CELL))
    assert not {node["Node Type"] for node in nodes} & FORBIDDEN


async def test_loads_on_tables_that_were_small_when_they_were_analyzed(database, database_url, connection):
    """No index is read from end to end: the plan stays while the tables grow."""
    world = World()
    customer = await world.new_customer(database)
    sequence = world.reserve(customer, CREDIT)
    world.commit(customer, sequence, priced(1, states={"run": State("s")}), final=False)
    world.commit(customer, world.reserve(customer), priced(1_004 * CREDIT))
    await write(connection, CELL, world.take())
    await fill(database_url, customer, copies=0)
    for name in ("load", "load states", "find entries"):
        nodes = await nodes_of(connection, STATEMENTS[name])
        scans = [node["Index Name"] for node in nodes if "Index Name" in node and "Index Cond" not in node]
        assert not scans, name
