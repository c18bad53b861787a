"""Pools: lots that pay at a ratio of their own, for lines that may draw on them.

A pool's lots have the scope `pool:<name>`; they pay for nothing else, and no hold pins them. A line of usage
that may draw on a pool costs so many of its credits while they last; what they do not cover of the line is
charged at the line's other price. The lines draw in their order, and under every policy of over-capture: a
pool's credits are the line's price, not more than its hold.

What a pool gives is rounded to micro-credits, half even, whatever the card's quantum: a lot may hold any
number of them, and is used up. What rounding leaves over is carried to the customer's next draw on the pool
(`tallies`), as far as its credits go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import NamedTuple

from ledger.books.burn_down import Source, free_sources
from ledger.books.model.amounts import ZERO, Ratio
from ledger.books.model.lots import Lot
from ledger.books.model.priced import Priced, PricedLine
from ledger.books.model.wallets import NO_TALLIES, NO_TALLY, Tally
from ledger.books.rounding import apportion, over_one
from ledger.books.tallies import beside, carry, due_micros, pool_key


class PoolDraws(NamedTuple):
    """What a usage's lines draw from pools."""

    sources: tuple[Source, ...] = ()
    micros: tuple[int, ...] = ()
    """Of each line; empty where no line may draw on a pool."""
    carried: Mapping[str, tuple[Tally, Ratio]] = MappingProxyType({})
    """The tallies of the pools, as these draws leave them, and how much more they carry."""
    total_micros: int = 0
    """What all lines draw."""


NO_DRAWS = PoolDraws()


class _Pool(NamedTuple):
    """What one pool gives: to each of its lines, exact and in whole micro-credits."""

    sources: list[Source]
    covered: list[Fraction]
    micros: tuple[int, ...]
    carried: tuple[Tally, Ratio]


def draw_on_pools(
    lots: Iterable[Lot], priced: Priced | None, tallies: Mapping[str, Tally] = NO_TALLIES
) -> tuple[Priced | None, PoolDraws]:
    """The usage at what pools leave of its price, and what they pay.

    `lots` stand in burn order; `tallies` are the customer's.
    """
    by_pool: dict[str, list[int]] = {}
    for n, line in enumerate(priced.lines if priced is not None else ()):
        if line.pool is not None:
            by_pool.setdefault(line.pool.pool, []).append(n)
    if priced is None or not by_pool:
        return priced, NO_DRAWS
    free = list(free_sources(lots))
    lines, micros, sources, carried = list(priced.lines), [0] * len(priced.lines), [], {}
    for name, numbers in by_pool.items():
        key = pool_key(name)
        own = [source for source in free if source[0].scope == key]
        needs = [_need(lines[n]) for n in numbers]
        pool = _draw(own, needs, tallies.get(key, NO_TALLY))
        sources += pool.sources
        carried[key] = pool.carried
        for n, need, covered, part in zip(numbers, needs, pool.covered, pool.micros, strict=True):
            micros[n] = part
            lines[n] = _rest(lines[n], need, covered)
    return priced._replace(lines=tuple(lines)), PoolDraws(tuple(sources), tuple(micros), carried, sum(micros))


def _need(line: PricedLine) -> Fraction:
    return line.pool.exact_micros if line.pool is not None else ZERO


def _rest(line: PricedLine, need: Fraction, covered: Fraction) -> PricedLine:
    """A line at the price of what the pool has not covered of it."""
    uncovered = 1 - covered / need if need else ZERO
    return line._replace(exact_micros=(Fraction(*line.exact_micros) * uncovered).as_integer_ratio())


def _draw(sources: Sequence[Source], needs: Sequence[Fraction], tally: Tally) -> _Pool:
    """Covers needs in their order, as far as the sources go."""
    # What is there stands for as much, less what is due of earlier draws, or with what they drew ahead.
    left = sum(micros for _, micros, _ in sources) + tally.billed_micros - tally.exact_micros
    covered = []
    for need in needs:
        part = min(need, max(ZERO, left))
        covered.append(part)
        left -= part
    weights, denominator = over_one([part.as_integer_ratio() for part in covered])
    usage = beside(tally, (sum(weights), denominator))
    drawn = due_micros(usage)
    return _Pool(_take(sources, drawn), covered, apportion(drawn, weights), carry(usage, drawn))


def _take(sources: Sequence[Source], micros: int) -> list[Source]:
    taken = []
    for lot, free, held in sources:
        part = min(free, micros)
        if part:
            taken.append((lot, part, held))
            micros -= part
    return taken
