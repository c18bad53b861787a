"""One embedded server a session; a migrated database of its own for each test that asks for one."""

from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import asyncpg
import pytest
import structlog

from ledger.store.database import Database
from ledger.store.embedded import EmbeddedPostgres
from ledger.store.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

# By default a traceback is drawn with the values of all variables: on a busy machine that takes longer than
# what is under test waits.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        structlog.processors.KeyValueRenderer(),
    ]
)

_TEMPLATE = "migrated"
_numbers = count(1)


class DatabaseUrls(NamedTuple):
    """Of one database, by role."""

    owner: str
    reader: str
    finance: str
    writer: str

    @classmethod
    def of(cls, server: EmbeddedPostgres, name: str) -> DatabaseUrls:
        urls = (server.url, server.reader_url, server.finance_url, server.writer_url)
        return cls(*(url.replace("/postgres?", f"/{name}?") for url in urls))


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """The session's server, with a migrated database to copy."""
    # Not in pytest's own directory: each session closes that to all but its user, and as root the server
    # is another one.
    with TemporaryDirectory(prefix="acu-ledger-") as directory:
        server = EmbeddedPostgres.start(Path(directory) / "data")
        asyncio.run(_make_template(server))
        yield server
        server.stop()


@pytest.fixture
async def database_urls(postgres: EmbeddedPostgres) -> AsyncIterator[DatabaseUrls]:
    """A migrated database of the test's own, with one cell (cell_00), as URLs by role."""
    name = f"test_{next(_numbers)}"
    await _execute(postgres.url, f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
    yield DatabaseUrls.of(postgres, name)
    await _execute(postgres.url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def shared_urls(postgres: EmbeddedPostgres) -> Iterator[DatabaseUrls]:
    """A migrated database for all tests of a module, which look at what one history has made of it."""
    name = f"test_{next(_numbers)}"
    asyncio.run(_execute(postgres.url, f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}"))
    yield DatabaseUrls.of(postgres, name)
    asyncio.run(_execute(postgres.url, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def database_url(database_urls: DatabaseUrls) -> str:
    """The same database, as its owner's URL."""
    return database_urls.owner


@pytest.fixture
async def database(database_urls: DatabaseUrls) -> AsyncIterator[Database]:
    """The same database, with its pools open."""
    urls = database_urls
    opened = await Database.open(
        urls.owner, reader_url=urls.reader, finance_url=urls.finance, writer_url=urls.writer
    )
    yield opened
    await opened.close()


async def _make_template(server: EmbeddedPostgres) -> None:
    await _execute(server.url, f"CREATE DATABASE {_TEMPLATE}")
    url = DatabaseUrls.of(server, _TEMPLATE).owner
    await migrate(url)
    # Customers of tests are numbered 1, 2, 3 …: statements name them.
    await _execute(
        url,
        """
        CREATE SEQUENCE public.numbers;
        GRANT USAGE ON SEQUENCE public.numbers TO acu_writer;
        ALTER TABLE ledger.customers ALTER customer SET DEFAULT nextval('public.numbers')
        """,
    )


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
