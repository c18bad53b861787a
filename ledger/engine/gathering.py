"""Batches whose writes are being begun: what a cell decides meanwhile is written in one statement.

They are begun in slices, between which the loop serves others. A statement that has all of a customer's
commands writes its wallet and its lots once, not once for each slice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ledger.engine.limits import ENGINE_LIMITS


class Gathering:
    """Those of one process."""

    def __init__(self, seconds: float = ENGINE_LIMITS.gather_seconds) -> None:
        """A statement waits so long at most."""
        self._gather_seconds = seconds
        self._begun: dict[asyncio.Event, None] = {}

    @contextmanager
    def more(self) -> Iterator[None]:
        """More is to come until the block ends."""
        begun = asyncio.Event()
        self._begun[begun] = None
        try:
            yield
        finally:
            del self._begun[begun]
            begun.set()

    async def over(self) -> None:
        """Waits for those that are being begun now, not for later ones, and no longer than is bearable."""
        if not self._begun:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(self._gather_seconds):
                for begun in list(self._begun):
                    await begun.wait()
