"""Amounts as people write them, and as the service counts: micro-credits and nano-dollars."""

from __future__ import annotations

from fractions import Fraction

CREDIT = 1_000_000
"""Micro-credits."""
DOLLAR = 1_000_000_000
"""Nano-dollars."""


def micros_of(credits: str) -> int:
    """Micro-credits of credits, a decimal or a fraction; cut off below one."""
    return int(Fraction(credits) * CREDIT)


def nanousd_of(dollars: str) -> int:
    """Nano-dollars of dollars, a decimal or a fraction; cut off below one."""
    return int(Fraction(dollars) * DOLLAR)


def credits_text(micros: int) -> str:
    """Micro-credits as credits, without trailing zeros."""
    return _decimal(micros, 6)


def dollars_text(nanousd: int) -> str:
    """Nano-dollars as dollars, without trailing zeros."""
    return _decimal(nanousd, 9)


def _decimal(amount: int, digits: int) -> str:
    whole, part = divmod(abs(amount), 10**digits)
    text = f"{whole}.{part:0{digits}}".rstrip("0").rstrip(".")
    return f"-{text}" if amount < 0 else text
