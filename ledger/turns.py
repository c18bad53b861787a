"""Long work in turns: the loop that serves all calls is not to be held by one of them."""

from __future__ import annotations

import asyncio
from typing import Final

WORK_AT_ONCE: Final = 25
"""Writes of a batch, or items of their usage: some milliseconds. With fewer, calls that come at the same time
get in each other's way."""

LINES_AT_ONCE: Final = 500
"""Lines of usage, or entries, made of rows or into rows or answers: some 10 ms."""


class Turns:
    """One long piece of work."""

    def __init__(self, work_at_once: int = WORK_AT_ONCE) -> None:
        self._work_at_once = work_at_once
        self._done = 0

    async def after(self, work: int) -> None:
        """Called after each part, with its size: whatever else is ready has its turn now and then."""
        if self.is_over(work):
            await self.give()

    def is_over(self, work: int) -> bool:
        """Counts a part, with its size; whether it is somebody else's turn."""
        self._done += work
        return self._done >= self._work_at_once

    async def give(self) -> None:
        """Whatever else is ready has its turn."""
        self._done = 0
        await asyncio.sleep(0)
