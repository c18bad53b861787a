"""Long work in turns: the loop that serves all calls is not held by one of them, nor by many together."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final
from weakref import WeakKeyDictionary

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
        await _queue_of(asyncio.get_running_loop()).turn()


class _Queue:
    """The long work of one loop: in each of its rounds one part of one of them.

    gRPC takes some rounds to hand over one new call. Were each long work to have its turn in every round, a
    dozen of them would make rounds so long that calls come in more slowly than they are sent, and grow old
    where nobody sees them.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_going = False

    async def turn(self) -> None:
        """Waits for a turn."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        if not self._is_going:
            self._is_going = True
            loop.call_soon(self._next)
        await turn

    def _next(self) -> None:
        """Gives a turn to the first that still waits, and comes again in the next round."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                break
        self._is_going = bool(self._waiting)
        if self._is_going:
            asyncio.get_running_loop().call_soon(self._next)


_queues: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue]] = WeakKeyDictionary()


def _queue_of(loop: asyncio.AbstractEventLoop) -> _Queue:
    queue = _queues.get(loop)
    if queue is None:
        queue = _queues[loop] = _Queue()
    return queue
