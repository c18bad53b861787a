"""Databases of a test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count

import asyncpg
import pytest

from ledger.store.postgres.embedded import EmbeddedPostgres

MakeDatabase = Callable[[], Awaitable[str]]
_numbers = count(1)


@pytest.fixture
async def make_database(postgres: EmbeddedPostgres) -> AsyncIterator[MakeDatabase]:
    """Makes empty databases; the owner's URL of each."""
    connection = await asyncpg.connect(postgres.url)
    made: list[str] = []

    async def make() -> str:
        made.append(f"backups_{next(_numbers)}")
        await connection.execute(f"CREATE DATABASE {made[-1]}")
        return postgres.url.replace("/postgres?", f"/{made[-1]}?")

    yield make
    for name in (*made, "books"):
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    await connection.close()
