"""Tallies: what rounding has left over of a customer's usage, by what it was charged under.

A charge is a whole number of the card's quanta, and what its usage comes to exactly is seldom one. If each
charge were rounded by itself, a thousand calls of less than half a quantum would cost nothing. So a running
sum is rounded: a charge is round(exact so far) - what was billed so far, over all usage of one customer under
one card, whatever reservations and charges it came in. A pool's draws have tallies of their own.

What is carried from one charge to the next is less than a quantum, but for what reversals leave: these take
both the exact price and the bill of what they undo off again. It is collected with the next usage that costs
something, and only where credits cover it: by itself it makes no usage refused or uncollected.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from ledger.books.exact import HALF_EVEN, round_exact
from ledger.books.making import make
from ledger.books.model import NO_TALLY, POOL_SCOPE, Rounding, Tally

MAX_TALLIES = 32
"""Cards and pools of which one customer's remainders are carried; the one longest unused goes first. A
customer has one card at a time, and what is forgotten is less than a quantum."""

MAX_DENOMINATOR = 10**12
"""Of what is carried, in micro-credits: cards of many denominators would make it grow without end."""


def pool_key(pool: str) -> str:
    """Give the key of a pool's tally; a card's is its name, which has no colon."""
    return POOL_SCOPE + pool


def due_micros(tally: Tally, exact_micros: Fraction, rounding: Rounding = HALF_EVEN) -> int:
    """Give what usage of an exact price amounts to with what is carried: never less than 0.

    Usage that costs nothing collects nothing: it is free on its card, whatever was left over before.
    """
    if not exact_micros:
        return 0
    return max(0, round_exact(tally.exact_micros + exact_micros, rounding) - tally.billed_micros)


def carry(tally: Tally, exact_micros: Fraction, billed_micros: int, quantum_micros: int = 1) -> Tally:
    """Add usage to a tally, and what was billed of it.

    Multiples of two quanta are taken off both sums: no rounding is another without them.
    """
    exact = _bounded(tally.exact_micros + exact_micros)
    billed = tally.billed_micros + billed_micros
    whole = billed - billed % (2 * quantum_micros)
    return make(Tally, (exact - whole, billed - whole))


def uncarry(tally: Tally, growth_micros: Fraction) -> Tally:
    """Take off again what usage that is undone has added to what is carried."""
    return tally._replace(exact_micros=_bounded(tally.exact_micros - growth_micros))


def growth_micros(before: Tally, after: Tally) -> Fraction:
    """Give how much more is carried after than before."""
    return (after.exact_micros - after.billed_micros) - (before.exact_micros - before.billed_micros)


def replaced(tallies: Mapping[str, Tally], changed: Mapping[str, Tally]) -> Mapping[str, Tally]:
    """Give the tallies of a wallet with some changed, the longest unused first; empty ones are left out."""
    if not changed:
        return tallies
    merged = {key: tally for key, tally in tallies.items() if key not in changed}
    merged |= {key: tally for key, tally in changed.items() if tally != NO_TALLY}
    for key in list(merged)[:-MAX_TALLIES]:
        del merged[key]
    return merged


def _bounded(exact_micros: Fraction) -> Fraction:
    if exact_micros.denominator <= MAX_DENOMINATOR:
        return exact_micros
    return Fraction(round_exact(exact_micros * MAX_DENOMINATOR), MAX_DENOMINATOR)
