"""Calls of methods that are known by their descriptors alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import grpc.aio
from google.protobuf.descriptor import MethodDescriptor


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
