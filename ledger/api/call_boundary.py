"""What every call passes through: who calls, metrics, and the one place where exceptions become statuses.

A call that its caller has given up (a cancel, or a deadline that passed) ends at once: the wait for the
engine is cancelled, never the write behind it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import aclosing
from contextvars import ContextVar
from inspect import isasyncgen
from math import inf
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import code_pb2  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from grpc import StatusCode

from ledger import calls
from ledger.access.caller import WALLET, enter
from ledger.access.table import Authorize, Metadata
from ledger.api.admission import Admission, AtDoor, Enter
from ledger.api.errors import (
    StatusError,
    code_of,
    invalid,
    overloaded_status,
    status_of,
    trailing_metadata,
)
from ledger.api.messages import limits
from ledger.engine.command import OverloadedError
from ledger.turns import INTAKE

if TYPE_CHECKING:
    from ledger.spans import Spans

    Handler = grpc.RpcMethodHandler[Any, Any]
    Context = grpc.aio.ServicerContext[Any, Any]
    Answer = Callable[[Any, Context], Any]
    """Answers a message, or an exception in its place."""
    Find = Callable[[Metadata | None], Handler]
    """Who answers a call with this metadata."""


_LAST_ROUNDS_SECONDS: Final = 0.1
"""Some rounds of a loop that is at work."""

_KEYLESS: Final = ("grpc.health.v1.", "grpc.reflection.")
"""Packages of the services that need no key: they tell nothing of anybody."""


class _LetIn(NamedTuple):
    """Who came to a method that takes a key, and when."""

    at: float
    key_id: str


_KEYLESS_CALL: Final = _LetIn(inf, "")
_let_in: ContextVar[_LetIn] = ContextVar("let_in", default=_KEYLESS_CALL)


class Boundary:
    """Stands before a server when services are added: lets callers in, counts calls, answers what they raise.

    A call is looked at when its header fields have come, before its message is taken: whoever shows no key
    has nothing read and nothing stored. Calls and streams are refused beyond what one process bears; streams
    are not counted. An interceptor would add coroutines to each call, and gRPC waits
    for each method that is registered with it anew at every call: together a twentieth of a call.
    """

    def __init__(
        self,
        server: grpc.aio.Server,
        admission: Admission,
        authorize: Authorize,
        scopes: Mapping[str, str],
        spans: Spans | None,
        port: limits.PortLimits,
    ) -> None:
        """`scopes` are those that methods need, by `service/method`; `spans`: None where none are wanted."""
        self._server = server
        self._admission = admission
        self._authorize = authorize
        self._scopes = scopes
        self._spans = spans
        self._calls = admission.calls
        self._found: dict[str, Find] = {}
        self._port = port
        self._arrivals = _Arrivals(port.keyless)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Takes the methods of a service, into one map: gRPC asks each that it has at every call."""
        if not self._found:
            self._server.add_generic_rpc_handlers((_Methods(self._found),))
        for name, each in handlers.items():
            self._found[f"/{service}/{name}"] = self._find(f"{service}/{name}", each)

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Takes the same methods once more: generated code gives them in both forms."""

    def _find(self, method: str, handler: Handler) -> Find:
        """Who answers the calls of a method."""
        if method in self._scopes:
            return self._keyed(method, handler)
        if not method.startswith(_KEYLESS):
            raise ValueError(f"{method} has no scope: it would need no key")
        keyless = self._keyless(method, handler)
        return lambda _: keyless

    def _keyless(self, method: str, handler: Handler) -> Handler:
        """Its messages are small, few at a time, and come soon."""
        reads, writes = (
            _reader(handler.request_deserializer, limits.KEYLESS_BYTES_MAX),
            handler.response_serializer,
        )
        arriving = self._arrivals.message
        if handler.unary_unary is not None:
            answer = self._around(method, handler.unary_unary, _nothing)

            async def answer_arrived(_: Any, context: Context) -> Any:
                return await answer(await arriving(context), context)

            return grpc.stream_unary_rpc_method_handler(answer_arrived, reads, writes)
        if handler.unary_stream is not None:
            watches = _Streams(handler.unary_stream, limits.WATCHES_MAX, seconds=None)

            async def watch_arrived(_: Any, context: Context) -> None:
                await watches.answer(await arriving(context), context)

            return grpc.stream_stream_rpc_method_handler(watch_arrived, reads, writes)
        if handler.stream_stream is not None:
            talks = _Streams(handler.stream_stream, self._port.reflections, self._port.reflection_seconds)
            return grpc.stream_stream_rpc_method_handler(talks.answer, handler.request_deserializer, writes)
        raise ValueError(f"{method} takes a stream and answers once: it has no bound")

    def _keyed(self, method: str, handler: Handler) -> Find:
        """Whoever may call it is answered, others are refused."""
        authorize, scope = self._authorize, self._scopes[method]

        def let_in(metadata: Metadata | None) -> None:
            caller = authorize(metadata)
            _let_in.set(_LetIn(perf_counter(), caller.key_id))
            caller.require(scope)
            enter(caller)

        bytes_max = limits.WALLET_BYTES_MAX if scope == WALLET else limits.MESSAGE_BYTES_MAX
        reads, writes = _reader(handler.request_deserializer, bytes_max), handler.response_serializer
        answer: Answer
        if handler.unary_stream is not None:
            watches = _Watches(handler.unary_stream, method, let_in, self._admission.of(method), self._port)
            answer = watches.answer
            answered = grpc.unary_stream_rpc_method_handler(answer, reads, writes)
        elif handler.unary_unary is not None:
            answer = self._around(method, handler.unary_unary, let_in)
            at_door = self._admission.at_door(method)
            answered = (
                grpc.unary_unary_rpc_method_handler(answer, reads, writes)
                if at_door is None
                else grpc.stream_unary_rpc_method_handler(
                    _once_read(answer, at_door, _Arrivals(self._port.batches)), reads, writes
                )
            )
        else:
            raise ValueError(f"{method} takes a stream: it has no bound")

        def find(metadata: Metadata | None) -> Handler:
            try:
                let_in(metadata)
            except Exception as error:  # noqa: BLE001 -- what it is, the boundary says
                return _refusal(answer, error)
            return answered

        return find

    def _around(
        self, method: str, behaviour: Callable[[Any, Any], Any], let_in: Callable[[Metadata | None], None]
    ) -> Answer:
        counted, spans = self._calls, None if method.startswith(_KEYLESS) else self._spans
        admit, let_in_seconds = self._admission.of(method), self._port.let_in_seconds

        async def answer(request: Any, context: Context) -> Any:
            started = perf_counter()
            counted.in_flight += 1
            calls.enter(call := calls.Call(request, context))
            let_in_at, call.key_id = _let_in.get()
            if spans is not None:
                spans.begin(method, call)
            code, allowance = StatusCode.OK, None
            try:
                _require_work(request, context)
                if started > let_in_at + let_in_seconds:
                    let_in(context.invocation_metadata())
                allowance = admit(request)
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


class _Methods(grpc.GenericRpcHandler):
    """Says who answers a call, by its path and its metadata: no message is read before."""

    def __init__(self, found: Mapping[str, Find]) -> None:
        self._found = found

    def service(self, handler_call_details: Any) -> Handler | None:
        """None: there is no such method."""
        INTAKE.calls += 1
        find = self._found.get(handler_call_details.method)
        return None if find is None else find(handler_call_details.invocation_metadata)


def _refusal(answer: Answer, error: Exception) -> Handler:
    """Answers with an error; a method that takes a stream need not wait for a message."""

    async def refuse(_: Any, context: Context) -> Any:
        return await answer(error, context)

    return grpc.stream_unary_rpc_method_handler(refuse)


def _nothing(_: object) -> None:
    """Lets everybody in."""


def _once_read(answer: Answer, at_door: AtDoor, arrivals: _Arrivals) -> Answer:
    """Answers calls whose message is read only if that is worth it: it may be large."""
    too_many = OverloadedError("messages", arrivals.limits.at_once)

    async def answer_read(_: Any, context: Context) -> Any:
        refusal = at_door()
        if refusal is None and not arrivals.has_room():
            refusal = too_many
        return await answer(refusal or await arrivals.message(context, too_many), context)

    return answer_read


class _Arrivals:
    """Messages on their way, each for a while: a shorter one where there are more than are at ease.

    Where all places are taken the oldest gives way.
    """

    def __init__(self, arrivals: limits.Arrivals) -> None:
        self.limits = arrivals
        self._open: dict[asyncio.Timeout, float] = {}
        """Each with when it began."""

    def has_room(self) -> bool:
        """Whether there is a place, or the oldest has had its own for long enough."""
        if len(self._open) < self.limits.at_once:
            return True
        return perf_counter() > next(iter(self._open.values())) + self.limits.safe_seconds

    async def message(self, context: Context, ended: Exception | None = None) -> Any:
        """The message of a call, or an exception that says why there is none: `ended` where it gave way."""
        if len(self._open) >= self.limits.at_once:
            self._end_oldest()
        is_crowded = len(self._open) >= self.limits.at_ease
        seconds = self.limits.crowded_seconds if is_crowded else self.limits.seconds
        loop, time = asyncio.get_running_loop(), asyncio.timeout(None)
        over = loop.call_later(seconds, _last_rounds, time)
        try:
            async with time:
                self._open[time] = perf_counter()
                try:
                    message = await context.read()
                finally:
                    gave_way = self._open.pop(time, None) is None
                    over.cancel()
        except TimeoutError:
            if gave_way and ended is not None:
                return ended
            return StatusError(
                Status(code=code_pb2.DEADLINE_EXCEEDED, message="The message did not come in time.")
            )
        return _no_message() if message is grpc.aio.EOF else message

    def _end_oldest(self) -> None:
        oldest = next(iter(self._open))
        del self._open[oldest]
        if not oldest.expired():
            oldest.reschedule(asyncio.get_running_loop().time())


def _last_rounds(time: asyncio.Timeout) -> None:
    """Ends what has had its time soon: a process that stood still has not taken yet what has come."""
    if not time.expired() and time.when() is None:
        time.reschedule(asyncio.get_running_loop().time() + _LAST_ROUNDS_SECONDS)


class _Streams:
    """The streams of one method: at most so many at a time, each for a bounded time, if any."""

    def __init__(self, behaviour: Callable[[Any, Any], Any], at_once: int, seconds: float | None) -> None:
        self._behaviour = behaviour
        self._at_once = self._room = at_once
        self._seconds = seconds

    async def answer(self, request: Any, context: Context) -> None:
        """What the method says, or RESOURCE_EXHAUSTED; DEADLINE_EXCEEDED once its time is over."""
        if isinstance(request, StatusError):
            await _end(context, request.status)
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
                await begin(context)
                async for message in said:
                    await context.write(message)
        else:
            await said


class _Watches:
    """The streams of a method that takes a key, which end with it: at most so many, each for a bounded time.

    What it generates is sent; where that is None there is nothing to send, and the key is looked at.
    """

    def __init__(
        self,
        behaviour: Callable[[Any, Any], Any],
        method: str,
        let_in: Callable[[Metadata | None], None],
        admit: Enter,
        port: limits.PortLimits,
    ) -> None:
        self._behaviour = behaviour
        self._method = method
        self._let_in = let_in
        self._admit = admit
        self._port = port
        self._of_keys: Counter[str] = Counter()

    async def answer(self, request: Any, context: Context) -> None:
        """What the method says, until its time is over, the peer is gone, or the key has ended."""
        key_id = _let_in.get().key_id
        try:
            _require_work(request, context)
            self._bear_one_more(key_id)
            self._of_keys[key_id] += 1
            try:
                async with asyncio.timeout(self._port.balance_watch_seconds) as time:
                    await self._say(request, context)
            except TimeoutError:
                if not time.expired():
                    raise
            finally:
                self._of_keys[key_id] -= 1
                if not self._of_keys[key_id]:
                    del self._of_keys[key_id]
        except Exception as error:  # noqa: BLE001 -- the boundary: nothing else may reach a caller
            await _end(context, status_of(error, self._method))

    def _bear_one_more(self, key_id: str) -> None:
        if self._of_keys.total() >= self._port.balance_watches:
            raise OverloadedError("streams", self._port.balance_watches)
        if key_id and self._of_keys[key_id] >= self._port.balance_watches_of_key:
            raise OverloadedError("streams", self._port.balance_watches_of_key)

    async def _say(self, request: Any, context: Context) -> None:
        """It is begun as a read is: one that the process does not bear now is refused."""
        metadata, has_begun = context.invocation_metadata(), False
        place = self._admit(request)
        try:
            async with aclosing(self._behaviour(request, context)) as said:
                async for message in said:
                    if place is not None:
                        place.leave()
                        place = None
                    self._let_in(metadata)
                    if message is None:
                        continue
                    if not has_begun:
                        has_begun = True
                        await begin(context)
                    await context.write(message)
        finally:
            if place is not None:
                place.leave()


async def begin(context: Context) -> None:
    """Sends the header fields of a stream, whatever time is over meanwhile.

    Those that go with a message which is cut short gRPC would send again with the status, and could not.
    """
    sent = asyncio.ensure_future(context.send_initial_metadata(()))
    try:
        await asyncio.shield(sent)
    finally:
        await sent


async def _end(context: Context, status: Status) -> None:
    """Ends a call with a status, which a client finds in its trailing metadata too. Never returns."""
    await context.abort(code_of(status), status.message, trailing_metadata=trailing_metadata(status))


def _is_late(context: Context) -> bool:
    left = context.time_remaining()
    return left is not None and left <= 0


def _require_work(request: Any, context: Context) -> None:
    """A request, and time for it: if something else came in its place, that is why there is none.

    A call whose deadline has passed before anybody looked at it is not begun: gRPC ends it.
    """
    left = context.time_remaining()
    if left is not None and left <= 0:
        raise asyncio.CancelledError
    if isinstance(request, Exception):
        raise request


def _no_message() -> StatusError:
    return StatusError(invalid([("request", "is no message of this method")]))


def _reader(deserialize: Callable[[bytes], Any] | None, bytes_max: int) -> Callable[[bytes], Any] | None:
    """Reads a request; of bytes that are none an error: gRPC itself would call that a fault of the server."""
    if deserialize is None:
        return None

    def read(data: bytes) -> Any:
        if len(data) > bytes_max:
            return StatusError(
                invalid([("request", f"has {len(data)} bytes; at most {bytes_max} are allowed")])
            )
        try:
            return deserialize(data)
        except DecodeError:
            return _no_message()

    return read
