"""Calls: request ids, patience, and methods that are known by their descriptors alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any, Final, TypeVar

import grpc.aio
from google.protobuf.descriptor import MethodDescriptor

from tests.waiting import PAUSE_SECONDS

Answer = TypeVar("Answer")

NOT_YET: Final = (
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAVAILABLE,
)
"""How a server ends a call that it cannot come to."""

_numbers = count(1)


def fresh() -> str:
    """A request id that no other test of this process has used, as long as every other."""
    return f"req_{next(_numbers):09}"


async def patient(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """What a call answers, made again while the server cannot come to it; the test's own limit ends it.

    Between tests the loop stands still that a server may run in: it may have to look its keys up first.
    """
    while True:
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            if error.code() not in NOT_YET:
                raise
        await asyncio.sleep(PAUSE_SECONDS)


def _serialized(request: Any) -> bytes:
    return request if isinstance(request, bytes) else request.SerializeToString()


async def first_answer(
    channel: grpc.aio.Channel,
    method: MethodDescriptor,
    request: Any,
    deserialize: Callable[[bytes], Any] = bytes,
    *,
    metadata: Sequence[tuple[str, Any]] = (),
    timeout: float = 60,  # noqa: ASYNC109 -- gRPC's own
) -> Any:
    """What a method answers a message or its bytes, or says first. Raises grpc.aio.AioRpcError."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    if not method.server_streaming:
        call = channel.unary_unary(path, _serialized, deserialize)
        return await call(request, metadata=metadata, timeout=timeout)
    stream = channel.unary_stream(path, _serialized, deserialize)(request, metadata=metadata, timeout=timeout)
    try:
        return await stream.read()
    finally:
        stream.cancel()
