"""A receiver of spans, as OpenTelemetry's own protocol has it: it keeps what it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

PLACES_OF_CHANCE = ("trace_id", "span_id", "parent_span_id", "start_time_unix_nano", "end_time_unix_nano")
"""What is random in a span, or a time: any number may be met there."""


class Collector(TraceServiceServicer):
    """Served on a thread: whoever waits for a server that ends keeps its loop from serving."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.requests: list[ExportTraceServiceRequest] = []

    def Export(self, request, context):  # noqa: N802 -- the protocol's name
        self.requests.append(request)
        return ExportTraceServiceResponse()

    def spans(self) -> list[Span]:
        """All that were sent."""
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def said(self) -> bytes:
        """Every name, attribute, event and status that was sent, as it was sent."""
        said = []
        for sent in self.requests:
            request = ExportTraceServiceRequest.FromString(sent.SerializeToString())
            for resource in request.resource_spans:
                for span in (span for scope in resource.scope_spans for span in scope.spans):
                    for field in PLACES_OF_CHANCE:
                        span.ClearField(field)
                    for link in span.links:
                        link.ClearField("trace_id")
                        link.ClearField("span_id")
            said.append(request.SerializeToString())
        return b"\n".join(said)


@contextmanager
def collecting() -> Iterator[Collector]:
    """One that listens on loopback, until the block ends."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(2))
    add_TraceServiceServicer_to_server(collector, server)
    collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collector
    finally:
        server.stop(None).wait()
