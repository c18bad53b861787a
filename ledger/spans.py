"""Spans of OpenTelemetry: one for each call of a key's, and one for each write of a batch of a cell.

They are sent where the standard variables say (`OTEL_EXPORTER_OTLP_ENDPOINT`), by OTLP over gRPC. This module
alone imports the packages of OpenTelemetry, and is imported only where spans are wanted.

A span has names of ours, ids and a status code: of what a caller sends only its trace, and no exception's
text, for that may tell a cost. What fails here is no caller's matter.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from os import environ
from time import time_ns
from typing import Concatenate, Final, ParamSpec

import grpc
import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from ledger.calls import Call
from ledger.engine.cell.open_batch import OpenBatch
from ledger.engine.command import WriteOutcome

LINKS_MAX: Final = 32
"""Calls that the span of a write is linked to; a batch may have two thousand."""
FLUSH_SECONDS: Final = 3.0
"""How long a server that ends waits for its last spans to be taken."""

_NAME: Final = "acu-ledger"
_PROTOCOL: Final = "grpc"
_EXPORTER_LOG: Final = "opentelemetry.exporter.otlp.proto.grpc.exporter"
_FAULTS: Final = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""Statuses that are errors of a server, as OpenTelemetry's conventions have it; the others are answers."""
_ERROR: Final = Status(StatusCode.ERROR)

_log = structlog.get_logger(__name__)

_Given = ParamSpec("_Given")


def _harmless(
    method: Callable[Concatenate[Spans, _Given], None],
) -> Callable[Concatenate[Spans, _Given], None]:
    """A fault in here, of a sampler that somebody has installed say, is no fault of the call."""

    def attempt(spans: Spans, /, *args: _Given.args, **kwargs: _Given.kwargs) -> None:
        try:
            method(spans, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 -- whatever it was
            spans.fail(error)

    return attempt


class Spans:
    """The spans of one server, sent in the background."""

    def __init__(self) -> None:
        """As the standard variables have it. Raises ValueError for one that cannot be gone by."""
        # It quotes a header that it cannot read, and that may hold a key.
        logging.getLogger("opentelemetry.util.re").setLevel(logging.CRITICAL)
        _require_grpc()
        self._exporter = _Exporter(OTLPSpanExporter())
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer(_NAME, version(_NAME))
        self._has_failed = False
        _hush()

    @_harmless
    def begin(self, method: str, call: Call) -> None:
        """Begins the span of a call (of `service/method`), within what its caller says that it is part of."""
        service, _, name = method.rpartition("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
        call.span = self._tracer.start_span(method, _within(call), SpanKind.SERVER, attributes)

    @_harmless
    def end(self, call: Call, code: grpc.StatusCode) -> None:
        """Ends the span of a call that was answered so."""
        span = call.span
        if span is None:
            return
        span.set_attribute("rpc.grpc.status_code", code.value[0])
        if call.key_id:
            span.set_attribute("acu_ledger.key_id", call.key_id)
        if code in _FAULTS:
            span.set_status(_ERROR)
        span.end()

    @_harmless
    def wrote(self, cell: str, batch: OpenBatch, seconds: float, outcome: WriteOutcome) -> None:
        """The span of the write of a batch, which has just ended.

        It is part of the trace of the first of its calls that is sampled, and linked to more; a batch without
        any has none.
        """
        sampled = _sampled(batch.calls())
        if not sampled:
            return
        attributes: dict[str, str | int] = {
            "db.system.name": "postgresql",
            "acu_ledger.cell": cell,
            "acu_ledger.commands": batch.commands,
            "acu_ledger.outcome": outcome.value,
        }
        within = set_span_in_context(NonRecordingSpan(sampled[0]), Context())
        links = [Link(context) for context in sampled]
        ended = time_ns()
        started = ended - int(seconds * 1e9)
        span = self._tracer.start_span("write", within, SpanKind.CLIENT, attributes, links, started)
        if outcome is not WriteOutcome.WRITTEN:
            span.set_status(_ERROR)
        span.end(ended)

    def fail(self, error: Exception) -> None:
        """Says the first time that a span could not be made."""
        if not self._has_failed:
            self._has_failed = True
            _log.warning("spans.not_made", error=repr(error))

    async def close(self) -> None:
        """Sends what is left, for a bounded time."""
        ending = asyncio.ensure_future(asyncio.to_thread(self._provider.shutdown))
        await asyncio.wait({ending}, timeout=FLUSH_SECONDS)
        # It would go on trying for as long as one attempt may take.
        await asyncio.to_thread(self._exporter.shutdown)
        await ending


def _require_grpc() -> None:
    names = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    protocol = next((environ[name] for name in names if environ.get(name)), _PROTOCOL)
    if protocol != _PROTOCOL:
        raise ValueError(f"OTLP is spoken by {_PROTOCOL} alone, not by {protocol!r}")


def _hush() -> None:
    """What the library says again and again of spans that it cannot send the exporter here says once."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    logging.getLogger(_EXPORTER_LOG).setLevel(logging.ERROR)


def _resource() -> Resource:
    """Who says all this; a name of the standard variables wins."""
    found = Resource.create({SERVICE_VERSION: version(_NAME)})
    named = environ.get("OTEL_SERVICE_NAME") or "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return found if named else found.merge(Resource({SERVICE_NAME: _NAME}))


def _within(call: Call) -> Context:
    parent = call.parent()
    if parent is None:
        return Context()
    flags = TraceFlags(TraceFlags.SAMPLED if parent.is_sampled else TraceFlags.DEFAULT)
    context = SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=flags)
    return set_span_in_context(NonRecordingSpan(context), Context())


def _sampled(calls: Iterable[Call | None]) -> list[SpanContext]:
    """The first that are sampled, each once: the items of a batch are of one call."""
    found: dict[int, SpanContext] = {}
    for call in calls:
        if call is None or call.span is None:
            continue
        context = call.span.get_span_context()
        if context.trace_flags.sampled:
            found[context.span_id] = context
            if len(found) == LINKS_MAX:
                break
    return list(found.values())


class _Exporter(SpanExporter):
    """Sends, and says once that it cannot, and once that it can again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._reason = _Reason()
        self._is_failing = self._is_closed = False
        logging.getLogger(_EXPORTER_LOG).addFilter(self._reason)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """On a thread of the SDK's; what is not taken within its time is lost."""
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001 -- no export that fails may end the exporting
            self._reason.why = type(error).__name__
            result = SpanExportResult.FAILURE
        is_failing = result is not SpanExportResult.SUCCESS
        if is_failing and not self._is_failing:
            hint = "OTEL_EXPORTER_OTLP_ENDPOINT names an OTLP receiver (gRPC); calls are served all the same"
            _log.warning("spans.not_sent", why=self._reason.why, hint=hint)
        elif self._is_failing and not is_failing:
            _log.info("spans.sent_again")
        self._is_failing = is_failing
        return result

    def shutdown(self) -> None:
        """Ends an attempt that is under way."""
        if not self._is_closed:
            self._is_closed = True
            self._exporter.shutdown()
            logging.getLogger(_EXPORTER_LOG).removeFilter(self._reason)


class _Reason(logging.Filter):
    """Notes the status that an attempt to send ended with, and keeps the library from saying it each time."""

    why = ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Nothing passes."""
        codes = [value for value in record.args or () if isinstance(value, grpc.StatusCode)]
        if codes:
            self.why = codes[0].name
        return False
