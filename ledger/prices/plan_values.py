"""Values that the sections of a plan have in common: amounts of credits, and durations."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Final

from pydantic import BeforeValidator, WithJsonSchema

from ledger.books.rounding import MICROS_PER_CREDIT
from pricing.documents.validate import RefusedError
from pricing.exact import BILLION

AMOUNT_MAX_MICROS: Final = 10**9 * MICROS_PER_CREDIT
PAID_MAX_NANOUSD: Final = 10**6 * BILLION
"""A billion credits and a million dollars, of each grant that a plan makes: the books hold thousands of them
for one customer."""

_AMOUNT: Final = re.compile(r"\d{1,12}(\.\d{1,6})?", re.ASCII)
_DURATION: Final = re.compile(r"(\d{1,6})(s|m|h|d)", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def _credits_micros(value: object) -> int:
    if not isinstance(value, str) or not _AMOUNT.fullmatch(value):
        raise RefusedError(
            "is no amount of credits", 'write a quoted decimal with at most 6 places, e.g. "100"'
        )
    return int(Decimal(value).scaleb(6))


Amount = Annotated[
    int,
    BeforeValidator(_credits_micros),
    WithJsonSchema({"description": "Credits.", "type": "string", "pattern": f"^{_AMOUNT.pattern}$"}),
]
"""Credits, as micro-credits."""


def duration_within(least: str, most: str) -> tuple[BeforeValidator, WithJsonSchema]:
    """What makes a duration of a field: written as `least` and `most` are, and neither less nor more."""
    shortest, longest = _timedelta(least), _timedelta(most)

    def validate(value: object) -> timedelta:
        duration = _timedelta(value)
        if not shortest <= duration <= longest:
            raise RefusedError("is too short or too long", f"write {least} to {most}")
        return duration

    schema = {"description": f"{least} to {most}.", "type": "string", "pattern": f"^{_DURATION.pattern}$"}
    return BeforeValidator(validate), WithJsonSchema(schema)


def _timedelta(value: object) -> timedelta:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise RefusedError("is no duration", "write a whole number of s, m, h or d, e.g. 24h")
    return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])
