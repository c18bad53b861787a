"""What callers say, as requests carry it: names, labels, usage or an amount, durations, instants.

What no request can carry is said in the words of the caller: InvalidArgument, with the name of the field.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from math import inf
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from ledger.client.amounts import micros_of
from ledger.client.errors import invalid_argument
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import usage_pb2

_NAMED: Final = frozenset({"project", "user", "agent", "session"})
"""Labels with fields of their own."""


_MICROS_END: Final = 2**63
_SECONDS_END: Final = 10_000 * 366 * 86_400
"""Of a protobuf's Duration; what the service takes is far less."""


def text(field: str, given: object) -> str:
    """A text; which names there are, the service knows. Raises InvalidArgument."""
    if not isinstance(given, str):
        raise invalid_argument(field, given, "a text")
    try:
        given.encode()
    except UnicodeEncodeError:
        raise invalid_argument(field, given, "a text without halves of a character") from None
    return given


def texts(field: str, given: Collection[str]) -> list[str]:
    """Several texts; one is not the collection of its characters. Raises InvalidArgument."""
    if isinstance(given, str | bytes) or not isinstance(given, Collection):
        raise invalid_argument(field, given, "a list of texts")
    return [text(field, each) for each in given]


def flag(field: str, given: object) -> bool:
    """True or False. Raises InvalidArgument: what is only like one may be meant otherwise."""
    if not isinstance(given, bool):
        raise invalid_argument(field, given, "True or False")
    return given


def micros_asked(field: str, amount: Decimal | int) -> int:
    """An amount of credits in micro-credits. Raises InvalidArgument."""
    try:
        found = micros_of(amount)
    except (TypeError, ValueError):
        raise invalid_argument(
            field, amount, "a Decimal or an int of credits, at most 6 digits after the point"
        ) from None
    if not -_MICROS_END <= found < _MICROS_END:
        raise invalid_argument(field, amount, "credits whose micro-credits have 64 bits")
    return found


def patience(field: str, seconds: float) -> float:
    """How long to wait at most, in seconds. Raises InvalidArgument."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < inf:
        raise invalid_argument(field, seconds, "seconds, more than 0")
    return seconds


def timestamp(field: str, instant: object) -> Timestamp | None:
    """An instant as requests take it; None: not said. Raises InvalidArgument."""
    if instant is None:
        return None
    if not isinstance(instant, datetime) or instant.tzinfo is None:
        raise invalid_argument(field, instant, "a datetime with a time zone, datetime.now(UTC) for one")
    stamp = Timestamp()
    stamp.FromDatetime(instant)
    return stamp


def day(field: str, given: object) -> str:
    """A day as requests take it. Raises InvalidArgument."""
    if not isinstance(given, date) or isinstance(given, datetime):
        raise invalid_argument(field, given, "a date: its zone is the customer's")
    return given.isoformat()


def labels_message(labels: Mapping[str, str]) -> pb.Labels:
    """Labels as the service takes them."""
    message = pb.Labels()
    put_labels(message, labels)
    return message


def put_labels(into: pb.Labels, labels: Mapping[str, str]) -> None:
    """Adds labels to those of a request. Raises InvalidArgument."""
    if not isinstance(labels, Mapping):
        raise invalid_argument("labels", labels, "a mapping of texts")
    for key, given in labels.items():
        name = text("labels", key)
        value = text(f"labels.{name}", given)
        if name in _NAMED:
            setattr(into, name, value)
        else:
            into.other[name] = value


def put_work(
    request: pb.CheckRequest | pb.ReserveRequest | pb.CommitReservationRequest | pb.ChargeRequest,
    usage: Sequence[usage_pb2.UsageItem] | None,
    amount: Decimal | int | None,
) -> None:
    """Usage or an amount, as requests take either.

    Raises TypeError for both or neither, and for what is no usage; InvalidArgument for what is no amount.
    """
    if (usage is None) == (amount is None):
        raise TypeError("give usage or an amount: one of them")
    if amount is not None:
        request.amount_micros = micros_asked("amount", amount)
    if usage is not None:
        # Of no items too: it is the service that says what it takes.
        request.usage.CopyFrom(usage_list(usage))


def usage_list(usage: Sequence[usage_pb2.UsageItem]) -> usage_pb2.UsageList:
    """Items of usage as requests take them. Raises TypeError for what is none."""
    try:
        return usage_pb2.UsageList(items=usage)
    except (TypeError, ValueError, AttributeError):
        raise no_usage(usage) from None


def no_usage(given: object) -> TypeError:
    """What is raised where neither items of usage nor an amount was said."""
    found = type(given).__name__
    return TypeError(
        f"usage is a list of UsageItem, as convert(...).items is; an amount is exact: not {found}"
    )


def labels_asked(labels: Mapping[str, str] | None) -> pb.Labels | None:
    """Labels as requests take them; None: not said."""
    return None if labels is None else labels_message(labels)


def duration(field: str, seconds: object) -> Duration | None:
    """A duration as requests take it; None: not said. Raises InvalidArgument."""
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int) or abs(seconds) >= _SECONDS_END:
        raise invalid_argument(field, seconds, "whole seconds")
    return Duration(seconds=seconds)
