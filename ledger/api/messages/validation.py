"""Checks of single fields: each gives the value, or notes what is wrong with it and gives a stand-in.

All that is wrong with a request is collected before it is refused, so that a caller sees it at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from ledger.access.keys import PREFIX, holds_one
from ledger.api.messages import limits
from ledger.books.model.labels import INTERNAL_LABEL
from ledger.errors import RequestError
from ledger.v1 import credit_service_pb2 as pb
from pricing.documents.zones import is_storable, is_zone
from pricing.exact import format_nanos

NANOS: Final = 10**9
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

UTC_ZONE: Final = "UTC"
"""The zone of customers that name none."""

NAMED_LABELS: Final = ("project", "user", "agent", "session")
"""The labels that have fields of their own."""

_SECOND: Final = timedelta(seconds=1)
_INT64_MAX: Final = 2**63 - 1
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Of ASCII, and those beyond: what is stored is shown on terminals, which some of them steer. Those that turn
the direction of writing would have the digits beside a name read in another order."""
_DECIMAL = re.compile(
    f"([0-9]{{1,{limits.DECIMAL_INTEGER_DIGITS_MAX}}})"
    f"(?:\\.([0-9]{{1,{limits.DECIMAL_FRACTION_DIGITS_MAX}}}))?"
)
_TIMESTAMP_SECONDS = range(-62_135_596_800, 253_402_300_800)
"""Years 1 to 9999."""


class InvalidArgumentError(RequestError):
    """A request with bad fields: which, what is wrong with each, and what is allowed."""

    def __init__(self, violations: Iterable[tuple[str, str]]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(f"{path}: {description}" for path, description in self.violations))


class Problems:
    """What is wrong with the fields of one request. Most have nothing: to make one calls no Python."""

    found: tuple[tuple[str, str], ...] = ()
    untimely: tuple[tuple[str, str], ...] = ()
    """Only wrong by the clock of now: a repeat of a request that was right in its time is answered."""

    def add(self, path: str, description: str) -> None:
        """Notes that the field is wrong, and what is allowed."""
        self.found += ((path, description),)

    def add_untimely(self, path: str, description: str) -> None:
        """Notes that the field is wrong by the clock of now."""
        self.untimely += ((path, description),)

    def raise_if_any(self) -> None:
        """Raises InvalidArgumentError with all that was noted."""
        if self.found:
            raise InvalidArgumentError([*self.found, *self.untimely])


def text(problems: Problems, path: str, value: str, length_max: int) -> str:
    """A string that may be empty, without control characters."""
    if len(value) > length_max:
        problems.add(path, f"has {len(value)} characters; at most {length_max} are allowed")
    elif not value.isprintable() and _CONTROL.search(value):
        problems.add(path, "has a control character; write printable text")
    return value


def name(problems: Problems, path: str, value: str, length_max: int = limits.NAME_LENGTH_MAX) -> str:
    """A string of at least one character."""
    if not value:
        problems.add(path, f"is empty; 1 to {length_max} characters are required")
    elif len(value) > length_max or not value.isprintable():
        text(problems, path, value, length_max)
    return value


def identifier(problems: Problems, path: str, value: str) -> str:
    """An id of the caller's own, or one that was given out.

    None holds a key (a token is longer than ids are): it would be stored, and reported to others.
    """
    if not 0 < len(value) <= limits.ID_LENGTH_MAX or not value.isprintable():
        name(problems, path, value, limits.ID_LENGTH_MAX)
    elif PREFIX in value and holds_one(value):
        problems.add(path, "holds a key, which is sent as metadata alone; if others saw it, revoke it")
    return value


def amount(problems: Problems, path: str, micros: int, *, least: int) -> int:
    """An amount in micro-credits."""
    if not least <= micros <= limits.AMOUNT_MICROS_MAX:
        integer(problems, path, micros, least, limits.AMOUNT_MICROS_MAX)
    return micros


def integer(problems: Problems, path: str, value: int, least: int, most: int) -> int:
    """A whole number within bounds."""
    if not least <= value <= most:
        problems.add(path, f"is {value}; {least} to {most} is allowed")
    return value


def decimal_nanos(problems: Problems, path: str, value: str) -> int:
    """A decimal string without sign or exponent, in billionths."""
    match = _DECIMAL.fullmatch(value)
    if match is None:
        problems.add(
            path,
            f"{_shown(value)} is not a decimal number; at most {limits.DECIMAL_INTEGER_DIGITS_MAX} digits, "
            f'then a point and at most {limits.DECIMAL_FRACTION_DIGITS_MAX} digits are allowed, e.g. "0.25"',
        )
        return 0
    whole, fraction = match.groups(default="")
    return int(whole) * NANOS + int(fraction.ljust(limits.DECIMAL_FRACTION_DIGITS_MAX, "0"))


def multiplier_nanos(problems: Problems, path: str, value: str) -> int:
    """What prices are multiplied by, in billionths; an empty one is 1."""
    own = Problems()
    nanos = decimal_nanos(own, path, value or "1")
    if not own.found and not 0 < nanos <= limits.MULTIPLIER_MAX * NANOS:
        own.add(path, f"is {_shown(value)}; above 0 and at most {limits.MULTIPLIER_MAX} is allowed")
    problems.found += own.found
    return NANOS if own.found else nanos


def _shown(value: str) -> str:
    return repr(value if len(value) <= 40 else value[:40] + "…")


def duration_nanos(problems: Problems, path: str, value: Duration) -> int:
    """A length of time of some use, zero included."""
    nanos = _total_nanos(value)
    if nanos is None or nanos < 0:
        problems.add(path, "is negative or malformed; a duration of 0 s or more is required")
        return 0
    if nanos > limits.DURATION_SECONDS_MAX * NANOS:
        problems.add(path, f"is {format_nanos(nanos)} s; at most {limits.DURATION_SECONDS_MAX} s are allowed")
    return nanos


def ttl(
    problems: Problems,
    path: str,
    value: Duration,
    least: timedelta = limits.TTL_MIN,
    most: timedelta = limits.TTL_MAX,
) -> timedelta:
    """A time to live, of a hold by default; the bounds are of whole seconds."""
    nanos = _total_nanos(value)
    if nanos is None:
        problems.add(path, "is malformed; its nanos must be below a second and of the sign of its seconds")
        return least
    seconds_min, seconds_max = least // _SECOND, most // _SECOND
    if not seconds_min * NANOS <= nanos <= seconds_max * NANOS:
        allowed = f"{seconds_min} s to {seconds_max} s ({seconds_max // 3600} h) are allowed"
        sign = "-" if nanos < 0 else ""
        problems.add(path, f"is {sign}{format_nanos(abs(nanos))} s; {allowed}")
        return least
    return timedelta(0, 0, nanos // 1000)


def _total_nanos(value: Duration) -> int | None:
    """None for a message that is no duration."""
    seconds, nanos = value.seconds, value.nanos
    if nanos and (not -NANOS < nanos < NANOS or seconds * nanos < 0):
        return None
    return seconds * NANOS + nanos


def instant(problems: Problems, path: str, value: Timestamp) -> datetime | None:
    """An instant to the microsecond; None if the message is no instant."""
    if value.seconds not in _TIMESTAMP_SECONDS or not 0 <= value.nanos < NANOS:
        problems.add(path, "is not an instant of the years 1 to 9999 with nanos below a second")
        return None
    when = EPOCH + timedelta(seconds=value.seconds, microseconds=value.nanos // 1000)
    if not is_storable(when):
        problems.add(path, f"is {when.isoformat()}, which stands for no instant in databases: leave it unset")
        return None
    return when


def as_of(problems: Problems, path: str, value: Timestamp, now: datetime) -> datetime | None:
    """An instant as of which the books no longer change: 15 s back at least."""
    when = instant(problems, path, value)
    if when is not None and when > now - limits.AS_OF_BACK_MIN:
        allowed = f"at least {limits.AS_OF_BACK_MIN.seconds} s back is required: later ones are not settled"
        problems.add(path, f"is {when.isoformat()}; {allowed}")
    return when


def occurred_at(problems: Problems, path: str, value: Timestamp, now: datetime) -> datetime | None:
    """When usage happened: 35 days back at most, and 5 minutes ahead."""
    when = instant(problems, path, value)
    if when is None:
        return None
    if not now - limits.OCCURRED_BACK_MAX <= when <= now + limits.OCCURRED_AHEAD_MAX:
        allowed = "at most 35 days back and 5 minutes ahead of now are allowed"
        problems.add_untimely(path, f"is {when.isoformat()}; {allowed}")
    return when


def started_at(problems: Problems, path: str, value: Timestamp, now: datetime) -> datetime | None:
    """When a machine started: 5 minutes ahead at most."""
    when = instant(problems, path, value)
    if when is not None and when > now + limits.OCCURRED_AHEAD_MAX:
        problems.add_untimely(path, f"is {when.isoformat()}; at most 5 minutes ahead of now are allowed")
    return when


def labels(problems: Problems, path: str, value: pb.Labels) -> Mapping[str, str]:
    """Labels as the books keep them: the named ones and the caller's own side by side."""
    found: dict[str, str] = {}
    for key in NAMED_LABELS:
        label = getattr(value, key)
        if label:
            found[key] = label
            if len(label) > limits.LABEL_VALUE_LENGTH_MAX or not label.isprintable():
                text(problems, f"{path}.{key}", label, limits.LABEL_VALUE_LENGTH_MAX)
    count = len(found) + len(value.other)
    if count > limits.LABELS_MAX:
        problems.add(path, f"has {count} labels; at most {limits.LABELS_MAX} are allowed")
    elif value.other:
        _add_own_labels(problems, path, value.other, found)
    return found


def _add_own_labels(
    problems: Problems, path: str, own_labels: Mapping[str, str], found: dict[str, str]
) -> None:
    for key, label in own_labels.items():
        own = f'{path}.other["{key[: limits.LABEL_KEY_LENGTH_MAX]}"]'
        if key in NAMED_LABELS:
            problems.add(own, f"has a field of its own; set {path}.{key}")
        name(problems, own, key, limits.LABEL_KEY_LENGTH_MAX)
        text(problems, own, label, limits.LABEL_VALUE_LENGTH_MAX)
        found[key] = label


def label_filter(problems: Problems, path: str, value: pb.Labels) -> Mapping[str, str]:
    """Labels that a list is asked for by: none is internal, for what comes back would tell of it."""
    found = labels(problems, path, value)
    for key in found:
        reportable_label(problems, f'{path}.other["{key[: limits.LABEL_KEY_LENGTH_MAX]}"]', key)
    return found


def reportable_label(problems: Problems, path: str, key: str) -> str:
    """The key of a label that may be reported to a customer."""
    if key.startswith(INTERNAL_LABEL):
        problems.add(path, f"begins with {INTERNAL_LABEL!r}: such labels are not reported")
    return key


def refuse_unwieldy(path: str, sums_micros: Iterable[int], remedy: str) -> None:
    """Refuses sums of credits that a row's field cannot hold: less is never reported than there is.

    Raises InvalidArgumentError on `path`, the field that makes the rows, with what to ask for instead.
    """
    largest = max(map(abs, sums_micros), default=0)
    if largest > _INT64_MAX:
        allowed = f"up to {_INT64_MAX} fit; {remedy}"
        raise InvalidArgumentError([(path, f"makes a row of {largest} micro-credits; {allowed}")])


def day(problems: Problems, path: str, value: str) -> date | None:
    """A day; None if the text is empty, or none."""
    if not value:
        return None
    try:
        found = date.fromisoformat(value)
    except ValueError:
        found = None
    if found is None or found.isoformat() != value:
        problems.add(path, "is not a day as YYYY-MM-DD, e.g. 2026-11-23")
    return found


def month(problems: Problems, path: str, value: str) -> date | None:
    """The first day of a month; None if the text is none."""
    own = Problems()
    found = day(own, path, f"{value}-01")
    if own.found:
        problems.add(path, "is not a month as YYYY-MM, e.g. 2026-11")
    return found


def zone(problems: Problems, path: str, value: str) -> str:
    """An IANA time zone's name; may be empty."""
    if value and not is_zone(value):
        problems.add(path, f"{_shown(value)} is not an IANA time zone, e.g. Europe/Berlin")
    return value


def overlap(problems: Problems, path: str, value: Duration | None) -> timedelta:
    """How long a secret goes on beside its successor; the default, if unset."""
    if value is None:
        return limits.OVERLAP_DEFAULT
    nanos = duration_nanos(problems, path, value)
    if nanos > limits.OVERLAP_MAX // timedelta(seconds=1) * NANOS:
        allowed = f"at most {limits.OVERLAP_MAX.days} days are allowed"
        problems.add(path, f"is {format_nanos(nanos)} s; {allowed}")
        return limits.OVERLAP_MAX
    return timedelta(microseconds=nanos // 1000)
