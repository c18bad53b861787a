"""Exact arithmetic of the books: one rounding a charge, and shares that add up.

Exact amounts are `Ratio`s or `Fraction`s of micro-credits or nano-dollars; what is booked is an integer. No
float and no `Decimal` takes part.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import gcd, lcm

from ledger.books.model.amounts import NO_AMOUNT, Ratio
from ledger.books.model.priced import Rounding

MICROS_PER_CREDIT = 1_000_000

MAX_AMOUNT = 2**62 - 1
"""The most that one amount, and one customer's credits issued or owed, may amount to, in micro-credits or
nano-dollars: the sum of two of them still fits the 64-bit columns of the journal."""

HALF_EVEN = Rounding()


class BooksError(Exception):
    """A fault of the caller or of these rules, never something that a customer has done."""


def round_exact(amount: Fraction, rounding: Rounding = HALF_EVEN) -> int:
    """Rounds an exact amount as `round_ratio` does."""
    return round_ratio(amount.as_integer_ratio(), rounding)


def round_ratio(amount: Ratio, rounding: Rounding = HALF_EVEN) -> int:
    """Rounds an exact amount to a whole number of quanta; the result is in the amount's own unit.

    Negative amounts round as positive ones do, away from or towards zero. Raises `BooksError` for a
    mode that is not `half_even`, `half_up`, `up` or `down`.
    """
    numerator, denominator = amount
    quantum, mode = rounding
    if numerator < 0:
        return -round_ratio((-numerator, denominator), rounding)
    denominator *= quantum
    quotient, rest = divmod(numerator, denominator)
    if not rest:
        return quotient * quantum
    above_half = 2 * rest - denominator
    match mode:
        case "half_even":
            goes_up = above_half > 0 or (above_half == 0 and quotient % 2 == 1)
        case "half_up":
            goes_up = above_half >= 0
        case "up" | "down":
            goes_up = mode == "up"
        case _:
            raise BooksError(f"no such rounding mode: {mode!r}; half_even, half_up, up or down")
    return (quotient + goes_up) * quantum


def over_one(amounts: Sequence[Ratio]) -> tuple[list[int], int]:
    """The numerators of exact amounts over one denominator, and that."""
    if len(amounts) == 1:
        return [amounts[0][0]], amounts[0][1]
    if len({denominator for _, denominator in amounts}) > 1:
        amounts = [_reduced(*amount) for amount in amounts]  # What they have in common would grow with each.
    common = lcm(*[denominator for _, denominator in amounts])
    return [numerator * (common // denominator) for numerator, denominator in amounts], common


def exact_sum(amounts: Sequence[Ratio], start: Ratio = NO_AMOUNT) -> Ratio:
    """Adds exact amounts: reduced, once and not at each step."""
    total, denominator = start
    for numerator, of_amount in amounts:
        if of_amount == denominator:
            total += numerator
        else:
            shared = gcd(numerator, of_amount)  # Reduced first: what all have in common would grow with each.
            of_least = of_amount // shared
            common = lcm(of_least, denominator)
            total = total * (common // denominator) + numerator // shared * (common // of_least)
            denominator = common
    shared = gcd(total, denominator)
    return total // shared, denominator // shared


def _reduced(numerator: int, denominator: int) -> Ratio:
    common = gcd(numerator, denominator)
    return numerator // common, denominator // common


def share(value: int, part: int, whole: int) -> int:
    """The value that goes with `part` of `whole`: rounded down, and all of it with the last part.

    All three are at least 0, `part` at most `whole`, `whole` above 0.
    """
    return value * part // whole


def nearest(total: int, amounts: Sequence[Ratio]) -> tuple[int, ...]:
    """Whole numbers near exact amounts of either sign, that add up to `total`; 0 stays 0.

    `total` is their sum, rounded: what it lacks goes by largest remainder, ties to the earlier amount.
    Raises `BooksError` where there is something to divide and no amount.
    """
    numerators, denominator = over_one(amounts)
    shares = [numerator // denominator for numerator in numerators]
    some = [index for index, numerator in enumerate(numerators) if numerator]
    left = total - sum(shares)
    if left and not some:
        raise BooksError(f"{total} cannot be divided over no amounts")
    if left:
        each, more = divmod(left, len(some))
        by_rest = sorted(some, key=lambda index: numerators[index] % denominator, reverse=True)
        for place, index in enumerate(by_rest):
            shares[index] += each + (place < more)
    return tuple(shares)


def apportion_ratios(total: int, weights: Sequence[Ratio]) -> tuple[int, ...]:
    """Divides a whole number over exact weights, as `apportion` does."""
    if len(weights) == 1 and weights[0][0] > 0:
        return (total,)  # For speed: most entries have one line, and what follows amounts to the same.
    return apportion(total, over_one(weights)[0])


def apportion(total: int, weights: Sequence[int]) -> tuple[int, ...]:
    """Divides a whole number over weights by largest remainder; ties go to the earlier weight.

    The shares add up to `total` exactly. A negative total is divided as its magnitude. Raises
    `BooksError` where there is something to divide and nothing that weighs.
    """
    if len(weights) == 1 and weights[0] > 0:
        return (total,)  # For speed, as above.
    if total == 0:
        return (0,) * len(weights)
    if total < 0:
        return tuple([-part for part in apportion(-total, weights)])
    whole = sum(weights)
    if whole <= 0 or min(weights) < 0:
        raise BooksError(f"{total} cannot be divided over the weights {list(weights)}")
    shares = [total * weight // whole for weight in weights]
    left = total - sum(shares)
    if left:
        rests = [total * weight % whole for weight in weights]
        by_rest = sorted(range(len(rests)), key=rests.__getitem__, reverse=True)
        for index in by_rest[:left]:
            shares[index] += 1
    return tuple(shares)
