"""Exact amounts as pairs (numerator, denominator): cheaper than fractions where none is reduced."""

from __future__ import annotations

Pair = tuple[int, int]
NOTHING: Pair = (0, 1)


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
