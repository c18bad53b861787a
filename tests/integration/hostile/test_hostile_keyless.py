"""What the service keeps for whoever shows no key: no message of a method that takes one, and few others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from wire import STATUS, body, exchange, headers, message, opening

from ledger.access.caller import LOOPBACK, Caller
from ledger.access.table import UnauthenticatedError
from ledger.api.admission import Admission
from ledger.api.messages import limits
from ledger.api.messages.limits import PORT, Arrivals
from ledger.api.server import ApiServer, credit_service
from ledger.engine.waiting import Waiting
from ledger.metrics.operations import OperationsMetrics
from ledger.v1.credit_service_pb2_grpc import CreditServiceServicer

BATCH = "/ledger.v1.CreditService/Batch"
CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
ASKED = health_pb2.HealthCheckRequest()
BEGUN = headers(CHECK) + body(message(b"", length=1_000), ends=False)
"""A call whose message does not come."""
INVALID_ARGUMENT, DEADLINE_EXCEEDED, UNAUTHENTICATED = 3, 4, 16
WAIT_SECONDS = 60
PATIENT = PORT.keyless._replace(seconds=3_600.0, crowded_seconds=3_600.0)
"""No message is too late."""


class Guard:
    """Lets everybody in, until it is closed."""

    def __init__(self) -> None:
        self.open = True
        self.asked = asyncio.Event()

    def authorize(self, _: Any) -> Caller:
        self.asked.set()
        if self.open:
            return LOOPBACK
        raise UnauthenticatedError


@asynccontextmanager
async def guarded(
    guard: Guard, keyless: Arrivals = PORT.keyless, let_in_seconds: float = PORT.let_in_seconds
) -> AsyncIterator[str]:
    """Where a port with one service is reached, on which no call waits for too long."""
    port = PORT._replace(keyless=keyless, let_in_seconds=let_in_seconds, unseen_seconds=3_600)
    metrics = OperationsMetrics()
    admission = Admission(Waiting(metrics.refused), metrics)
    server = ApiServer(
        "127.0.0.1:0",
        (credit_service(CreditServiceServicer()),),
        admission,
        100,
        guard.authorize,
        port=port,
    )
    await server.start()
    try:
        yield server.address
    finally:
        await server.drain()


async def sent(target: str, data: bytes) -> int | None:
    return await exchange(target, opening() + data, hang_up=False, wait_seconds=WAIT_SECONDS)


async def test_no_message_is_taken_from_whoever_shows_no_key() -> None:
    """The answer comes when the header fields have: of a message of 4 MiB nothing is stored."""
    guard = Guard()
    guard.open = False
    async with guarded(guard) as target:
        assert await sent(target, headers(BATCH)) == UNAUTHENTICATED


async def test_a_key_that_ends_while_its_message_is_on_its_way_is_refused() -> None:
    """Else a call that was begun in time would be one for ever."""
    guard = Guard()
    async with guarded(guard, let_in_seconds=-1.0) as target:
        host, _, port = target.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(opening() + headers(BATCH))
        async with asyncio.timeout(WAIT_SECONDS):
            await guard.asked.wait()
            guard.open = False
            writer.write(body(message(b"")))
            received = bytearray()
            while not (found := STATUS.search(received)):
                received += await reader.read(1 << 16)
        assert int(found[1]) == UNAUTHENTICATED
        writer.close()


async def test_few_messages_of_health_are_on_their_way() -> None:
    """The oldest gives way to the next, so that one that comes at once is always answered."""
    few = PATIENT._replace(at_once=PATIENT.at_ease)
    async with (
        guarded(Guard(), few) as target,
        grpc.aio.insecure_channel(target) as channel,
        asyncio.TaskGroup() as group,
    ):
        calls = [group.create_task(sent(target, BEGUN)) for _ in range(few.at_once + 1)]
        done, others = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        assert [call.result() for call in done] == [DEADLINE_EXCEEDED]
        answer = await health_pb2_grpc.HealthStub(channel).Check(ASKED)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        for call in others:
            call.cancel()


async def test_many_who_ask_at_once_are_all_answered() -> None:
    """Replicas behind one balancer, whose header fields all come before the first of their messages."""
    async with guarded(Guard(), PATIENT) as target, grpc.aio.insecure_channel(target) as channel:
        check = channel.stream_unary(
            CHECK,
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        begun = [check() for _ in range(limits.CALLS_OF_CONNECTION_MAX - 1)]
        await health_pb2_grpc.HealthStub(channel).Check(ASKED)  # It comes after them: they are begun.
        for call in begun:
            await call.write(ASKED)
            await call.done_writing()
        answers = [(await call).status for call in begun]
        assert answers == [health_pb2.HealthCheckResponse.SERVING] * len(begun)


async def test_where_many_are_on_their_way_the_next_has_less_time() -> None:
    """Whoever begins more than come in good faith, and sends no message, holds little for long."""
    hurried = PATIENT._replace(at_ease=1, crowded_seconds=0.1)
    async with guarded(Guard(), hurried) as target, asyncio.TaskGroup() as group:
        calls = [group.create_task(sent(target, BEGUN)) for _ in range(5)]
        ended = asyncio.as_completed(calls)
        assert [await next(ended) for _ in calls[1:]] == [DEADLINE_EXCEEDED] * len(calls[1:])
        (first,) = (call for call in calls if not call.done())
        first.cancel()


@pytest.mark.parametrize("path", [CHECK, WATCH])
async def test_messages_of_health_are_small_and_come_soon(path: str) -> None:
    """They name a service: what is longer is refused, what does not come is not waited for."""
    async with guarded(Guard()) as target:
        long = bytes(limits.KEYLESS_BYTES_MAX + 1)
        assert await sent(target, headers(path) + body(message(long))) == INVALID_ARGUMENT
        assert await sent(target, headers(path) + body(b"")) == INVALID_ARGUMENT
    async with guarded(Guard(), PORT.keyless._replace(seconds=0.1)) as target:
        assert await sent(target, headers(path)) == DEADLINE_EXCEEDED
