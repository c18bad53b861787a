"""Many callers, few calls: writes that wait while calls are under way travel together in the next one.

Nothing waits for company: a write goes at once where nothing is under way. No call takes more than its share
of all writes: one is prepared and read here while the server works at another; with all in one call each side
would wait for the other. Each caller gets the outcome of its own write alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from math import inf
from typing import Final, NamedTuple

import grpc
import grpc.aio

from ledger.client.errors import ClientClosed, CreditsError, DeadlineExceeded
from ledger.client.statuses import error_of_call
from ledger.v1 import credit_service_pb2 as pb

ITEMS_MAX: Final = 1_000
"""The service takes no more in a batch."""
BYTES_MAX: Final = 3 * 1024 * 1024
"""Of a batch's items: the service takes requests of 4 MiB."""
UNDER_WAY_MAX: Final = 2
"""Calls at once. With three each carries fewer, and costs both sides more than the third gains."""
TOGETHER_MIN: Final = 4
"""So many are not shared out: a call costs as much as some writes."""

_CLOSED: Final = "the client is closed: nothing was sent"
_ENDED: Final = "the client's loop has ended: the write may have had its effect"
_LATE: Final = "no answer within the time allowed: the write may have had its effect"

Send = Callable[[Sequence[pb.BatchItem], float], Awaitable[Sequence[pb.BatchResult]]]
"""Sends writes in one call, which is to end within so many seconds; results in their order."""


class _Waiting(NamedTuple):
    """A write whose caller waits."""

    item: pb.BatchItem
    size_bytes: int
    answer: asyncio.Future[pb.BatchResult]
    deadline: float


class Coalescer:
    """Carries the writes of one event loop, in which it has to be made."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Waiting] = deque()
        self._calls: dict[asyncio.Task[None], Sequence[_Waiting]] = {}
        """Those under way, each with the writes that it carries."""
        self._lone_calls = 0
        self._was_lone = True
        """The last call carried one write: the next writer is likely to be alone too."""
        self._is_begun = False
        """The next call is about to take what waits."""
        self._is_closed = False
        self._idle = asyncio.Event()
        self._late: asyncio.TimerHandle | None = None
        """Goes off when the earliest deadline has passed that was met since it last did."""
        self._late_at = inf

    async def attempt(self, item: pb.BatchItem, deadline: float) -> pb.BatchResult:
        """The outcome of one write that is sent once; an error of the item alone is its result.

        Raises CreditsError where the call failed, or the deadline passed. A caller that is cancelled leaves
        the others' writes alone; its own is not sent if it was not yet.
        """
        if self._is_closed:
            raise ClientClosed(_CLOSED)
        if self._was_lone and not self._is_busy:
            return await self._alone(item, deadline)
        answer: asyncio.Future[pb.BatchResult] = self._loop.create_future()
        self._waiting.append(_Waiting(item, item.ByteSize(), answer, deadline))
        if deadline < self._late_at:
            self._look_at(deadline)
        self._go_on()
        return await answer

    async def close(self) -> None:
        """Takes no more writes, and ends when those that it has are answered: each has a deadline."""
        self._is_closed = True
        if self._is_busy:
            await self._idle.wait()
        self._look_at(inf)

    @property
    def _is_busy(self) -> bool:
        return bool(self._waiting or self._calls or self._lone_calls)

    async def _alone(self, item: pb.BatchItem, deadline: float) -> pb.BatchResult:
        """In the caller's own task, as nobody else waits: that is fastest, and ends with it."""
        self._lone_calls += 1
        try:
            (result,) = await self._send([item], deadline - self._loop.time())
        except Exception as error:
            raise _error_of(error) from error
        finally:
            self._lone_calls -= 1
            self._go_on()
        return result

    def _go_on(self) -> None:
        """Begins a call when the loop has run whoever is ready: their writes travel in it too."""
        if self._is_closed and not self._is_busy:
            self._idle.set()
        has_room = len(self._calls) + self._lone_calls < UNDER_WAY_MAX
        if self._waiting and has_room and not self._is_begun:
            self._is_begun = True
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._is_begun = False
        together = self._taken()
        if together:
            self._was_lone = len(together) == 1
            task = self._loop.create_task(self._carry(together))
            self._calls[task] = together
            task.add_done_callback(self._ended)
        self._go_on()

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._calls[task]
        self._go_on()

    def _taken(self) -> list[_Waiting]:
        """The writes of the next call: those whose callers still wait, as many as one call takes."""
        together: list[_Waiting] = []
        room = BYTES_MAX
        most = self._share()
        while self._waiting and len(together) < most:
            first = self._waiting[0]
            if not first.answer.done():
                room -= first.size_bytes
                if together and room < 0:
                    break
                together.append(first)
            self._waiting.popleft()
        return together

    def _share(self) -> int:
        """How many writes the next call takes at most: of all that have no answer, what each call would."""
        unanswered = len(self._waiting) + sum(map(len, self._calls.values())) + self._lone_calls
        return min(ITEMS_MAX, max(TOGETHER_MIN, -(-unanswered // UNDER_WAY_MAX)))

    def _look_at(self, instant: float) -> None:
        """Looks for callers whose deadline has passed then, by one timer for all; not at all if never."""
        if self._late is not None:
            self._late.cancel()
        self._late_at = instant
        self._late = None if instant == inf else self._loop.call_at(instant, self._expire)

    def _expire(self) -> None:
        """Tells callers whose deadline has passed, and looks again when the next one does."""
        now, earliest = self._loop.time(), inf
        for each in self._unanswered():
            if each.deadline > now:
                earliest = min(earliest, each.deadline)
            else:
                each.answer.set_exception(DeadlineExceeded(_LATE, code=grpc.StatusCode.DEADLINE_EXCEEDED))
        self._look_at(earliest)

    def _unanswered(self) -> Iterator[_Waiting]:
        """All whose callers wait."""
        return (each for each in chain(self._waiting, *self._calls.values()) if not each.answer.done())

    async def _carry(self, together: Sequence[_Waiting]) -> None:
        """Sends writes, and gives each caller what became of its own."""
        longest = max(each.deadline for each in together) - self._loop.time()
        try:
            results = await self._send([each.item for each in together], longest)
            for each, result in zip(together, results, strict=True):
                if not each.answer.done():
                    each.answer.set_result(result)
        except asyncio.CancelledError:
            _fail(together, partial(ClientClosed, _ENDED))
            raise
        except Exception as error:  # noqa: BLE001 -- whatever it is, somebody waits
            _fail(together, partial(_error_of, error))


def _error_of(error: Exception) -> CreditsError:
    if isinstance(error, grpc.aio.AioRpcError):
        return error_of_call(error)
    return CreditsError(f"the call failed, and its write may have had its effect: {error!r}")


def _fail(together: Sequence[_Waiting], error: Callable[[], CreditsError]) -> None:
    """An error of its own for each caller: they are raised in different places."""
    for each in together:
        if not each.answer.done():
            each.answer.set_exception(error())
