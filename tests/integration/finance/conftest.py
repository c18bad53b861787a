"""Connections to the test's database, beside the pools."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from ledger.store.database import Connection, Database


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[Connection]:
    """A connection that may do everything: for sums of the tests' own, and for damage."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def writer(database: Database) -> AsyncIterator[Connection]:
    """A connection for batches, as a cell has one."""
    connection = await database.connect_writer("finance tests")
    yield connection
    await connection.close()
