"""From what a program has at hand to items of usage: one source a call.

    convert(openai=answer, model="openai/gpt-5")     a response, its usage, or all chunks of a stream
    convert(anthropic=message)                       a message, its usage, or all events of a stream
    convert(litellm=answer)                          an answer, its usage, or what LiteLLM logs
    convert(otel=span)                               a span, its attributes, OTLP/JSON, or several
    convert(compute="sandbox", seconds=12.5)
    convert(meter="web_search", quantity=3)
    convert(outcome="issue.resolved", subject="ticket-17")
    convert(usage=UsageItem(...))                    or the same as JSON, or several

Records are the objects of the providers' packages, dicts, or anything with `model_dump`; docs/adapters.md
says how they are read. What is to be looked at in them comes back as warnings, and is logged once a process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from threading import Lock
from typing import Any, Final, Literal, NamedTuple, TypedDict, Unpack

from ledger.client.errors import UsageError
from ledger.client.usage_items import (
    compute_item,
    date,
    item_of_json,
    outcome_item,
    unit_item,
)
from ledger.client.usage_records import Read, Warned, each, of_anthropic, of_litellm, of_openai, of_otel
from ledger.v1.usage_pb2 import UsageItem

Result = Literal["resolved", "failed", "escalated", "abandoned"]

_LOGGED_MAX: Final = 1_000
"""Kinds of warning that are logged: records in which every path is new fill neither log nor memory."""
_log = logging.getLogger(__name__)


class Work(TypedDict, total=False):
    """What `convert` takes: one source, what goes with it, and when it happened."""

    usage: UsageItem | Mapping[str, Any] | Sequence[UsageItem | Mapping[str, Any]]
    openai: object
    anthropic: object
    litellm: object
    otel: object
    model: str
    """What was asked for, as provider/name; a usage object without its response needs it."""
    compute: str
    """The resource."""
    seconds: Decimal | float
    """How long; a float is taken to the nanosecond."""
    meter: str
    quantity: Decimal | int
    outcome: str
    subject: str
    """What the outcome is about: a conversation, a ticket."""
    result: Result
    """Of the outcome; "resolved", if not given."""
    count: Decimal | int
    """Of machines at once, half a GPU being Decimal("0.5"), or of outcomes; 1, if not given."""
    occurred_at: datetime
    """With a time zone; when the server gets it, if not given."""


@dataclass(frozen=True, slots=True)
class Converted:
    """Usage as the API takes it."""

    items: tuple[UsageItem, ...]
    warnings: tuple[str, ...] = ()
    """What is to be looked at in the record: `uncounted` and `mismatch` may make its price wrong."""


def convert(**work: Unpack[Work]) -> Converted:
    """Makes items of usage of one source. Raises UsageError."""
    given: Mapping[str, Any] = work
    names = [name for name in _SOURCES if name in given]
    if len(names) != 1:
        raise UsageError(f"give one of {', '.join(_SOURCES)}; there are {', '.join(names) or 'none'}")
    (name,) = names
    source = _SOURCES[name]
    if given[name] is None:
        raise UsageError(f"{name}: is None: what was used is not in it")
    strange = given.keys() - {name, "occurred_at", *source.needs, *source.takes}
    if strange:
        raise UsageError(f"{', '.join(sorted(strange))}: does not go with {name}")
    missing = [need for need in source.needs if given.get(need) is None]
    if missing:
        raise UsageError(f"{missing[0]}: is missing: it goes with {name}")
    beside = {field: given[field] for field in (*source.needs, *source.takes) if given.get(field) is not None}
    items, warnings = source.read(given[name], **beside)
    if given.get("occurred_at") is not None:
        for item in items:
            date(item, given["occurred_at"])
    _log_once(warnings)
    return Converted(items, tuple(warned.text for warned in warnings))


class _Source(NamedTuple):
    read: Callable[..., Read]
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()


def _one(make: Callable[..., UsageItem]) -> Callable[..., Read]:
    return lambda *given, **beside: Read((make(*given, **beside),))


def _of_usage(usage: object) -> Read:
    return Read(tuple(map(_item, each(usage))))


def _item(usage: object) -> UsageItem:
    """A copy: what a caller does with its own later changes nothing."""
    if isinstance(usage, Mapping):
        return item_of_json(usage)
    if not isinstance(usage, UsageItem):
        raise UsageError(f"usage: is {type(usage).__name__} (allowed: a UsageItem, or one as JSON)")
    item = UsageItem()
    item.CopyFrom(usage)
    return item


_SOURCES: Final[Mapping[str, _Source]] = {
    "usage": _Source(_of_usage),
    "openai": _Source(of_openai, takes=("model",)),
    "anthropic": _Source(of_anthropic, takes=("model",)),
    "litellm": _Source(of_litellm, takes=("model",)),
    "otel": _Source(of_otel),
    "compute": _Source(_one(compute_item), needs=("seconds",), takes=("count",)),
    "meter": _Source(_one(unit_item), needs=("quantity",)),
    "outcome": _Source(_one(outcome_item), takes=("subject", "result", "count")),
}

_logged: Final[set[str]] = set()
_logging: Final = Lock()


def _log_once(warnings: Iterable[Warned]) -> None:
    for warned in warnings:
        with _logging:
            if warned.kind in _logged or len(_logged) >= _LOGGED_MAX:
                continue
            _logged.add(warned.kind)
        _log.warning("%s (such is logged once)", warned.text)
