"""A look behind the service: its owner's session, and `acu-ledger serve` as a process of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import asyncpg
import pytest

from tests.databases import DatabaseUrls
from tests.serving import Server, serving

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ledger.store.postgres.database import Connection


class Serve(Protocol):
    """Serves a database with a configuration, until the block ends; the server then ends with status 0."""

    def __call__(self, urls: DatabaseUrls, config: Path) -> AbstractContextManager[Server]: ...


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[Connection]:
    """A session that may do everything, in the test's database: for sums of its own, and for damage."""
    opened = await asyncpg.connect(database_url)
    yield opened
    await opened.close()


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Starts servers."""

    @contextmanager
    def started(urls: DatabaseUrls, config: Path) -> Iterator[Server]:
        log = tmp_path / "stderr"
        with serving(urls.environment, "--config", str(config), stderr=log) as server:
            yield server

    return started
