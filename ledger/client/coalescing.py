"""Many callers, few calls: writes that wait while a call is under way travel together in the next one.

There is no timer: a write goes at once where nothing is under way, and waits no longer than a call takes
where something is. Each caller gets the outcome of its own write alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import grpc
import grpc.aio

from ledger.client.errors import ClientClosed, CreditsError, DeadlineExceeded, error_of_call
from ledger.v1 import credit_service_pb2 as pb

ITEMS_MAX: Final = 1_000
"""The service takes no more in a batch."""
BYTES_MAX: Final = 3 * 1024 * 1024
"""Of a batch's items: the service takes requests of 4 MiB."""
UNDER_WAY_MAX: Final = 2
"""Calls at once: one is prepared and read here while the server works at the other."""

_ENDED: Final = "the client's loop has ended: the write may have had its effect"

Send = Callable[[Sequence[pb.BatchItem], float], Awaitable[Sequence[pb.BatchResult]]]
"""Sends writes in one call, which is to end within so many seconds; results in their order."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """A write whose caller waits."""

    item: pb.BatchItem
    size_bytes: int
    answer: asyncio.Future[pb.BatchResult]
    deadline: float


class Coalescer:
    """Carries the writes of one process. Belongs to the event loop that it is made in."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Waiting] = deque()
        self._under_way: set[asyncio.Task[None]] = set()
        self._is_called = False
        self._is_closed = False

    async def attempt(self, item: pb.BatchItem, deadline: float) -> pb.BatchResult:
        """The outcome of one write that is sent once; an error of the item alone is its result.

        Raises CreditsError where the call failed, or the deadline passed. A caller that is cancelled leaves
        the others' writes alone; its own is not sent if it was not yet.
        """
        if self._is_closed:
            raise ClientClosed("the client is closed: nothing was sent")
        answer: asyncio.Future[pb.BatchResult] = self._loop.create_future()
        timer = self._loop.call_at(deadline, _expire, answer)
        self._waiting.append(_Waiting(item, item.ByteSize(), answer, deadline))
        self._call()
        try:
            return await answer
        finally:
            timer.cancel()

    async def close(self) -> None:
        """Takes no more writes, and ends when those that it has are answered: each has a deadline."""
        self._is_closed = True
        while self._waiting or self._under_way:
            if self._under_way:
                await asyncio.wait(self._under_way)
            else:
                await asyncio.sleep(0)

    def _call(self) -> None:
        """Begins a call when the loop has run whoever is ready: their writes travel in it too."""
        if not self._is_called and len(self._under_way) < UNDER_WAY_MAX:
            self._is_called = True
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._is_called = False
        together = self._taken()
        if not together:
            return
        task = self._loop.create_task(self._carry(together))
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        if self._waiting:
            self._call()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if self._waiting:
            self._call()

    def _taken(self) -> list[_Waiting]:
        """The writes of the next call: those whose callers still wait, as many as one call takes."""
        together: list[_Waiting] = []
        room = BYTES_MAX
        while self._waiting and len(together) < ITEMS_MAX:
            first = self._waiting[0]
            if first.answer.done():
                self._waiting.popleft()
                continue
            room -= first.size_bytes
            if together and room < 0:
                break
            together.append(self._waiting.popleft())
        return together

    async def _carry(self, together: Sequence[_Waiting]) -> None:
        """Sends writes, and gives each caller what became of its own."""
        longest = max(each.deadline for each in together) - self._loop.time()
        try:
            results = await self._send([each.item for each in together], longest)
            for each, result in zip(together, results, strict=True):
                if not each.answer.done():
                    each.answer.set_result(result)
        except grpc.aio.AioRpcError as error:
            _fail(together, partial(error_of_call, error))
        except asyncio.CancelledError:
            _fail(together, partial(ClientClosed, _ENDED))
            raise
        except Exception as error:  # noqa: BLE001 -- whatever it is, somebody waits
            _fail(together, partial(CreditsError, f"the answer cannot be read: {error!r}"))


def _expire(answer: asyncio.Future[pb.BatchResult]) -> None:
    if not answer.done():
        answer.set_exception(_late())


def _late() -> DeadlineExceeded:
    return DeadlineExceeded(
        "no answer within the time allowed; the write may have had its effect",
        code=grpc.StatusCode.DEADLINE_EXCEEDED,
    )


def _fail(together: Sequence[_Waiting], error: Callable[[], CreditsError]) -> None:
    """An error of its own for each caller: they are raised in different places."""
    for each in together:
        if not each.answer.done():
            each.answer.set_exception(error())
