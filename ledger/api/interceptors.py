"""What every call passes through: metrics, and the one place where exceptions become statuses.

A call that its caller has given up (a cancel, or a deadline that passed) ends at once: the wait for the
engine is cancelled, never the write behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from grpc import StatusCode

from ledger.api.errors import METADATA_KEY, StatusError, code_of, invalid, status_of
from ledger.metrics.operations import OperationsMetrics

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]
    Context = grpc.aio.ServicerContext[Any, Any]


class Boundary(grpc.aio.ServerInterceptor):
    """Counts and times unary calls, and answers what they raise. Streams (health, reflection) pass by."""

    def __init__(self, metrics: OperationsMetrics) -> None:
        self._metrics = metrics
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Gives the method's handler with the boundary around it; one for each method, made once."""
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is not None:
            return wrapped
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        self._wrapped[method] = grpc.unary_unary_rpc_method_handler(
            self._around(method, handler.unary_unary),
            request_deserializer=_reader(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )
        return self._wrapped[method]

    def _around(self, method: str, behaviour: Callable[[Any, Any], Any]) -> Any:
        name = method.lstrip("/")
        calls = self._metrics.calls

        async def answer(request: Any, context: Context) -> Any:
            started = perf_counter()
            calls.in_flight += 1
            code = StatusCode.OK
            try:
                return await behaviour(_readable(request), context)
            except asyncio.CancelledError:
                left = context.time_remaining()
                late = left is not None and left <= 0
                code = StatusCode.DEADLINE_EXCEEDED if late else StatusCode.CANCELLED
                raise
            except Exception as error:  # noqa: BLE001 -- the boundary: nothing else may reach a caller
                status = status_of(error, name)
                code = code_of(status)
                details = ((METADATA_KEY, status.SerializeToString()),)
                await context.abort(code, status.message, trailing_metadata=details)
            finally:
                calls.in_flight -= 1
                calls.answered(name, code.name, perf_counter() - started)

        return answer


def _readable(request: Any) -> Any:
    """The request, unless its bytes were none."""
    if request is None:
        raise StatusError(invalid([("request", "is no message of this method")]))
    return request


def _reader(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """Reads a request; None for bytes that are none, which gRPC itself would call a fault of the server."""
    if deserialize is None:
        return None

    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError:
            return None

    return read
