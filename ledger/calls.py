"""The call that code runs in: what logs and spans say of it, and what is never said.

Of what a caller sends only the request id and the trace are reported; of its key the id.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from opentelemetry.trace import Span

TRACEPARENT: Final = "traceparent"
"""The metadata that a trace is sent as (W3C Trace Context)."""

_SHOWN_LENGTH: Final = 128
"""Characters of a request id: as many as one may have that is taken."""

_FORM: Final = re.compile(
    r"(?P<version>[0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?P<more>-.*)?"
)
_SAMPLED: Final = 1


class TraceParent(NamedTuple):
    """The span of the caller that a call is part of."""

    trace_id: int
    span_id: int
    is_sampled: bool


class Call:
    """One unary call, as long as anything is done for it."""

    __slots__ = ("_context", "_request", "key_id", "span")

    def __init__(self, request: Any, context: Any) -> None:
        """`context` is gRPC's, which has the metadata."""
        self._request = request
        self._context = context
        self.key_id = ""
        """Of who calls, once that is known; empty where no key was asked for."""
        self.span: Span | None = None
        """Its own; None where none is recorded."""

    def parent(self) -> TraceParent | None:
        """What its caller says that it is part of."""
        return trace_parent(self._context.invocation_metadata() or ())

    def log_fields(self) -> dict[str, str]:
        """What a log may say of it, as far as it is known."""
        request_id = getattr(self._request, "request_id", "")[:_SHOWN_LENGTH]
        within = self.parent() if self.span is None else self.span.get_span_context()
        fields = {"request_id": request_id, "key_id": self.key_id}
        if within is not None:
            fields |= {"trace_id": f"{within.trace_id:032x}", "span_id": f"{within.span_id:016x}"}
        return {name: value for name, value in fields.items() if value}


_call: ContextVar[Call | None] = ContextVar("call", default=None)

current = _call.get
"""The call that this code runs in; None outside of one."""
enter = _call.set
"""Says which call this code runs in."""


def trace_parent(metadata: Iterable[tuple[str, str | bytes]]) -> TraceParent | None:
    """What the metadata of a call says that it is part of; None: nothing, or nothing that can be read."""
    sent = [value for name, value in metadata if name == TRACEPARENT]
    found = _FORM.fullmatch(sent[0].strip()) if len(sent) == 1 and isinstance(sent[0], str) else None
    if found is None or found["version"] == "ff" or (found["version"] == "00" and found["more"]):
        return None
    trace_id, span_id, flags = (int(found[group], 16) for group in (2, 3, 4))
    return TraceParent(trace_id, span_id, bool(flags & _SAMPLED)) if trace_id and span_id else None
