"""Long work in turns: the loop that serves all calls is not held by one of them, nor by many together.

Where calls are coming in, they come in first: what nobody has seen cannot even be refused, and grows old.
"""

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

CALM_ROUNDS: Final = 4
"""Rounds of the loop without a new call, after one that has come in, until long work goes on. gRPC takes some
three to hand a call over, and looks for the next when it has."""

CALLS_FIRST: Final = 8
"""Calls that come in between two parts of long work at most: no flood of them keeps it from its end."""


class Intake:
    """Calls that have come in, of a process."""

    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls = 0


INTAKE: Final = Intake()


class Turns:
    """One long piece of work."""

    def __init__(self, work_at_once: int = WORK_AT_ONCE) -> None:
        self._work_at_once = work_at_once
        self.left = work_at_once
        """How much of it may still be done until it is somebody else's turn; counted down by who does it."""

    async def after(self, work: int) -> None:
        """Called after each part, with its size: whatever else is ready has its turn now and then."""
        self.left -= work
        if self.left <= 0:
            await self.give()

    async def give(self) -> None:
        """Whatever else is ready has its turn."""
        self.left = self._work_at_once
        await _queue_of(asyncio.get_running_loop()).turn()


class _Queue:
    """The long work of one loop: in each of its rounds one part of one of them, or none.

    gRPC takes some rounds to hand over one new call. Were each long work to have its turn in every round, a
    dozen of them would make rounds so long that calls come in more slowly than they are sent, and grow old
    where nobody sees them. Nor has any its turn while calls come in one after the other.
    """

    def __init__(self, intake: Intake = INTAKE) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_going = False
        self._intake = intake
        self._calls = intake.calls
        """That had come in by the last round."""
        self._calls_first = 0
        """That have come in since the last part."""
        self._calm_rounds = CALM_ROUNDS
        """Without a call; no more of them are counted."""

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
        """Gives a turn to the first that still waits, if none comes in, and comes again in the next round."""
        if not self._calls_come():
            self._give()
        self._is_going = bool(self._waiting)
        if self._is_going:
            asyncio.get_running_loop().call_soon(self._next)

    def _calls_come(self) -> bool:
        """Whether this round is for calls: one has come in a moment ago, and not too many have."""
        came = self._intake.calls - self._calls
        if came:
            self._calls += came
            self._calls_first += came
            self._calm_rounds = 0
        elif self._calm_rounds < CALM_ROUNDS:
            self._calm_rounds += 1
        return self._calm_rounds < CALM_ROUNDS and self._calls_first < CALLS_FIRST

    def _give(self) -> None:
        self._calls_first = 0
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return


_queues: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue]] = WeakKeyDictionary()


def _queue_of(loop: asyncio.AbstractEventLoop) -> _Queue:
    queue = _queues.get(loop)
    if queue is None:
        queue = _queues[loop] = _Queue()
    return queue
