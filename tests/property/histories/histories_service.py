"""The running service for histories, on a database whose clock the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import asyncpg

from ledger.app import Stack, running
from ledger.store.postgres.database import Database
from ledger.store.postgres.embedded import EmbeddedPostgres
from tests.databases import execute, new_database
from tests.serving import UNHURRIED, settings_on

CONFIG = Path(__file__).parent / "config"

# The service takes the time from the database alone, by these two functions: others of the same names come
# first on the search path of this database. The roles may call what stands in the ledger's own schema.
_CLOCK = """
CREATE SCHEMA moved;
CREATE TABLE moved.clock AS SELECT interval '0' AS ahead;
CREATE FUNCTION ledger.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
    RETURN pg_catalog.clock_timestamp() + (SELECT ahead FROM moved.clock);
CREATE FUNCTION ledger.now() RETURNS timestamptz LANGUAGE sql STABLE
    RETURN pg_catalog.now() + (SELECT ahead FROM moved.clock);
GRANT USAGE ON SCHEMA moved TO PUBLIC;
GRANT SELECT ON moved.clock TO PUBLIC;
ALTER DATABASE {name} SET search_path = ledger, pg_catalog, public;
"""


@dataclass(frozen=True, slots=True)
class Service:
    """Servers of one database, and that database's clock."""

    stacks: tuple[Stack, ...]
    owner: asyncpg.Connection
    database: Database
    """The same, as a server sees it."""

    async def now(self) -> datetime:
        """Read the database's clock."""
        return await self.owner.fetchval("SELECT clock_timestamp()")

    async def move_clock(self, by: timedelta) -> None:
        """Let time pass."""
        await self.owner.execute("UPDATE moved.clock SET ahead = ahead + $1", by)


@asynccontextmanager
async def serving(postgres: EmbeddedPostgres, name: str, servers: int) -> AsyncIterator[Service]:
    """Run servers on a new database."""
    urls = await new_database(postgres, name)
    await execute(urls.owner, _CLOCK.format(name=name))
    settings = settings_on(urls, config_dir=CONFIG)
    async with AsyncExitStack() as life:
        owner = await asyncpg.connect(urls.owner)
        life.push_async_callback(owner.close)
        stacks = [await life.enter_async_context(running(settings, UNHURRIED)) for _ in range(servers)]
        database = await Database.open(
            urls.owner, reader_url=urls.reader, finance_url=urls.finance, writer_url=urls.writer
        )
        life.push_async_callback(database.close)
        yield Service(tuple(stacks), owner, database)
