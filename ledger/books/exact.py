"""Exact arithmetic of the books: one rounding a charge, and shares that add up.

Exact amounts are `Fraction`s of micro-credits or nano-dollars; what is booked is an integer. No float
and no `Decimal` takes part.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import lcm

from ledger.books.model import ZERO, Rounding

MICROS_PER_CREDIT = 1_000_000

MAX_AMOUNT = 2**62 - 1
"""The most that one amount, and one customer's credits issued or owed, may come to, in micro-credits or
nano-dollars: the sum of two of them still fits the 64-bit columns of the journal."""

HALF_EVEN = Rounding()


class BooksError(Exception):
    """A fault of the caller or of these rules, never something that a customer has done."""


def round_exact(amount: Fraction, rounding: Rounding = HALF_EVEN) -> int:
    """Round an exact amount to a whole number of quanta; the result is in the amount's own unit.

    Negative amounts round as positive ones do, away from or towards zero. Raises `BooksError` for a
    mode that is not `half_even`, `half_up`, `up` or `down`.
    """
    quantum, mode = rounding
    numerator, denominator = amount.as_integer_ratio()
    if numerator < 0:
        return -round_exact(-amount, rounding)
    denominator *= quantum
    quotient, rest = divmod(numerator, denominator)
    if rest and _rounds_up(mode, quotient, 2 * rest - denominator):
        quotient += 1
    return quotient * quantum


def exact_sum(amounts: Sequence[Fraction], start: Fraction = ZERO) -> Fraction:
    """Add exact amounts over their common denominator, so that they are reduced once and not at each step."""
    addends = amounts if start is ZERO else [start, *amounts]
    if len(addends) == 1:
        return addends[0]
    ratios = [addend.as_integer_ratio() for addend in addends]
    common = lcm(*[denominator for _, denominator in ratios])
    return Fraction(sum([numerator * (common // denominator) for numerator, denominator in ratios]), common)


def _rounds_up(mode: str, quotient: int, above_half: int) -> bool:
    """Tell whether a quotient with a rest goes up; `above_half` has the sign of rest - 1/2."""
    if mode == "half_even":
        return above_half > 0 or (above_half == 0 and quotient % 2 == 1)
    if mode == "half_up":
        return above_half >= 0
    if mode == "up":
        return True
    if mode == "down":
        return False
    raise BooksError(f"no such rounding mode: {mode!r}; half_even, half_up, up or down")


def share(value: int, part: int, whole: int) -> int:
    """Give the value that goes with `part` of `whole`: rounded down, and all of it with the last part.

    All three are at least 0, `part` at most `whole`, `whole` above 0.
    """
    return value * part // whole


def nearest(total: int, amounts: Sequence[Fraction]) -> tuple[int, ...]:
    """Give whole numbers near exact amounts of either sign, that add up to `total`; 0 stays 0.

    `total` is their sum, rounded: what it lacks goes by largest remainder, ties to the earlier amount.
    Raises `BooksError` where there is something to divide and no amount.
    """
    if len(amounts) == 1 and amounts[0]:
        return (total,)  # For speed: most entries have one line, and what follows comes to the same.
    shares = [amount.numerator // amount.denominator for amount in amounts]
    some = [index for index, amount in enumerate(amounts) if amount]
    left = total - sum(shares)
    if left and not some:
        raise BooksError(f"{total} cannot be divided over no amounts")
    if left:
        each, more = divmod(left, len(some))
        by_rest = sorted(some, key=lambda index: amounts[index] - shares[index], reverse=True)
        for place, index in enumerate(by_rest):
            shares[index] += each + (place < more)
    return tuple(shares)


def apportion(total: int, weights: Sequence[Fraction | int]) -> tuple[int, ...]:
    """Divide a whole number over weights by largest remainder; ties go to the earlier weight.

    The shares add up to `total` exactly. A negative total is divided as its magnitude. Raises
    `BooksError` where there is something to divide and nothing that weighs.
    """
    if len(weights) == 1 and weights[0].numerator > 0:
        return (total,)  # For speed, as above.
    if total == 0:
        return (0,) * len(weights)
    if total < 0:
        return tuple(-part for part in apportion(-total, weights))
    ratios = [weight.as_integer_ratio() for weight in weights]
    common = lcm(*[denominator for _, denominator in ratios])
    scaled = [numerator * (common // denominator) for numerator, denominator in ratios]
    whole = sum(scaled)
    if whole <= 0 or min(scaled) < 0:
        raise BooksError(f"{total} cannot be divided over the weights {list(weights)}")
    shares = [total * weight // whole for weight in scaled]
    left = total - sum(shares)
    if left:
        rests = [total * weight % whole for weight in scaled]
        by_rest = sorted(range(len(rests)), key=rests.__getitem__, reverse=True)
        for index in by_rest[:left]:
            shares[index] += 1
    return tuple(shares)
