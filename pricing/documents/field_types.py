"""The kinds of values that cost books and rate cards are written in, and how each is checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from fractions import Fraction
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from pricing.documents.validate import RefusedError
from pricing.documents.zones import is_storable
from pricing.exact import BILLION, DECIMAL_RULE, format_nanos, parse_nanos, parse_percent
from pricing.usage.items import RATED_QUANTITIES

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""In force from here: reaches back for ever."""

_DURATION = re.compile(r"([0-9.]+)\s*(ms|s|m|h)?")
_UNIT_NANOS = {"ms": 10**6, "s": BILLION, None: BILLION, "m": 60 * BILLION, "h": 3600 * BILLION}
_NAME = re.compile(r"\S{1,128}")
_CARD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


_ABOVE_ZERO = 'write "1" or another number above 0'


def _rate(value: object, advice: str = 'write a rate of "0" or more') -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise RefusedError("a rate must be a number", f"write {DECIMAL_RULE}")
    if value.lstrip().startswith("-"):
        raise RefusedError(f"the rate {value} is negative", advice)
    try:
        return parse_nanos(value)
    except ValueError as error:
        raise RefusedError(f"{value!r} is not a rate", f"write {DECIMAL_RULE}") from error


def parse_positive(value: object) -> int:
    """A decimal string above 0 as billionths. Raises RefusedError on anything else."""
    nanos = _rate(value, _ABOVE_ZERO)
    if nanos == 0:
        raise RefusedError("must be above 0", _ABOVE_ZERO)
    return nanos


def _percent(value: object) -> Fraction:
    hint = 'write a percentage of at most 9 fractional digits, such as "30%"'
    if not isinstance(value, str):
        raise RefusedError("a share must be a percentage", _as_percent(str(value)) or hint)
    if value.lstrip().startswith("-"):
        raise RefusedError(f"{value} is negative", 'write "0%" or more')
    try:
        return parse_percent(value)
    except ValueError as error:
        raise RefusedError(f"{value!r} is not a percentage", _as_percent(value) or hint) from error


def _as_percent(text: str) -> str:
    """What to write instead of a share without its sign: a number below 1 is most likely a ratio."""
    try:
        nanos = parse_nanos(text)
    except ValueError:
        return ""
    if nanos >= BILLION or not nanos:
        return f'write "{text}%"'
    return f'write "{format_nanos(nanos * 100)}%", or "{text}%" if that is meant'


def parse_duration(value: object) -> int:
    """A duration as nanoseconds. Raises RefusedError on anything else."""
    match = _DURATION.fullmatch(str(value)) if isinstance(value, str | int) else None
    try:
        nanos = Fraction(parse_nanos(match.group(1)), BILLION) * _UNIT_NANOS[match.group(2)] if match else 0
    except ValueError:
        nanos = 0
    if nanos <= 0 or nanos != int(nanos) or isinstance(value, bool):
        raise RefusedError(
            f"{value!r} is not a duration", 'write seconds above 0, or "500ms", "60s", "1m", "1h"'
        )
    return int(nanos)


def _instant(value: object) -> datetime:
    try:
        instant = datetime.fromisoformat(value) if isinstance(value, str) else None
        if instant is not None and instant.tzinfo is not None and is_storable(instant):
            return instant.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise RefusedError(f"{value!r} is not an instant", "write date, time and zone: 2026-11-01T00:00:00Z")


def _quantity(value: str) -> str:
    if value not in RATED_QUANTITIES:
        raise RefusedError(f"unknown quantity {value!r}", f"allowed here: {', '.join(RATED_QUANTITIES)}")
    return value


def _name(value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise RefusedError(f"{value!r} is not a name", "write 1 to 128 characters without blanks")
    return value


def _card_name(value: object) -> str:
    if not isinstance(value, str) or not _CARD.fullmatch(value):
        hint = "write up to 64 letters, digits, dots, dashes and underscores"
        raise RefusedError(f"{value!r} is not the name of a card", hint)
    return value


def _selector(value: object) -> tuple[str, ...]:
    patterns = value if isinstance(value, list) else [value]
    if not patterns or not all(isinstance(pattern, str) and pattern for pattern in patterns):
        raise RefusedError("cannot be matched", 'write a name, a glob such as "gpu-*", or a list of them')
    return tuple(patterns)


def _schema(description: str, *forms: Mapping[str, object]) -> WithJsonSchema:
    """What editors read of a kind of value: it has one of some forms."""
    one = dict(forms[0]) if len(forms) == 1 else {"anyOf": [dict(form) for form in forms]}
    return WithJsonSchema({"description": description, **one})


def _text(pattern: str) -> Mapping[str, object]:
    return {"type": "string", "pattern": f"^{pattern}$"}


_DECIMAL = r"\d{1,15}(\.\d{1,9})?"
_PATTERN = {"type": "string", "minLength": 1}

Rate = Annotated[
    int,
    BeforeValidator(_rate),
    _schema('A decimal string, such as "0.25".', _text(_DECIMAL), {"type": "integer", "minimum": 0}),
]
"""A decimal string, as billionths."""
_ABOVE_ZERO_SCHEMA = _schema(
    'A decimal string above 0, such as "0.25".',
    _text(rf"(?!0+(\.0+)?$){_DECIMAL}"),
    {"type": "integer", "minimum": 1},
)
Positive = Annotated[int, BeforeValidator(parse_positive), _ABOVE_ZERO_SCHEMA]
"""A decimal string above 0, as billionths."""
CREDIT_PRICE_MAX_NANOUSD = 10**18
"""A billion dollars for a credit: every entry under a card has its price, in 64 bits."""


def _credit_price(value: object) -> int:
    nanousd = parse_positive(value)
    if nanousd > CREDIT_PRICE_MAX_NANOUSD:
        most = format_nanos(CREDIT_PRICE_MAX_NANOUSD)
        raise RefusedError(f"a credit cannot cost {value} dollars", f'write "{most}" or less')
    return nanousd


CreditPrice = Annotated[int, BeforeValidator(_credit_price), _ABOVE_ZERO_SCHEMA]
"""The list price of a credit in nano-dollars, written in dollars."""
Percent = Annotated[
    Fraction,
    BeforeValidator(_percent),
    Field(strict=False),
    _schema('A percentage, such as "30%".', _text(rf"{_DECIMAL}\s*%")),
]
"""A percentage, as a ratio."""
Duration = Annotated[
    int,
    BeforeValidator(parse_duration),
    _schema(
        "Seconds, or 500ms, 60s, 1m, 1h.",
        _text(r"[0-9.]+\s*(ms|s|m|h)?"),
        {"type": "integer", "minimum": 1},
    ),
]
"""Seconds, or a number with its unit, as nanoseconds."""
TokenQuantity = Annotated[
    str, BeforeValidator(_quantity), _schema("A quantity of tokens.", {"enum": list(RATED_QUANTITIES)})
]
Name = Annotated[str, BeforeValidator(_name), _schema("A name without blanks.", _text(_NAME.pattern))]
CardName = Annotated[str, BeforeValidator(_card_name), _schema("The name of a card.", _text(_CARD.pattern))]
Selector = Annotated[
    tuple[str, ...],
    BeforeValidator(_selector),
    _schema(
        "A name, a glob in which * is any text, or a list of them.",
        _PATTERN,
        {"type": "array", "minItems": 1, "items": _PATTERN},
    ),
]
"""One or more names or globs."""
Instant = Annotated[
    datetime,
    BeforeValidator(_instant),
    _schema(
        "Date, time and zone: 2026-11-01T00:00:00Z.",
        _text(r"\d{4}-?\d{2}-?\d{2}[T ]\d{2}.*(Z|[+-]\d{2}(:?\d{2})?)"),
    ),
]
"""An instant with its zone."""
REVISION_MAX = 10**9
"""The database keeps four bytes of it; a rollback adds one."""
Revision = Annotated[int, Field(ge=1, le=REVISION_MAX)]
Text = Annotated[str, Field(min_length=1, max_length=200)]
