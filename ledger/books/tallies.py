"""Tallies: what rounding has left over of a customer's usage, by what it was charged under.

A charge is a whole number of the card's quanta, and what its usage amounts to exactly is seldom one. If each
charge were rounded by itself, a thousand calls of less than half a quantum would cost nothing. So a running
sum is rounded: a charge is round(exact so far) - what was billed so far, over all usage of one customer under
one card, whatever reservations and charges it came in. A pool's draws have tallies of their own.

What is carried from one charge to the next is less than a quantum, but for what reversals leave: these take
both the exact price and the bill of what they undo off again. It is collected with the next usage that costs
something. Where credits do not cover it, one quantum more may wait: so it makes no usage refused or
uncollected that its own price does not, unless that has been put off before.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import NamedTuple

from ledger.books.making import make
from ledger.books.model.amounts import NO_AMOUNT, Ratio
from ledger.books.model.lots import POOL_SCOPE
from ledger.books.model.priced import Rounding
from ledger.books.model.wallets import NO_TALLY, Tally
from ledger.books.rounding import HALF_EVEN, exact_sum, round_ratio

MAX_TALLIES = 32
"""Cards and pools of which one customer's remainders are carried; the one longest unused goes first. A
customer has one card at a time, and what is forgotten is less than a quantum."""

MAX_DENOMINATOR = 10**12
"""Of what is carried, in micro-credits: cards of many denominators would make it grow without end."""


def pool_key(pool: str) -> str:
    """The key of a pool's tally; a card's is its name, which has no colon."""
    return POOL_SCOPE + pool


class TalliedUsage(NamedTuple):
    """Usage of an exact price, beside what is carried."""

    exact: Ratio
    """Micro-credits."""
    before: Tally
    total: Ratio
    """Both, reduced: the running sum with it."""


NO_USAGE = TalliedUsage(NO_AMOUNT, NO_TALLY, NO_AMOUNT)


def beside(tally: Tally, exact: Ratio) -> TalliedUsage:
    """Puts usage (micro-credits) beside what is carried."""
    return make(TalliedUsage, (exact, tally, exact_sum((exact,), tally.exact)))


def due_micros(usage: TalliedUsage, rounding: Rounding = HALF_EVEN) -> int:
    """What usage amounts to with what is carried: never less than 0.

    Usage that costs nothing collects nothing: it is free on its card, whatever was left over before.
    """
    if not usage.exact[0]:
        return 0
    return max(0, round_ratio(usage.total, rounding) - usage.before.billed_micros)


def carry(usage: TalliedUsage, billed_micros: int, quantum_micros: int = 1) -> tuple[Tally, Ratio]:
    """Adds usage and what was billed of it to a tally.

    Give that, and how much more is carried than before (micro-credits, reduced).

    Multiples of two quanta are taken off both sums: no rounding is another without them.
    """
    _, before, (total, of_total) = usage
    billed = before.billed_micros + billed_micros
    whole = billed - billed % (2 * quantum_micros)
    more = exact_sum((usage.exact,), (-billed_micros, 1))
    if of_total > MAX_DENOMINATOR:
        rounded = _bounded((total, of_total))
        more = exact_sum((rounded, (-total, of_total)), more)
        total, of_total = rounded
    return make(Tally, ((total - whole * of_total, of_total), billed - whole)), more


def uncarry(tally: Tally, more: Ratio) -> tuple[Tally, Ratio]:
    """Takes off again what usage that is undone has added to what is carried; gives what `carry` does."""
    numerator, denominator = tally.exact
    exact = _bounded(exact_sum([(-more[0], more[1])], tally.exact))
    return tally._replace(exact=exact), exact_sum([(-numerator, denominator)], exact)


def replaced(tallies: Mapping[str, Tally], changed: Mapping[str, Tally]) -> Mapping[str, Tally]:
    """The tallies of a wallet with some changed, the longest unused first.

    Empty ones are left out, until there are as many as may be: a wallet that has forgotten some shows it.
    """
    merged = dict(tallies)
    for key, tally in changed.items():
        merged.pop(key, None)
        merged[key] = tally
    if len(merged) >= MAX_TALLIES:
        return dict(islice(merged.items(), len(merged) - MAX_TALLIES, None))
    for key, tally in changed.items():
        if tally == NO_TALLY:
            del merged[key]
    return merged


def _bounded(exact: Ratio) -> Ratio:
    numerator, denominator = exact
    if denominator <= MAX_DENOMINATOR:
        return exact
    return exact_sum((), (round_ratio((numerator * MAX_DENOMINATOR, denominator)), MAX_DENOMINATOR))
