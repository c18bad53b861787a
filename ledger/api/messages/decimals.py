"""Amounts of the back office as decimal strings: exact, and of one width, so that columns of them line up."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from ledger.books.rounding import round_exact

CREDIT_PLACES: Final = 6
DOLLAR_PLACES: Final = 9
_RATIO_PLACES: Final = 6


def dollars(nanousd: int) -> str:
    """Nano-dollars as dollars with nine places."""
    return fixed(nanousd, DOLLAR_PLACES)


def ratio(margin_nanousd: int, revenue_nanousd: int) -> str:
    """Margin over revenue to six places, half even; empty without revenue."""
    if revenue_nanousd == 0:
        return ""
    return fixed(round_exact(Fraction(margin_nanousd, revenue_nanousd) * 10**_RATIO_PLACES), _RATIO_PLACES)


def fixed(amount: int, places: int) -> str:
    """A whole number of the last of so many places as a decimal string."""
    whole, fraction = divmod(abs(amount), 10**places)
    return f"{'-' if amount < 0 else ''}{whole}.{fraction:0{places}d}"
