"""Items of usage, made of exact quantities and of names that the API takes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import ParseDict, ParseError

from ledger.client.errors import UsageError
from ledger.v1.usage_pb2 import ComputeUsage, Outcome, OutcomeResult, TokenUsage, UnitUsage, UsageItem
from pricing.exact import format_nanos
from pricing.usage.items import Tokens, Units

_NANOS: Final = 1_000_000_000
_NAME_MAX: Final = 128
"""Characters that the API takes of a name."""
_DIGITS_MAX: Final = 15
"""Before the point, and 9 after it: what the API takes of a quantity."""
_EXACT: Final = Context(prec=_DIGITS_MAX + 9, rounding=ROUND_HALF_EVEN)
_SMALLEST: Final = Decimal("1e-9")
_RESULTS: Final = {
    name.removeprefix("OUTCOME_RESULT_").lower(): number for name, number in OutcomeResult.items() if number
}


def item_of_adapters(item: Tokens | Units) -> UsageItem:
    """An item as the adapters make it. Raises UsageError for a name that the API would not take."""
    if isinstance(item, Units):
        return _units(item.meter, format_nanos(item.quantity_nanos))
    tokens = TokenUsage(
        model=_named("model", item.model),
        served_by=_named("model that served", item.served_by) if item.served_by else "",
        service_tier=_named("service_tier", item.service_tier) if item.service_tier else "",
        requests=item.requests,
    )
    for name, count in item.quantities.items():
        setattr(tokens, name, count)
    return UsageItem(tokens=tokens)


def item_of_json(record: Mapping[str, Any]) -> UsageItem:
    """An item as protobuf's JSON has it. Raises UsageError."""
    try:
        return ParseDict(dict(record), UsageItem())
    except ParseError as refused:
        raise UsageError(f"usage: {refused}") from None


def compute_item(resource: str, seconds: Decimal | float, count: Decimal | int = 1) -> UsageItem:
    """Time of so many machines at once; a float is taken to the nanosecond. Raises UsageError."""
    nanos = _nanos("seconds", _measured(seconds) if isinstance(seconds, float) else seconds)
    duration = Duration(seconds=nanos // _NANOS, nanos=nanos % _NANOS)
    machines = format_nanos(_nanos("count", count))
    name = _named("compute", resource)
    return UsageItem(compute=ComputeUsage(resource=name, duration=duration, count=machines))


def unit_item(meter: str, quantity: Decimal | int) -> UsageItem:
    """So many of anything. Raises UsageError."""
    return _units(meter, format_nanos(_nanos("quantity", quantity)))


def outcome_item(
    name: str, subject: str = "", result: str = "resolved", count: Decimal | int = 1
) -> UsageItem:
    """What came of the work. Raises UsageError."""
    if not isinstance(result, str) or result not in _RESULTS:
        raise UsageError(f"result: is {result!r} (allowed: {', '.join(_RESULTS)})")
    whole, part = divmod(_nanos("count", count), _NANOS)
    if part:
        raise UsageError(f"count: is {count} (allowed: a whole number)")
    outcome = Outcome(
        name=_named("outcome", name),
        subject=_named("subject", subject) if subject else "",
        result=_RESULTS[result],
        count=whole,
    )
    return UsageItem(outcome=outcome)


def date(item: UsageItem, occurred_at: datetime) -> None:
    """Says when it happened, unless the item says so itself. Raises UsageError."""
    if not isinstance(occurred_at, datetime):
        raise UsageError(
            f"occurred_at: is {type(occurred_at).__name__} (allowed: a datetime with a time zone)"
        )
    if occurred_at.tzinfo is None:
        raise UsageError("occurred_at: has no time zone (allowed: datetime.now(UTC), for one)")
    if not item.HasField("occurred_at"):
        item.occurred_at.FromDatetime(occurred_at)


def _units(meter: str, quantity: str) -> UsageItem:
    return UsageItem(units=UnitUsage(meter=_named("meter", meter), quantity=quantity))


def _named(what: str, name: object) -> str:
    if not isinstance(name, str) or not 1 <= len(name) <= _NAME_MAX or not name.isprintable():
        raise UsageError(f"{what}: is {repr(name)[:82]} (allowed: 1 to {_NAME_MAX} printable characters)")
    return name


def _measured(seconds: float) -> Decimal:
    """A time to the nanosecond; what is none stays as it is, and is refused."""
    exact = Decimal(repr(seconds))
    try:
        return _EXACT.quantize(exact, _SMALLEST)
    except InvalidOperation:
        return exact


def _nanos(what: str, value: object) -> int:
    """A quantity in billionths. Raises UsageError: a float is no exact one, but for a time."""
    if isinstance(value, bool) or not isinstance(value, Decimal | int):
        raise UsageError(f"{what}: is {value!r} (allowed: a Decimal or a whole number)")
    nanos = _billionths(Decimal(value))
    if nanos is None:
        allowed = f"0 or more, at most {_DIGITS_MAX} digits before the point and 9 after it"
        raise UsageError(f"{what}: is {str(value)[:40]} (allowed: {allowed})")
    return nanos


def _billionths(number: Decimal) -> int | None:
    """None for what the API would not take."""
    try:
        exact = _EXACT.quantize(number, _SMALLEST)
    except InvalidOperation:
        return None
    return int(exact.scaleb(9, _EXACT)) if exact == number >= 0 else None
