"""Brings a database to the schema of this version.

What belongs to no cell stands in the schema `ledger`, each cell in a schema of its own, with its own
`alembic_version`, migrated in a transaction of its own. An advisory lock makes servers that start at the
same time take turns. Nothing waits for ever: a lock that others hold is reported with who they are.
"""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import asyncpg
import structlog

from ledger.store.postgres.closed_catalog import close_catalog
from ledger.store.postgres.moved import adopt_transactions
from ledger.store.postgres.privileges import make_roles, mend_grants
from ledger.store.postgres.revisions import DEFAULT_CELLS, SHARED_SCHEMA, MigrationRefusedError, at_newest
from ledger.store.statements import statements_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ledger.store.postgres.database import Connection

_CELL_NAME = re.compile(r"cell_[0-9]{2}")
_LOCK = 0x6163755F6C656467
"""Of `pg_advisory_lock`: any number that nobody else in the database uses."""

HOLDERS_MAX = 3
"""Sessions that a refusal names."""
MENDING_TRIES = 5
MENDING_PAUSE_SECONDS = 0.2
"""Before roles and grants are mended anew, where another session was at the same rows."""


class MigrationLimits(NamedTuple):
    """Of one migration."""

    server_version_min: int = 150000
    """PostgreSQL 15: views that run with their caller's rights (`security_invoker`)."""
    turn_seconds: int = 60
    """How long a server waits for another that migrates."""
    lock_seconds: int = 10
    """How long a migration waits for a lock on a table: whoever waits behind it waits as long."""


MIGRATION_LIMITS = MigrationLimits()

_log = structlog.get_logger(__name__)

_SQL = statements_of(__name__)
_HOLDERS = _SQL["holders"]


async def migrate(
    url: str, cells: Sequence[str] = DEFAULT_CELLS, limits: MigrationLimits = MIGRATION_LIMITS
) -> list[str]:
    """Applies what is missing, and tells what that was, e.g. "cell_00: cell_0001".

    Roles and grants are brought to what is declared each time. Safe to run in several processes at once.
    `url` is the owner's: it creates schemas and roles. Raises ValueError for a cell that is not named
    cell_NN, and MigrationRefusedError.
    """
    for cell in cells:
        if not _CELL_NAME.fullmatch(cell):
            raise ValueError(f"a cell is named cell_00 to cell_99, not {cell!r}")
    connect = partial(
        asyncpg.connect,
        url,
        server_settings={
            "application_name": "acu-ledger migrate",
            "lock_timeout": f"{limits.lock_seconds}s",
        },
    )
    connection = await connect()
    try:
        return await _migrate(connection, connect, cells, limits)
    except Exception as error:
        refusal = await _refusal_of(connection, _of_driver(error), [SHARED_SCHEMA, *cells])
        if refusal is None:
            raise
        raise MigrationRefusedError(refusal) from error
    finally:
        await connection.close()


async def _migrate(
    connection: Connection,
    connect: Callable[[], Awaitable[Connection]],
    cells: Sequence[str],
    limits: MigrationLimits,
) -> list[str]:
    await _check_server(connection, limits.server_version_min)
    await connection.execute(f"SET lock_timeout = '{limits.turn_seconds}s'")
    # The lock is the session's: it outlives the transactions below, and ends with the connection.
    await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
    await connection.execute(f"SET lock_timeout = '{limits.lock_seconds}s'")
    await undisturbed(connection, lambda: make_roles(connection))
    applied = []
    behind = [each for each in (SHARED_SCHEMA, *cells) if not await at_newest(connection, each)]
    if behind:
        from ledger.store.postgres.upgrade import upgrade  # noqa: PLC0415 -- it takes long to import

        applied = await upgrade(connect, behind)

    async def mend() -> None:
        await mend_grants(connection, SHARED_SCHEMA, cells)
        await close_catalog(connection, [SHARED_SCHEMA, *cells])
        for cell in cells:
            await adopt_transactions(connection, cell)

    await undisturbed(connection, mend)
    return applied


async def undisturbed(connection: Connection, work: Callable[[], Awaitable[None]]) -> None:
    """Does work on roles and grants in a transaction, anew where another session has changed the same row.

    PostgreSQL takes no lock for these: a server of another database of the cluster that starts, or a vacuum
    of the catalog, makes it an internal error ("tuple concurrently updated").
    """
    for _ in range(MENDING_TRIES - 1):
        try:
            async with connection.transaction():
                return await work()
        except asyncpg.InternalServerError as error:
            _log.info("privileges.again", error=str(error))
            await asyncio.sleep(MENDING_PAUSE_SECONDS)
    async with connection.transaction():
        return await work()


async def _check_server(connection: Connection, version_min: int) -> None:
    version = await connection.fetchval("SHOW server_version")
    if int(await connection.fetchval("SHOW server_version_num")) < version_min:
        raise MigrationRefusedError(
            f"this is PostgreSQL {version}, and the oldest that is supported is"
            f" {version_min // 10000}: move the database to a newer server (pg_dump, pg_restore)"
        )


def _of_driver(error: BaseException | None) -> BaseException | None:
    """The driver's error under what SQLAlchemy makes of it."""
    while error is not None and not isinstance(error, asyncpg.PostgresError):
        error = error.__cause__
    return error


async def _refusal_of(
    connection: Connection, error: BaseException | None, schemas: Sequence[str]
) -> str | None:
    """What is in the way of a migration, where whoever runs it can do something about it."""
    if isinstance(error, asyncpg.LockNotAvailableError):
        holders = await connection.fetch(_HOLDERS, _LOCK, schemas)
        sessions = "; ".join(
            f"process {row['pid']} (user {row['usename']}, application {row['application_name']!r},"
            f" connected since {row['backend_start']:%Y-%m-%d %H:%M:%S %Z})"
            for row in holders[:HOLDERS_MAX]
        )
        who = sessions or "they have gone meanwhile"
        return f"others hold locks that the migration needs: {who}; start when they are done, or end them"
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        user = await connection.fetchval("SELECT current_user")
        return f"{error}: {user} has to own the ledger's schemas and have CREATEROLE, or be a superuser"
    return None
