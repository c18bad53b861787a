"""Who may do what: the structure that hides cost and keeps the journal append-only."""

from __future__ import annotations

import asyncpg
import pytest
from store_world import CELL

from ledger.store.postgres.database import FINANCE, READER, WRITER, Database, RoleTooStrongError

DOLLAR_TABLES = (
    "money",
    "debts",
    "lot_values",
    "reservation_costs",
    "states",
    "rollup_lines",
    "rollup_accounts",
    "tailer",
    "findings",
    "dollar_journal",
)
DENIED = asyncpg.InsufficientPrivilegeError


@pytest.fixture(params=["own URLs", "the owner's URL"])
async def by_either_way(request, database_urls):
    """A database whose roles log in, and one whose roles are set on the owner's session."""
    urls = database_urls
    own = {"reader_url": urls.reader, "finance_url": urls.finance, "writer_url": urls.writer}
    opened = await Database.open(urls.owner, **(own if request.param == "own URLs" else {}))
    yield opened
    await opened.close()


async def test_each_pool_is_its_role(by_either_way):
    """A pool's sessions run as its role, and so do the writers of cells."""
    for pool, role in (
        (by_either_way.reader, READER),
        (by_either_way.finance, FINANCE),
        (by_either_way.writer, WRITER),
    ):
        assert await pool.fetchval("SELECT current_user") == role
    connection = await by_either_way.connect_writer("a cell's writer")
    assert await connection.fetchval("SELECT current_user || ' ' || current_setting('application_name')") == (
        f"{WRITER} a cell's writer"
    )
    await connection.close()


async def test_a_session_of_its_own_url_can_become_no_other_role(database):
    """A statement injected into a public read cannot take another role."""
    for role in (WRITER, FINANCE, "postgres"):
        with pytest.raises(DENIED):
            await database.reader.execute(f"SET ROLE {role}")


@pytest.mark.parametrize("table", [f"{CELL}.{table}" for table in DOLLAR_TABLES] + [
    "ledger.price_versions",
    "ledger.plan_versions",
    "ledger.price_generation",
])  # fmt: skip
async def test_the_reader_sees_no_dollars(by_either_way, table):
    """Neither a table that tells a dollar, nor a view on one, can be read by the reader."""
    with pytest.raises(DENIED):
        await by_either_way.reader.fetch(f"SELECT * FROM {table}")


async def test_the_reader_sees_the_credits(by_either_way):
    """Public reads find what they need, and no token of a write."""
    for table in ("entries", "reservations", "lots", "journal"):
        await by_either_way.reader.fetch(f"SELECT * FROM {CELL}.{table}")
    await by_either_way.reader.fetch(f"SELECT customer, plan, available, created_at FROM {CELL}.wallets")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await by_either_way.reader.fetch(f"SELECT token FROM {CELL}.wallets")
    await by_either_way.reader.fetch("SELECT * FROM ledger.customers")


async def test_the_reader_sees_of_states_what_budgets_count_alone(by_either_way):
    """By a door of its own: not what prices remember, which tells revenue, whatever key it asks for."""
    await by_either_way.writer.execute(
        f"INSERT INTO {CELL}.states (customer, key, state, surplus, collected, uncollected, revenue_nanousd)"
        " VALUES (7, 'budget:all:TOTAL:', '42', 0, 0, 0, 0), (7, 'run/1', '1', 0, 0, 0, 0),"
        " (8, 'budget:all:TOTAL:', '43', 0, 0, 0, 0)"
    )
    rows = await by_either_way.reader.fetch(
        f"SELECT * FROM {CELL}.budget_counts(7, ARRAY['budget:all:TOTAL:', 'run/1', 'budget:none'])"
    )
    assert [tuple(row) for row in rows] == [("budget:all:TOTAL:", 42)]


async def test_the_reader_does_not_see_what_rounding_left_over(by_either_way):
    """An exact price under `cost_plus` is a cost, to more digits than any charge tells."""
    with pytest.raises(DENIED):
        await by_either_way.reader.fetch(f"SELECT tallies FROM {CELL}.wallets")


@pytest.mark.parametrize("role", ["reader", "finance"])
async def test_readers_write_nothing(by_either_way, role):
    """Neither reading role may write a row, also where the session is not read only."""
    pool = getattr(by_either_way, role)
    tables = await by_either_way.finance.fetch(
        "SELECT schemaname || '.' || tablename AS name FROM pg_tables WHERE schemaname IN ('ledger', $1)",
        CELL,
    )
    assert {f"{CELL}.entries", f"{CELL}.money", "ledger.audit"} <= {table for (table,) in tables}
    async with pool.acquire() as connection:
        await connection.execute("SET default_transaction_read_only = off")
        for (table,) in tables:
            with pytest.raises(DENIED):
                await connection.execute(f"INSERT INTO {table} DEFAULT VALUES")
            with pytest.raises(DENIED):
                await connection.execute(f"DELETE FROM {table}")


@pytest.mark.parametrize("table", ["entries", "money"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET booked_at = now()", "DELETE FROM {}", "TRUNCATE {}"])
async def test_the_journal_is_append_only(by_either_way, table, statement):
    """The service's role can neither update nor delete an entry, nor empty the table."""
    with pytest.raises(DENIED):
        await by_either_way.writer.execute(statement.format(f"{CELL}.{table}"))


@pytest.mark.parametrize("role", ["writer", "finance", "reader"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger.audit SET name = 'nobody'",
        "UPDATE ledger.audit SET at = now() WHERE false",
        "DELETE FROM ledger.audit",
        "TRUNCATE ledger.audit",
        "TRUNCATE ledger.audit RESTART IDENTITY",
        "DROP TABLE ledger.audit",
        "ALTER TABLE ledger.audit DISABLE TRIGGER ALL",
    ],
)
async def test_the_audit_is_append_only(by_either_way, role, statement):
    """What was done stays as it was noted: no role of the service can change, remove or empty it."""
    async with getattr(by_either_way, role).acquire() as connection:
        await connection.execute("SET default_transaction_read_only = off")
        with pytest.raises(DENIED):
            await connection.execute(statement)


async def test_the_audit_is_for_the_back_office(by_either_way):
    """The writer notes in it, finance may read it, whoever answers public reads may not."""
    row = "(key_id, name, method, resource, after) VALUES ('', 'a test', 'tests', 'plans', '{}')"
    await by_either_way.writer.execute(f"INSERT INTO ledger.audit {row}")
    assert await by_either_way.finance.fetchval("SELECT count(*) FROM ledger.audit") == 1
    for statement in ("SELECT name FROM ledger.audit", f"INSERT INTO ledger.audit {row}"):
        async with by_either_way.reader.acquire() as connection:
            await connection.execute("SET default_transaction_read_only = off")
            with pytest.raises(DENIED):
                await connection.execute(statement)


async def test_versions_are_immutable(database):
    """A published version of prices can neither be changed nor removed by the service."""
    with pytest.raises(DENIED):
        await database.writer.execute("UPDATE ledger.price_versions SET document = ''")
    with pytest.raises(DENIED):
        await database.writer.execute("DELETE FROM ledger.price_versions")


async def test_a_view_runs_with_its_callers_rights(database):
    """A plain view shows its tables with its owner's rights: all are security_invoker, but for own_fields.

    What that may show nobody pushes a function below: it is a security barrier.
    """
    views = await database.finance.fetch(
        "SELECT relname, reloptions FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE relkind = 'v' AND nspname IN ('ledger', $1)",
        CELL,
    )
    assert {view["relname"] for view in views} >= {"journal", "dollar_journal"}
    made = {view["relname"]: view["reloptions"] for view in views}
    assert made.pop("own_fields") == ["security_barrier=true"]
    assert all("security_invoker=true" in (options or ()) for options in made.values())


async def test_the_reader_sees_own_fields_without_dollars(by_either_way, owner):
    """But for top-ups and what recurs, which have prices; the column itself it may not select."""
    own = '{"budgets": {"a": 1}, "topup": {"credit_price_usd": "7"}, "grants": {"m": {"paid_usd": "7"}}}'
    await owner.execute(
        f"INSERT INTO {CELL}.wallets (customer, sequence, display_name, plan, zone, multiplier_nanos, issued,"
        " pending, available, held, consumed, expired, voided, refunded, debt, last_instant, created_at,"
        " token, plan_overrides)"
        " VALUES (1, 1, '', 'p', 'UTC', 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, now(), now(), 1, $1)",
        own,
    )
    shown = await by_either_way.reader.fetch(f"SELECT * FROM {CELL}.own_fields")
    assert [tuple(row) for row in shown] == [(1, '{"budgets": {"a": 1}}')]
    with pytest.raises(DENIED):
        await by_either_way.reader.fetch(f"SELECT plan_overrides FROM {CELL}.wallets")


async def test_a_reader_that_may_read_dollars_is_refused(database_urls):
    """A reader's URL that leads to a stronger role would leak costs: the service does not start with it."""
    with pytest.raises(RoleTooStrongError, match="money"):
        await Database.open(database_urls.owner, reader_url=database_urls.finance)


async def test_pools_tell_their_use(database):
    """Connections in use, open and allowed, by role; those for reports by themselves."""
    async with database.finance.acquire():
        use = database.use()
        assert use.keys() == {READER, "reports", FINANCE, WRITER}
        assert (use[FINANCE].busy, use[READER].busy) == (1, 0)
        assert use[FINANCE].open <= use[FINANCE].limit


async def test_the_journal_is_a_row_per_posting(world, database):
    """The accountant's views show each posting once, and each commodity sums to 0."""
    rows = await database.finance.fetch(
        f"SELECT account, sum(amount_micros)::bigint FROM {CELL}.journal GROUP BY account"
    )
    total = await database.finance.fetchrow(f"SELECT sum(issued), sum(available) FROM {CELL}.wallets")
    assert dict(rows) == {"issued": total[0], "available": total[1]}
    dollars = dict(
        await database.finance.fetch(
            f"SELECT account, sum(amount_nanousd)::bigint FROM {CELL}.dollar_journal GROUP BY account"
        )
    )
    assert dollars.keys() == {"receivable", "deferred"}
    assert sum(dollars.values()) == 0
