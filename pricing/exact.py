"""Exact amounts: decimal strings at the edge, integers of billionths inside, pairs where they are divided.

A decimal string has at most 15 integer and 9 fractional digits, no sign and no exponent. A pair is
(numerator, denominator): cheaper than a fraction where none is reduced.
"""

from __future__ import annotations

import re
from fractions import Fraction

BILLION = 10**9
"""Decimal amounts are integers of billionths: nine fractional digits are all that is taken."""

Pair = tuple[int, int]
NOTHING: Pair = (0, 1)

_DECIMAL = re.compile(r"(\d{1,15})(?:\.(\d{1,9}))?", re.ASCII)
_PERCENT = re.compile(r"(.+?)\s*%")
DECIMAL_RULE = 'a decimal string of at most 15 integer and 9 fractional digits, such as "0.25"'


def parse_nanos(text: str) -> int:
    """A decimal string as billionths.

    Raises ValueError on anything else: signs, exponents, blanks, too many digits.
    """
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not {DECIMAL_RULE}")
    whole, fraction = match.groups()
    return int(whole) * BILLION + int((fraction or "").ljust(9, "0"))


def format_nanos(nanos: int) -> str:
    """Billionths as the shortest decimal string."""
    whole, fraction = divmod(nanos, BILLION)
    return f"{whole}.{fraction:09d}".rstrip("0").rstrip(".") if fraction else str(whole)


def parse_percent(text: str) -> Fraction:
    """A percentage such as "12.5%" as a ratio.

    Raises ValueError on anything else.
    """
    match = _PERCENT.fullmatch(text)
    if match is None:
        raise ValueError(f'{text!r} is not a percentage such as "30%"')
    return Fraction(parse_nanos(match.group(1)), 100 * BILLION)


def format_percent(ratio: Fraction) -> str:
    """A ratio that came from a percentage as one again."""
    return format_nanos(int(ratio * 100 * BILLION)) + "%"


def format_product(text: str, factor_nanos: int) -> str:
    """A decimal string times a factor in billionths, exactly: with as many digits as it takes."""
    whole, _, fraction = text.partition(".")
    product, digits = int(whole + fraction) * factor_nanos, len(fraction) + 9
    whole, fraction = f"{product:0{digits + 1}d}"[:-digits], f"{product:0{digits + 1}d}"[-digits:]
    return f"{whole}.{fraction}".rstrip("0").rstrip(".")


def add(left: Pair, right: Pair) -> Pair:
    """The sum of two pairs."""
    if not left[0]:
        return right
    if left[1] == right[1]:
        return left[0] + right[0], left[1]
    return left[0] * right[1] + right[0] * left[1], left[1] * right[1]


def subtract(left: Pair, right: Pair) -> Pair:
    """What is left of the first of two pairs without the second."""
    return add(left, (-right[0], right[1]))


def times(left: Pair, right: Pair) -> Pair:
    """The product of two pairs."""
    return left[0] * right[0], left[1] * right[1]
