"""Prices made of other prices: added up, multiplied, rounded up to blocks, counted in a unit of their own.

A price that may have no answer is asked before anything of the past is changed: `Guarded` and `InRun` stand
around all others, so that what is inside them always has one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from fractions import Fraction
from typing import Any, NamedTuple

from pricing.costs.item_cost import Costs
from pricing.exact import BILLION, NOTHING, Pair, add, times
from pricing.rating.meters import Machines, Meter
from pricing.rating.runs import is_full
from pricing.rating.state import Measured, Past, PoolPart
from pricing.rating.tariffs import MICROS, Tariff
from pricing.usage.items import Compute, Outcome, Result, Tokens, Units


class Guarded(NamedTuple):
    """Asks whether there is a price at all."""

    tariff: Tariff
    follows_cost: bool
    rated: frozenset[str] | None
    """Quantities of tokens that have a rate; None: all."""
    needs_subject: bool

    def charge(self, item: Any, costs: Costs, past: Past) -> Pair | None:
        """The price; None if the cost of what was asked for, or a rate, is needed and unknown."""
        if self.follows_cost and costs.asked is None:
            return None
        if self.needs_subject and not item.subject:
            return None
        if self.rated is not None:
            for key, quantity in item.quantities.items():
                if quantity and key not in self.rated:
                    return None
        return self.tariff.charge(item, costs, past)


class InRun(NamedTuple):
    """Asks whether the run of a part can keep it."""

    tariff: Tariff
    meters: tuple[Meter, ...]
    """All that the price has."""
    machines: Machines

    def charge(self, item: Compute, costs: Costs, past: Past) -> Pair | None:
        """The price; None if the run keeps as much as it may."""
        if is_full(item, self.meters, self.machines, past):
            return None
        return self.tariff.charge(item, costs, past)


class Sum(NamedTuple):
    """Prices that are added up."""

    tariffs: tuple[Tariff, ...]

    def charge(self, item: Any, costs: Costs, past: Past) -> Pair | None:
        """The sum."""
        total = NOTHING
        for tariff in self.tariffs:
            price = tariff.charge(item, costs, past)
            if price is None:
                return None
            total = add(total, price)
        return total


class Multiplied(NamedTuple):
    """A price, multiplied."""

    tariff: Tariff
    factor: Pair

    def charge(self, item: Any, costs: Costs, past: Past) -> Pair | None:
        """The product."""
        outer = past.factor
        past.factor = times(outer, self.factor)
        price = self.tariff.charge(item, costs, past)
        past.factor = outer
        past.scale_pool(self.factor)
        return None if price is None else times(price, self.factor)


class Blocks(NamedTuple):
    """The price of quantities rounded up to whole blocks, item by item."""

    tariff: Tariff
    block_nanos: int

    def charge(self, item: Tokens | Units, costs: Costs, past: Past) -> Pair | None:
        """The price of the blocks."""
        return self.tariff.charge(_in_blocks(item, self.block_nanos), costs, past)


class Measure(NamedTuple):
    """Usage counted in units of a name; a price for each."""

    units: Tariff
    """Tells units where it would tell credits."""
    unit: str
    rate: Pair
    """Of one unit, in credits."""

    def charge(self, item: Any, costs: Costs, past: Past) -> Pair | None:
        """The price; how much was measured is noted."""
        outer = past.factor
        past.factor = times(outer, self.rate)
        counted = self.units.charge(item, costs, past)
        past.factor = outer
        if counted is None:
            return None
        past.measured = Measured(self.unit, Fraction(counted[0], counted[1] * MICROS))
        return times(counted, self.rate)


class Pooled(NamedTuple):
    """A price that lots of a pool pay at a ratio while they last."""

    then: Tariff
    """What it costs where nothing of the pool is left."""
    pool: str
    ratio: Pair
    """Credits of the pool for a measured unit, or for a credit of `then`."""

    def charge(self, item: Any, costs: Costs, past: Past) -> Pair | None:
        """What it costs without the pool; what it costs in lots of that is noted."""
        price = self.then.charge(item, costs, past)
        if price is not None:
            past.pool = PoolPart(self.pool, times(_measured(past) or price, self.ratio))
        return price


class Once(NamedTuple):
    """The price of outcomes that are charged once for each subject."""

    tariff: Tariff
    prefix: str
    """Of the keys of its marks."""
    taking: frozenset[Result]
    """The results that cost something."""

    def charge(self, item: Outcome, costs: Costs, past: Past) -> Pair | None:
        """The price of one outcome, or nothing where its subject was charged before."""
        if item.result not in self.taking or not item.count:
            return self.tariff.charge(item, costs, past)
        if not past.estimate:
            key = self.prefix + item.subject
            mark = past.state(key)
            if mark:
                return NOTHING
            mark["taken"] = 1
            past.note(key, mark)
        return self.tariff.charge(replace(item, count=1), costs, past)

    def keys(self, item: Outcome, _instant: datetime, _now: datetime) -> Iterable[str]:
        """The key of the mark of an outcome's subject."""
        return (self.prefix + item.subject,)


def _measured(past: Past) -> Pair | None:
    if past.measured is None:
        return None
    numerator, denominator = past.measured.quantity.as_integer_ratio()
    return numerator * MICROS, denominator


def _in_blocks(item: Tokens | Units, block_nanos: int) -> Tokens | Units:
    if isinstance(item, Units):
        return item._replace(quantity_nanos=_up(item.quantity_nanos, block_nanos))
    block = block_nanos // BILLION
    blocks = {key: _up(quantity, block) for key, quantity in item.quantities.items()}
    return item._replace(quantities=blocks, requests=_up(item.requests, block))


def _up(quantity: int, block: int) -> int:
    return -(-quantity // block) * block
