"""Keys in a database, and what processes know of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from ledger.access.keys import Key
from ledger.access.table import KeyTable
from ledger.metrics.operations import OperationsMetrics
from ledger.store.database import Database
from ledger.store.keys import Draft, make_key
from tests.acts import ACT

_numbers = count(1)


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


def draft(key: Key, **fields: Any) -> Draft:
    """What a key is to be: one of ops, if nothing else is said."""
    given = {
        "name": "first",
        "scopes": ("ops",),
        "customers": None,
        "by": ACT,
        "expires_at": None,
        "request_id": f"req_{next(_numbers)}",
        "fingerprint": b"f",
        **fields,
    }
    return Draft(key_id=key.key_id, hash=key.hash, **given)


@pytest.fixture
def make(database: Database) -> Callable[..., Awaitable[Key]]:
    """Makes keys."""

    async def made(**fields: Any) -> Key:
        key = Key.draw()
        await make_key(database.writer, draft(key, **fields))
        return key

    return made


@pytest.fixture
def open_table(database: Database, clock: Clock) -> Callable[..., Awaitable[KeyTable]]:
    """Opens tables, each as a process of its own would."""

    async def opened(*, open_without_keys: bool = True) -> KeyTable:
        table = KeyTable(database, clock, OperationsMetrics(), open_without_keys=open_without_keys)
        await table.look()
        return table

    return opened
