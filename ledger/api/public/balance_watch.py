"""Balances as they change, for whoever watches them.

Memory is of no use here: another server may have written. All watches of a process look at the database
together, once a second, so that a thousand of them cost it one statement a cell.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Final, TypeAlias

from ledger.store.directory import CustomerKey
from ledger.store.reading.reads import BalanceSeen, CustomerNotFoundError, Reads

PERIOD_SECONDS: Final = 1.0
"""A page on which credits go down as an agent works needs them no more often."""

_Look: TypeAlias = Mapping[CustomerKey, BalanceSeen]


class BalanceWatch:
    """All watches of one process."""

    def __init__(self, reads: Reads, period_seconds: float = PERIOD_SECONDS) -> None:
        self._reads = reads
        self._period_seconds = period_seconds
        self._watched: Counter[CustomerKey] = Counter()
        self._look: asyncio.Task[_Look] | None = None
        """The next one, which all wait for."""
        self._ended = asyncio.Event()

    def end(self) -> None:
        """Ends every watch: the process stops."""
        self._ended.set()

    async def balances(self, customer_id: str) -> AsyncGenerator[BalanceSeen | None, None]:
        """The customer's balance, and each other one; None where a look has found the same.

        It ends with the process, and where the database is on another history: then it is to be asked anew.
        Raises as `Reads` does.
        """
        history = self._reads.history
        key = await self._reads.key(customer_id)
        self._watched[key] += 1
        try:
            before, found = None, await self._reads.balances([key])
            while self._reads.history == history:
                seen = found.get(key)
                if seen is None:
                    raise CustomerNotFoundError(customer_id)
                yield None if seen.credits == before else seen
                before = seen.credits
                found = await self._next()
                if self._ended.is_set():
                    return
        finally:
            self._watched[key] -= 1
            if not self._watched[key]:
                del self._watched[key]

    async def _next(self) -> _Look:
        """The look that is made a period after somebody first asked for it."""
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._look_later())
        return await asyncio.shield(self._look)

    async def _look_later(self) -> _Look:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._period_seconds):
                await self._ended.wait()
        return await self._reads.balances(self._watched.keys())
