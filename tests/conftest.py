"""One embedded server a session; a migrated database of its own for each test that asks for one."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]
import pytest
import structlog
from hypothesis import HealthCheck, settings

from ledger.store.postgres.database import Database
from ledger.store.postgres.embedded import EmbeddedPostgres
from tests.databases import DatabaseUrls, drop_database, make_template, new_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

# Servers are started by fork and exec; what gRPC does at a fork while its threads run has killed the child.
# It reads this when it is imported, which none of the above does.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

# Hundreds of programs are started: each would compile the package anew where nothing compiled may be written.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# By default a traceback is drawn with the values of all variables: on a busy machine that takes longer than
# what is under test waits.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        structlog.processors.KeyValueRenderer(),
    ]
)

# The same examples in every run: no change fails by dice, or by what else the machine does, however slowly it
# draws and tries them. EXAMPLES=random looks for others.
at_ease = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("repeatable", at_ease, derandomize=True)
settings.register_profile("random", at_ease, print_blob=True)
settings.load_profile(os.environ.get("EXAMPLES", "repeatable"))

_numbers = count(1)
_ROOM_BYTES = 8 * 2**30
"""Of the servers of all workers, whose logs grow to 1 GB each, and what the tests need themselves."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: many tests wait for a server."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules whose tests may take longest go first: at the end no worker waits for another's long one."""
    longest: dict[Path, float] = {}
    for item in items:
        limit = item.get_closest_marker("timeout")
        longest[item.path] = max(longest.get(item.path, 0), limit.args[0] if limit else 0)
    items.sort(key=lambda item: -longest[item.path])


@pytest.fixture(scope="session")
def clusters() -> Iterator[Path]:
    """Where embedded servers have their directories.

    Not in pytest's own: each session closes that to all but its user, and as root the server is another one.
    """
    with TemporaryDirectory(prefix="acu-ledger-", dir=_memory_with_room()) as directory:
        yield Path(directory)


def _memory_with_room() -> Path | None:
    """Where files are in memory alone, if they have room: tests make a thousand databases of 9 MB."""
    memory = Path("/dev/shm")  # noqa: S108 -- a directory with a name of its own is made in it
    if memory.is_dir():
        room_bytes = min(shutil.disk_usage(memory).free, psutil.virtual_memory().available)
        if room_bytes > _ROOM_BYTES:
            return memory
    return None


@pytest.fixture(scope="session")
def postgres(clusters: Path) -> Iterator[EmbeddedPostgres]:
    """The session's server, with a migrated database to copy."""
    yield from _cluster(clusters / "session")


@pytest.fixture(scope="session")
def postgres_apart(clusters: Path) -> Iterator[EmbeddedPostgres]:
    """A server of those services that live for the whole session in the test's process.

    They stand still while no test of their loop runs. A transaction that is open then stays open, and holds
    up whoever follows the journal of any other database of the same server.
    """
    yield from _cluster(clusters / "apart")


def _cluster(directory: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres.start(directory)
    asyncio.run(make_template(server))
    yield server
    server.stop()


@pytest.fixture
async def database_urls(postgres: EmbeddedPostgres) -> AsyncIterator[DatabaseUrls]:
    """A migrated database of the test's own, with one cell (cell_00), as URLs by role."""
    name = f"test_{next(_numbers)}"
    yield await new_database(postgres, name)
    await drop_database(postgres, name)


@pytest.fixture(scope="module")
def shared_urls(postgres: EmbeddedPostgres) -> Iterator[DatabaseUrls]:
    """A migrated database for all tests of a module, which look at what one history has made of it."""
    name = f"test_{next(_numbers)}"
    yield asyncio.run(new_database(postgres, name))
    asyncio.run(drop_database(postgres, name))


@pytest.fixture
def database_url(database_urls: DatabaseUrls) -> str:
    """The same database, as its owner's URL."""
    return database_urls.owner


@pytest.fixture
def lock_timeout() -> str:
    """Of the pools of a test: none runs out, however slow the machine is.

    A test that asks what happens then is parametrized by its own.
    """
    return "1h"


@pytest.fixture
async def database(database_urls: DatabaseUrls, lock_timeout: str) -> AsyncIterator[Database]:
    """The same database, with its pools open."""
    urls = database_urls
    opened = await Database.open(
        urls.owner,
        reader_url=urls.reader,
        finance_url=urls.finance,
        writer_url=urls.writer,
        lock_timeout=lock_timeout,
    )
    yield opened
    await opened.close()
