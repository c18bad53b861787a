"""Connections for what takes long, shared between customers: nobody's reports hold up another's.

A customer has one of them at a time. What else it asks for waits in a line of its own, and one at most of
each customer waits for a connection: so whoever asks for little waits for few, however much others ask for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from ledger.errors import NotNowError

if TYPE_CHECKING:
    from ledger.store.postgres.database import Pool, PooledConnection

WAITING_OF_CUSTOMER_MAX: Final = 32
"""Reports and lists of one customer, the one at work included: some seconds of its own time."""

WAITING_MAX: Final = 1_000
"""Of all: a minute's worth, longer than callers wait."""


class TooManyReportsError(NotNowError):
    """So many wait already that another would find nobody waiting for its answer."""

    def __init__(self, bound: int) -> None:
        super().__init__(f"{bound} wait")
        self.bound = bound


class PoolShares:
    """The connections of one pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._lines: dict[int, _CustomerQueue] = {}
        self._waiting = 0

    @asynccontextmanager
    async def acquire(self, customer: int) -> AsyncIterator[PooledConnection]:
        """A connection, once it is this customer's turn. Raises TooManyReportsError."""
        line = self._lines.setdefault(customer, _CustomerQueue())
        if line.waiting >= WAITING_OF_CUSTOMER_MAX or self._waiting >= WAITING_MAX:
            self._leave(customer, line)
            own = line.waiting >= WAITING_OF_CUSTOMER_MAX
            raise TooManyReportsError(WAITING_OF_CUSTOMER_MAX if own else WAITING_MAX)
        line.waiting += 1
        self._waiting += 1
        try:
            async with line.turn, self._pool.acquire() as connection:
                yield connection
        finally:
            line.waiting -= 1
            self._waiting -= 1
            self._leave(customer, line)

    def _leave(self, customer: int, line: _CustomerQueue) -> None:
        """A line in which nobody stands is forgotten."""
        if line.waiting == 0:
            del self._lines[customer]


class _CustomerQueue:
    """What one customer has asked for."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.waiting = 0
