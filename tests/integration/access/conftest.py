"""Keys in a database, and what processes know of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ledger.access.keys import Key
from ledger.access.table import KeyTable
from ledger.metrics.operations import OperationsMetrics
from ledger.store.postgres.database import Database
from tests.keys import new_key


class Clock:
    """The database's, which a test moves."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **time: float) -> None:
        self.now += timedelta(**time)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(database: Database) -> Callable[..., Awaitable[Key]]:
    """Makes keys, of ops if no scope is named."""

    async def made(*scopes: str, **fields: Any) -> Key:
        return await new_key(database, *(scopes or ("ops",)), **fields)

    return made


@pytest.fixture
def open_table(database: Database, clock: Clock) -> Callable[..., Awaitable[KeyTable]]:
    """Opens tables, each as a process of its own would."""

    async def opened(*, open_without_keys: bool = True, **limits: Any) -> KeyTable:
        table = KeyTable(database, clock, OperationsMetrics(), open_without_keys=open_without_keys, **limits)
        await table.look()
        return table

    return opened
