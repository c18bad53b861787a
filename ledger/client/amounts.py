"""Credits as people write them, exact, and in micro-credits as the service counts them, a million each."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

_MICROS: Final = 1_000_000
_DIGITS_MAX: Final = 18
"""Before the point: more than the service takes, and few enough to calculate with."""


def credits_of(micros: int) -> Decimal:
    """So many micro-credits in credits, exact whatever the context of the caller's decimals."""
    return Decimal(f"{micros}E-6")


def micros_of(amount: Decimal | int) -> int:
    """So many credits in micro-credits.

    Raises TypeError for a float, which is no exact amount, and ValueError for what is no number of whole
    micro-credits.
    """
    if isinstance(amount, bool) or not isinstance(amount, Decimal | int):
        raise TypeError(f"an amount of credits is a Decimal or an int, not {amount!r}")
    exact = Decimal(amount)
    if not exact.is_finite() or exact.adjusted() > _DIGITS_MAX:
        raise ValueError(f"{amount} is no amount of credits")
    numerator, denominator = exact.as_integer_ratio()
    micros, rest = divmod(numerator * _MICROS, denominator)
    if rest:
        raise ValueError(f"{amount} credits are no whole micro-credits: at most 6 digits after the point")
    return micros


def shown(amount: Decimal) -> str:
    """A quantity as people read it, exact, without zeros that say nothing; credits have six digits always."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
