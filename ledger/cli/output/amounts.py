"""Amounts at the edge: decimal strings to integers and back, exactly.

Credits are integer micro-credits, dollars integer nano-dollars.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

_DECIMAL: Final = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?")
"""As the API writes and takes them: an exponent, a grouped number or digits of another script are errors."""
_MICRO_PLACES = 6
_NANO_PLACES = 9


def nanousd(dollars: str) -> int:
    """Dollars with at most 9 places, in nano-dollars. Raises ValueError for anything finer."""
    return _scaled(dollars, _NANO_PLACES)


def micros(credit_amount: str) -> int:
    """Credits with at most 6 places, in micro-credits. Raises ValueError for anything finer."""
    return _scaled(credit_amount, _MICRO_PLACES)


def dollars(amount_nanousd: int) -> str:
    """Nano-dollars as a decimal string with 9 places."""
    return f"{Decimal(amount_nanousd).scaleb(-_NANO_PLACES):.9f}"


def credit_text(amount_micros: int) -> str:
    """Micro-credits as a decimal string with 6 places, for a program to read: -1234.500000."""
    return f"{Decimal(amount_micros).scaleb(-_MICRO_PLACES):.6f}"


def show_credits(amount_micros: int) -> str:
    """Micro-credits for a person to read: 1,234.500000."""
    return f"{Decimal(amount_micros).scaleb(-_MICRO_PLACES):,.6f}"


def show_dollars(amount_nanousd: int) -> str:
    """Nano-dollars for a person to read, to a hundredth of a cent, half even: $1,234.5000."""
    rounded = round(Decimal(amount_nanousd).scaleb(-_NANO_PLACES), 4)
    return f"{'-' if rounded < 0 else ''}${abs(rounded):,}"


def show_whole_dollars(amount_nanousd: int) -> str:
    """Nano-dollars for a person to compare, to the dollar, half even: $1,235."""
    whole = round(Decimal(amount_nanousd).scaleb(-_NANO_PLACES))
    return f"{'-' if whole < 0 else ''}${abs(whole):,}"


def margin(revenue_nanousd: int, cost_nanousd: int) -> float | None:
    """(revenue - cost) / revenue: a ratio, no amount. None without revenue."""
    return (revenue_nanousd - cost_nanousd) / revenue_nanousd if revenue_nanousd else None


def show_margin(revenue_nanousd: int, cost_nanousd: int) -> str:
    """The margin in percent; a dash without revenue."""
    ratio = margin(revenue_nanousd, cost_nanousd)
    return "-" if ratio is None else f"{ratio:z.1%}"


def _scaled(text: str, places: int) -> int:
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an amount")
    sign, whole, fraction = match.groups(default="")
    if len(fraction.rstrip("0")) > places:
        raise ValueError(f"{text!r} has more than {places} decimal places")
    return int(f"{sign}{whole}{fraction[:places]:0<{places}}")
