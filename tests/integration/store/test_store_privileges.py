"""The declared state of roles, grants and closed functions: whatever was there before, a start brings it."""

from __future__ import annotations

import asyncpg
import pytest
import structlog
from store_world import CELL

from ledger.store.postgres import migrate as migrations
from ledger.store.postgres.closed_catalog import ALLOWED, HIDDEN_COLUMNS, NOT_ALLOWED
from ledger.store.postgres.database import READER, WRITER
from ledger.store.postgres.migrate import MENDING_TRIES, MigrationLimits, migrate, undisturbed
from ledger.store.postgres.revisions import MigrationRefusedError

DENIED = asyncpg.InsufficientPrivilegeError
EXECUTABLE = f"""
SELECT f.oid::regprocedure::text FROM ({NOT_ALLOWED}) f
WHERE has_function_privilege('{READER}', f.oid, 'EXECUTE')
"""
TELLING = (
    "pg_current_wal_insert_lsn()",
    "pg_current_wal_lsn()",
    "pg_current_wal_flush_lsn()",
    f"pg_relation_size('{CELL}.money')",
    f"pg_total_relation_size('{CELL}.money')",
    f"pg_table_size('{CELL}.money')",
    f"pg_indexes_size('{CELL}.money')",
    "pg_database_size(current_database())",
    f"pg_stat_get_tuples_inserted('{CELL}.money'::regclass)",
    "pg_current_xact_id()",
    "txid_current()",
    "pg_current_snapshot()",
    "pg_advisory_lock(1)",
    "pg_try_advisory_lock(1)",
    "pg_advisory_xact_lock_shared(1)",
    "lo_create(0)",
    "lo_from_bytea(0, '')",
    "pg_terminate_backend(1)",
    "pg_cancel_backend(1)",
    "pg_notify('a', 'b')",
    "pg_sleep(0)",
    "age('3'::xid)",
    f"query_to_xml('SELECT 1 FROM {CELL}.lots', true, true, '')",
)
VIEWS = (
    "pg_stat_user_tables",
    "pg_stat_activity",
    "pg_stat_wal",
    "pg_stat_database",
    "pg_statio_user_tables",
    "pg_locks",
    "pg_sequences",
)


@pytest.fixture
async def unmended(owner):
    """A database as somebody has left it who granted and revoked by hand; as its owner's session."""
    name = await owner.fetchval("SELECT current_database()")
    await owner.execute(f"""
        GRANT SELECT ON {CELL}.money TO {READER};
        GRANT SELECT (unbilled_nanousd) ON {CELL}.debts TO PUBLIC;
        GRANT SELECT ON {CELL}.wallets TO {READER};
        GRANT UPDATE ON {CELL}.entries TO {WRITER};
        GRANT CREATE ON SCHEMA {CELL} TO PUBLIC;
        GRANT TEMPORARY ON DATABASE {name} TO {READER};
        GRANT EXECUTE ON FUNCTION pg_current_wal_lsn() TO PUBLIC;
        GRANT SELECT ON pg_class TO PUBLIC;
        REVOKE ALL ON ledger.price_generation FROM {WRITER};
        REVOKE USAGE ON SCHEMA ledger FROM {READER};
        REVOKE EXECUTE ON FUNCTION pg_current_xact_id() FROM {WRITER};
    """)
    return owner


async def grants_of(owner):
    """All that anybody may do with the ledger's tables, schemas and functions."""
    rows = await owner.fetch(
        "SELECT oid::regclass::text, relacl::text FROM pg_class WHERE relnamespace = ANY($1::regnamespace[])"
        " UNION ALL SELECT attrelid::regclass || '.' || attname, attacl::text FROM pg_attribute"
        " WHERE attacl IS NOT NULL"
        " UNION ALL SELECT nspname, nspacl::text FROM pg_namespace"
        " UNION ALL SELECT oid::regprocedure::text, proacl::text FROM pg_proc",
        ["ledger", CELL],
    )
    return {name: sorted((acl or "").strip("{}").split(",")) for name, acl in rows}


async def test_grants_are_what_is_declared_whatever_was_there(unmended, database_urls, postgres):
    """A start takes back what is too much, tables, columns and schemas alike, and gives what is missing."""
    other = await asyncpg.connect(postgres.url.replace("/postgres?", "/migrated?"))
    declared = await grants_of(other)
    await other.close()
    assert await grants_of(unmended) != declared
    with structlog.testing.capture_logs() as logs:
        assert await migrate(database_urls.owner) == []
    assert await grants_of(unmended) == declared
    reported = [log["statement"] for log in logs if log["event"] == "privileges.taken_back"]
    assert f"REVOKE SELECT ON TABLE {CELL}.money FROM {READER}" in reported
    assert f"REVOKE UPDATE ON TABLE {CELL}.entries FROM {WRITER}" in reported
    with structlog.testing.capture_logs() as logs:
        await migrate(database_urls.owner)
    assert logs == []


async def test_roles_have_nothing_beside_their_grants(database_urls, owner):
    """A membership that opens more, and the powers of a superuser, are taken from the roles."""
    await owner.execute(
        f"GRANT pg_read_all_data, {WRITER} TO {READER}; ALTER ROLE {READER} CREATEDB BYPASSRLS"
    )
    await migrate(database_urls.owner)
    assert await owner.fetch("SELECT FROM pg_auth_members WHERE member = $1::regrole", READER) == []
    strong = "SELECT FROM pg_roles WHERE rolname = $1 AND (rolcreatedb OR rolbypassrls)"
    assert await owner.fetch(strong, READER) == []


async def test_the_reader_executes_nothing_but_what_is_on_the_list(owner):
    """By class and name, from PostgreSQL's own list: a new one is closed until somebody looks at it."""
    closed = await owner.fetchval(f"SELECT count(*) FROM ({NOT_ALLOWED}) f", ALLOWED, ["ledger", CELL])
    assert closed > 400
    assert await owner.fetch(EXECUTABLE, ALLOWED, ["ledger", CELL]) == []


@pytest.mark.parametrize("call", TELLING)
async def test_the_reader_calls_nothing_that_tells_of_hidden_rows(database, call):
    """Positions of the log, sizes, statistics, transaction ids; locks, large objects, others' sessions."""
    with pytest.raises(DENIED):
        await database.reader.fetch(f"SELECT {call}")


@pytest.mark.parametrize("view", VIEWS)
async def test_the_reader_sees_no_statistics(database, view):
    """PostgreSQL's views of sizes, activity and locks call what the reader may not."""
    with pytest.raises(DENIED):
        await database.reader.fetch(f"SELECT * FROM {view}")


@pytest.mark.parametrize("column", HIDDEN_COLUMNS[:3])
async def test_the_reader_sees_no_size_in_the_catalog(database, column):
    """What vacuum has counted of a table stands in pg_class."""
    assert await database.reader.fetch("SELECT relname FROM pg_class WHERE relname = 'money'")
    with pytest.raises(DENIED):
        await database.reader.fetch(f"SELECT {column} FROM pg_class")


async def test_the_reader_makes_no_temporary_table(database, database_urls):
    """Nor any other, also where the session is not read only."""
    await migrate(database_urls.owner)  # a copy of a database has none of its rights
    async with database.reader.acquire() as connection:
        await connection.execute("SET default_transaction_read_only = off")
        for statement in ("CREATE TEMPORARY TABLE t (a int)", "CREATE TABLE public.t (a int)"):
            with pytest.raises(DENIED):
                await connection.execute(statement)


async def test_an_owner_that_cannot_close_functions_is_told_once_what_to_do(postgres):
    """As no superuser it goes on, with a warning that names some and says who can close them."""
    admin = await asyncpg.connect(postgres.url)
    await admin.execute("CREATE ROLE chief LOGIN; ")
    await admin.execute("CREATE DATABASE managed OWNER chief")
    try:
        url = postgres.url.replace("//postgres:", "//chief:").replace("/postgres?", "/managed?")
        with structlog.testing.capture_logs() as logs:
            await migrate(url)
        (reported,) = [log for log in logs if log["event"] == "privileges.callable"]
        assert reported["count"] > 400
        assert "superuser" in reported["mend"]
        await migrate(postgres.url.replace("/postgres?", "/managed?"))
        with structlog.testing.capture_logs() as logs:
            await migrate(url)
        assert logs == []
    finally:
        await admin.execute("DROP DATABASE managed WITH (FORCE)")
        await admin.execute("DROP ROLE chief")
        await admin.close()


async def test_a_guest_in_a_database_is_told_what_its_owner_has_to_run(postgres):
    """PostgreSQL takes a stranger's REVOKE for nothing: it is reported as open each time, not as taken back.

    Once a superuser has done it the guest, who owns the ledger's schemas, goes on as before.
    """
    admin = await asyncpg.connect(postgres.url)
    await admin.execute("CREATE ROLE guest LOGIN")
    await admin.execute("CREATE DATABASE shared")
    await admin.execute("GRANT CREATE ON DATABASE shared TO guest")
    url = postgres.url.replace("/postgres?", "/shared?")
    guest_url = url.replace("//postgres:", "//guest:")
    try:
        for _ in range(2):
            with structlog.testing.capture_logs() as logs:
                await migrate(guest_url)
            reported = [log["mend"] for log in logs if log["event"] == "privileges.too_many"]
            assert reported == ["the database's owner runs: REVOKE TEMPORARY ON DATABASE shared FROM PUBLIC"]
            assert "privileges.taken_back" not in {log["event"] for log in logs}
        await migrate(url)
        with structlog.testing.capture_logs() as logs:
            assert await migrate(guest_url) == []
        assert logs == []
    finally:
        await admin.execute("DROP DATABASE shared WITH (FORCE)")
        await admin.execute("DROP ROLE guest")
        await admin.close()


async def test_a_migration_that_waits_for_its_turn_says_for_whom(database_urls, owner):
    """It ends after a bounded wait, and names the session that holds the turn."""
    await owner.execute("SET application_name = 'a stuck start'")
    await owner.execute("SELECT pg_advisory_lock($1)", migrations._LOCK)
    with pytest.raises(MigrationRefusedError, match=r"process \d+ .*'a stuck start'"):
        await migrate(database_urls.owner, limits=MigrationLimits(turn_seconds=1))


async def test_a_migration_waits_for_no_table_for_ever(database_urls, owner):
    """A transaction that is left open holds up a migration for seconds; then the error says whose it is."""
    await owner.execute("SET application_name = 'a report'")
    await owner.execute(f"DELETE FROM {CELL}.alembic_version")
    async with owner.transaction():
        await owner.execute(f"LOCK TABLE {CELL}.alembic_version IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(MigrationRefusedError, match="'a report'"):
            await migrate(database_urls.owner, limits=MigrationLimits(lock_seconds=1))


async def test_an_older_server_is_refused_in_one_line(database_urls):
    """Before anything else is asked of it, and with what to do."""
    with pytest.raises(MigrationRefusedError) as refused:
        await migrate(database_urls.owner, limits=MigrationLimits(server_version_min=990000))
    assert "the oldest that is supported is 99: move the database to a newer server" in str(refused.value)
    assert "\n" not in str(refused.value)


async def test_grants_are_mended_anew_where_another_session_was_at_them(owner):
    """PostgreSQL takes no lock for a grant: of two at the same row one ends with an internal error."""
    tries = []

    async def work():
        tries.append(await owner.fetchval("SELECT pg_current_xact_id()::text"))
        if len(tries) < MENDING_TRIES:
            raise asyncpg.InternalServerError("tuple concurrently updated")

    await undisturbed(owner, work)
    assert len(set(tries)) == MENDING_TRIES, "each in a transaction of its own"
    with pytest.raises(asyncpg.InternalServerError):
        await undisturbed(owner, lambda: owner.execute("DO $$ BEGIN RAISE internal_error; END $$"))
