"""What every call passes through: metrics, and the one place where exceptions become statuses.

A call that its caller has given up (a cancel, or a deadline that passed) ends at once: the wait for the
engine is cancelled, never the write behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
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


class Boundary:
    """Stands before a server when services are added: counts and times unary calls, answers what they raise.

    Streams (health, reflection) pass by. An interceptor would add coroutines to each call, and gRPC waits
    for each method that is registered with it anew at every call: together a twentieth of a call.
    """

    def __init__(self, server: grpc.aio.Server, metrics: OperationsMetrics) -> None:
        self._server = server
        self._calls = metrics.calls

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Takes the methods of a service, as generated code gives them."""
        bounded = {name: self._bounded(f"{service}/{name}", handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, bounded),))

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Takes the same methods once more: generated code gives them in both forms."""

    def _bounded(self, method: str, handler: Handler) -> Handler:
        if handler.unary_unary is None:
            return handler
        return grpc.unary_unary_rpc_method_handler(
            self._around(method, handler.unary_unary),
            request_deserializer=_reader(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )

    def _around(self, method: str, behaviour: Callable[[Any, Any], Any]) -> Any:
        calls = self._calls

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
                status = status_of(error, method)
                code = code_of(status)
                details = ((METADATA_KEY, status.SerializeToString()),)
                await context.abort(code, status.message, trailing_metadata=details)
            finally:
                calls.in_flight -= 1
                calls.answered(method, code.name, perf_counter() - started)

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
