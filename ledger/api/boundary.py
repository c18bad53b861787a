"""What every call passes through: who calls, metrics, and the one place where exceptions become statuses.

A call that its caller has given up (a cancel, or a deadline that passed) ends at once: the wait for the
engine is cancelled, never the write behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from inspect import isasyncgen
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from grpc import StatusCode

from ledger import calls
from ledger.access.caller import enter
from ledger.access.table import Authorize
from ledger.api import limits
from ledger.api.admission import Admission
from ledger.api.errors import (
    StatusError,
    code_of,
    invalid,
    overloaded_status,
    status_of,
    trailing_metadata,
)

if TYPE_CHECKING:
    from ledger.spans import Spans

    Handler = grpc.RpcMethodHandler[Any, Any]
    Context = grpc.aio.ServicerContext[Any, Any]


_KEYLESS: Final = ("grpc.health.v1.", "grpc.reflection.")
"""Packages of the services that need no key: they tell nothing of anybody."""


class Boundary:
    """Stands before a server when services are added: lets callers in, counts calls, answers what they raise.

    Calls and streams (health, reflection) are refused beyond what one process bears; streams are not counted.
    An interceptor would add coroutines to each call, and gRPC waits for each method that is registered with
    it anew at every call: together a twentieth of a call.
    """

    def __init__(
        self,
        server: grpc.aio.Server,
        admission: Admission,
        authorize: Authorize,
        scopes: Mapping[str, str],
        spans: Spans | None = None,
    ) -> None:
        """`scopes` are those that methods need, by `service/method`; `spans`: None where none are wanted."""
        self._server = server
        self._admission = admission
        self._authorize = authorize
        self._scopes = scopes
        self._spans = spans
        self._calls = admission.calls

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Takes the methods of a service, as generated code gives them."""
        bounded = {name: self._bounded(f"{service}/{name}", handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, bounded),))

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Takes the same methods once more: generated code gives them in both forms."""

    def _bounded(self, method: str, handler: Handler) -> Handler:
        reads, writes = handler.request_deserializer, handler.response_serializer
        if handler.unary_unary is not None:
            answer = self._around(method, handler.unary_unary)
            return grpc.unary_unary_rpc_method_handler(answer, _reader(reads), writes)
        if method in self._scopes:
            raise ValueError(f"{method} is a stream: it would need no key")
        if handler.unary_stream is not None:
            watches = _Streams(handler.unary_stream, limits.WATCHES_MAX, seconds=None)
            return grpc.unary_stream_rpc_method_handler(watches.answer, reads, writes)
        if handler.stream_stream is not None:
            talks = _Streams(handler.stream_stream, limits.REFLECTIONS_MAX, limits.REFLECTION_SECONDS)
            return grpc.stream_stream_rpc_method_handler(talks.answer, reads, writes)
        raise ValueError(f"{method} takes a stream and answers once: it has no bound")

    def _door(self, method: str) -> Callable[[calls.Call, Context], None]:
        """Lets in whoever may call a method, and has that stand in the call's context."""
        authorize = self._authorize
        if method.startswith(_KEYLESS):
            return lambda *_: None
        scope = self._scopes[method]

        def let_in(call: calls.Call, context: Context) -> None:
            caller = authorize(context.invocation_metadata())
            call.key_id = caller.key_id
            caller.require(scope)
            enter(caller)

        return let_in

    def _around(self, method: str, behaviour: Callable[[Any, Any], Any]) -> Any:
        counted, spans = self._calls, None if method.startswith(_KEYLESS) else self._spans
        let_in, admit = self._door(method), self._admission.of(method)

        async def answer(request: Any, context: Context) -> Any:
            started = perf_counter()
            counted.in_flight += 1
            calls.enter(call := calls.Call(request, context))
            if spans is not None:
                spans.begin(method, call)
            code, allowance = StatusCode.OK, None
            try:
                _require_time(context)
                let_in(call, context)
                allowance = admit(_require_message(request))
                return await behaviour(request, context)
            except asyncio.CancelledError:
                code = StatusCode.DEADLINE_EXCEEDED if _is_late(context) else StatusCode.CANCELLED
                raise
            except Exception as error:  # noqa: BLE001 -- the boundary: nothing else may reach a caller
                status = status_of(error, method)
                code = code_of(status)
                await _end(context, status)
            finally:
                counted.in_flight -= 1
                if allowance is not None:
                    allowance.leave()
                if spans is not None:
                    spans.end(call, code)
                counted.answered(method, code.name, perf_counter() - started)

        return answer


class _Streams:
    """The streams of one method: at most so many at a time, each for a bounded time, if any."""

    def __init__(self, behaviour: Callable[[Any, Any], Any], at_once: int, seconds: float | None) -> None:
        self._behaviour = behaviour
        self._at_once = self._room = at_once
        self._seconds = seconds

    async def answer(self, request: Any, context: Context) -> None:
        """What the method says, or RESOURCE_EXHAUSTED; DEADLINE_EXCEEDED once its time is over."""
        if self._room == 0:
            await _end(context, overloaded_status("streams", self._at_once))
        self._room -= 1
        try:
            async with asyncio.timeout(self._seconds):
                await self._say(request, context)
        except TimeoutError:
            await context.abort(StatusCode.DEADLINE_EXCEEDED, f"A stream lasts {self._seconds:g} s at most.")
        finally:
            self._room += 1

    async def _say(self, request: Any, context: Context) -> None:
        """A method writes its messages itself, or generates them."""
        said = self._behaviour(request, context)
        if isasyncgen(said):
            async with aclosing(said):
                async for message in said:
                    await context.write(message)
        else:
            await said


async def _end(context: Context, status: Status) -> None:
    """Ends a call with a status, which a client finds in its trailing metadata too. Never returns."""
    await context.abort(code_of(status), status.message, trailing_metadata=trailing_metadata(status))


def _is_late(context: Context) -> bool:
    left = context.time_remaining()
    return left is not None and left <= 0


def _require_time(context: Context) -> None:
    """A call whose deadline has passed before anybody looked at it is not begun: gRPC ends it."""
    if _is_late(context):
        raise asyncio.CancelledError


def _require_message(request: Any) -> Any:
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
