"""Load from a client: how many a second, or how long each takes.

A load runs for a while before the clock starts. It ends at the first answer that is an error, unless it is
told to count them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

import grpc.aio
from google.rpc import code_pb2  # type: ignore[import-untyped]

from ledger.cli import services
from ledger.client import Credits, Reservation
from ledger.client.amounts import credits_of
from ledger.client.channel import Access
from ledger.v1 import credit_service_pb2 as pb
from tests.benchmarks import workload
from tests.benchmarks.report import Say

if TYPE_CHECKING:
    from ledger.v1.credit_service_pb2_grpc import CreditServiceAsyncStub

_OPEN = Access()
_SECOND_MS = 1_000
SPREAD = range(1, 101)
"""Customers of most loads."""
UNARY_IN_FLIGHT = 32
BATCH, BATCH_IN_FLIGHT = 500, 4
HOLD_CREDITS = credits_of(workload.HOLD_MICROS)
_TRIES = 8
Request = TypeVar("Request")
Answer = TypeVar("Answer")


class WorkError(Exception):
    """The service refused work that is right, or did none in time."""


class RefusedWorkError(WorkError):
    """It refused some of it: the code of the first refusal says why."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True)
class Window:
    """What counts: work that ends after `start` and before `end`, on `perf_counter`."""

    warm_seconds: float
    seconds: float
    start: float = field(init=False)
    done: int = 0

    def __post_init__(self) -> None:
        self.start = perf_counter() + self.warm_seconds

    def is_open(self) -> bool:
        """Whether there is time for more work."""
        return perf_counter() < self.start + self.seconds

    def count(self, work: int) -> None:
        """Notes work that has just ended."""
        if self.start <= perf_counter() < self.start + self.seconds:
            self.done += work

    @property
    def per_second(self) -> float:
        """The rate. Raises WorkError where the window was too short for any work to end in it."""
        if not self.done:
            raise WorkError(f"no work ended within {self.seconds:g} s")
        return self.done / self.seconds


@dataclass(slots=True)
class Calls:
    """How long calls took, and how many items they answered with an error."""

    seconds: list[float] = field(default_factory=list)
    errors: int = 0


@asynccontextmanager
async def channel(target: str, access: Access = _OPEN) -> AsyncIterator[grpc.aio.Channel]:
    """A channel that is ready."""
    async with services.channel(target, access) as opened:
        await opened.channel_ready()
        yield opened


def customers(numbers: range) -> Iterator[str]:
    """The ids of these customers, round and round."""
    ids = [workload.customer_id(number) for number in numbers]
    while True:
        yield from ids


async def at_once(workers: int, work: Callable[[], Coroutine[None, None, None]]) -> None:
    """Runs as many workers as calls are to be in flight."""
    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(work())


async def carried_out(
    rest: Callable[[], Awaitable[None]], work: Callable[[], Awaitable[Answer]], say: Say
) -> Answer:
    """What work gives after a rest, once it is carried out whole.

    Where others use the machine a server may have to refuse some of it, for it has waited too long: that is
    said, and the work is done again. Raises what the last try raised.
    """
    for tries_left in reversed(range(_TRIES)):
        await rest()
        try:
            return await work()
        except Exception as error:
            if not tries_left or not _is_overload(first_of(error)):
                raise
            say("Something was refused for overload: once more")
    raise AssertionError("the last try has returned or raised")


def first_of(error: Exception) -> Exception:
    """What went wrong first in workers that ran at once."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _is_overload(error: Exception) -> bool:
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    return isinstance(error, RefusedWorkError) and error.code == code_pb2.RESOURCE_EXHAUSTED


# -- one call at a time per worker ---------------------------------------------------------------


async def echo_rate(empty: Callable[[bytes], Awaitable[bytes]], in_flight: int, window: Window) -> float:
    """Empty calls a second."""

    async def work() -> None:
        while window.is_open():
            await empty(b"")
            window.count(1)

    await at_once(in_flight, work)
    return window.per_second


async def unary_rate(
    service: CreditServiceAsyncStub, whose: Iterator[str], in_flight: int, window: Window
) -> float:
    """Calls a second, of `Reserve` and `CommitReservation` in turn."""

    async def work() -> None:
        while window.is_open():
            customer = next(whose)
            held = await service.Reserve(workload.reserve(customer))
            window.count(1)
            await service.CommitReservation(workload.commit(customer, held.reservation.reservation_id))
            window.count(1)

    await at_once(in_flight, work)
    return window.per_second


async def client_rate(credits: Credits, whose: Iterator[str], in_flight: int, window: Window) -> float:
    """The same by the client, whose tasks' calls travel together."""

    async def work() -> None:
        while window.is_open():
            customer = next(whose)
            held = await client_reserve(credits, customer)
            window.count(1)
            await credits.commit(customer, held.reservation_id, workload.REPORTED, final=True)
            window.count(1)

    await at_once(in_flight, work)
    return window.per_second


async def client_reserve(credits: Credits, customer: str) -> Reservation:
    """A hold, with its labels."""
    return await credits.reserve(
        customer, amount=HOLD_CREDITS, labels=workload.LABELS, ttl_seconds=workload.TTL_SECONDS
    )


async def latency_ms(call: Callable[[], Awaitable[object]], window: Window) -> list[float]:
    """Each call's milliseconds, one in flight."""
    taken = []
    while window.is_open():
        began = perf_counter()
        await call()
        if began >= window.start:
            taken.append((perf_counter() - began) * _SECOND_MS)
    return taken


async def each_ms(call: Callable[[Request], Awaitable[object]], requests: Iterable[Request]) -> list[float]:
    """The milliseconds of each request's call, one after the other."""
    taken = []
    for request in requests:
        began = perf_counter()
        await call(request)
        taken.append((perf_counter() - began) * _SECOND_MS)
    return taken


# -- batches -------------------------------------------------------------------------------------


async def batch_rate(
    service: CreditServiceAsyncStub,
    whose: Iterator[str],
    items: int,
    in_flight: int,
    window: Window,
    calls: Calls | None = None,
) -> float:
    """Pairs a second. Each worker sends a call of holds, then a call of their commits."""

    async def work() -> None:
        while window.is_open():
            await batch_of_pairs(service, list(islice(whose, items)), window.count, calls)

    await at_once(in_flight, work)
    return window.per_second / 2


async def batch_of_pairs(
    service: CreditServiceAsyncStub,
    chosen: list[str],
    count: Callable[[int], None],
    calls: Calls | None = None,
) -> None:
    """One call of holds, and one of their commits; `count` is told of each how many were carried out."""
    holds = [pb.BatchItem(reserve=workload.reserve(customer)) for customer in chosen]
    held = await _batch(service, holds, count, calls)
    commits = [
        pb.BatchItem(commit=workload.commit(customer, result.reserve.reservation.reservation_id))
        for customer, result in zip(chosen, held, strict=True)
        if result.HasField("reserve")
    ]
    if commits:
        await _batch(service, commits, count, calls)


async def _batch(
    service: CreditServiceAsyncStub,
    items: list[pb.BatchItem],
    count: Callable[[int], None],
    calls: Calls | None,
) -> Sequence[pb.BatchResult]:
    """The results in order; an error among them ends the run, or is noted and does not count."""
    began = perf_counter()
    answer = await service.Batch(pb.BatchRequest(items=items))
    taken = perf_counter() - began
    errors = [result.error for result in answer.results if result.HasField("error")]
    count(len(items) - len(errors))
    if calls is not None:
        calls.seconds.append(taken)
        calls.errors += len(errors)
    elif errors:
        said = f"{len(errors)} of {len(items)} items were refused, the first: {errors[0]}"
        raise RefusedWorkError(said, errors[0].code)
    return answer.results


async def write_pairs(
    service: CreditServiceAsyncStub,
    whose: Iterator[str],
    pairs: int,
    each: int,
    in_flight: int = BATCH_IN_FLIGHT,
) -> None:
    """Writes so many pairs, `each` of one customer in a call, in calls of 500."""
    left = pairs

    async def work() -> None:
        nonlocal left
        while left > 0:
            items = min(BATCH, left)
            left -= items
            few = list(islice(whose, -(-items // each)))
            chosen = [customer for customer in few for _ in range(each)][:items]
            await batch_of_pairs(service, chosen, uncounted)

    await at_once(in_flight, work)


def uncounted(_: int) -> None:
    """The pairs are counted as they are sent."""


# -- open loop -----------------------------------------------------------------------------------


async def open_loop_ms(
    service: CreditServiceAsyncStub, whose: Iterator[str], calls_per_second: float, window: Window
) -> list[float]:
    """Milliseconds from each call's intended start to its answer, whatever the service does meanwhile.

    Starts are random (a Poisson process, always the same one). Each is a commit if a hold waits for one, and
    a `Reserve` otherwise.
    """
    chance = random.Random(1)  # noqa: S311 -- a schedule, not a secret
    holds: list[tuple[str, str]] = []
    taken: list[float] = []

    async def call(intended: float) -> None:
        if holds:
            customer, reservation_id = holds.pop()
            await service.CommitReservation(workload.commit(customer, reservation_id))
        else:
            customer = next(whose)
            held = await service.Reserve(workload.reserve(customer))
            holds.append((customer, held.reservation.reservation_id))
        if intended >= window.start:
            taken.append((perf_counter() - intended) * _SECOND_MS)

    intended = perf_counter()
    async with asyncio.TaskGroup() as group:
        while window.is_open():
            await asyncio.sleep(max(0.0, intended - perf_counter()))
            group.create_task(call(intended))
            intended += chance.expovariate(calls_per_second)
    return taken
