"""Prices made of other prices: added up, multiplied, rounded up to blocks, counted in a unit of their own.

A price that may have no answer is asked before anything of the past is changed: `Guarded` stands around all
others, so that what is inside it always has one.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

from pricing.costing import Costs
from pricing.items import BILLION, Tokens, Units
from pricing.memory import Past
from pricing.notes import Measured
from pricing.pairs import NOTHING, Pair, add, times
from pricing.tariffs import MICROS, Tariff


class Guarded(NamedTuple):
    """Asks whether a price can be told at all."""

    tariff: Tariff
    needs_asked: bool
    needs_served: bool
    rated: frozenset[str] | None
    """Quantities of tokens that have a rate; None: all."""

    def charge(self, item: Any, costs: Costs, past: Past) -> Pair | None:
        """Return the price; None if a cost or a rate that it needs is unknown."""
        if (self.needs_asked and costs.asked is None) or (self.needs_served and costs.served is None):
            return None
        if self.rated is not None:
            for key, quantity in item.quantities.items():
                if quantity and key not in self.rated:
                    return None
        return self.tariff.charge(item, costs, past)


class Sum(NamedTuple):
    """Prices that are added up."""

    tariffs: tuple[Tariff, ...]

    def charge(self, item: Any, costs: Costs, past: Past) -> Pair | None:
        """Return the sum."""
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
        """Return the product."""
        price = self.tariff.charge(item, costs, past)
        return None if price is None else times(price, self.factor)


class Blocks(NamedTuple):
    """The price of quantities rounded up to whole blocks, item by item."""

    tariff: Tariff
    block_nanos: int

    def charge(self, item: Tokens | Units, costs: Costs, past: Past) -> Pair | None:
        """Return the price of the blocks."""
        return self.tariff.charge(_in_blocks(item, self.block_nanos), costs, past)


class Measure(NamedTuple):
    """Usage counted in units of a name; a price for each."""

    units: Tariff
    """Tells units where it would tell credits."""
    unit: str
    rate: Pair
    """Of one unit, in credits."""

    def charge(self, item: Any, costs: Costs, past: Past) -> Pair | None:
        """Return the price; how much was measured is noted."""
        counted = self.units.charge(item, costs, past)
        if counted is None:
            return None
        past.measured = Measured(self.unit, Fraction(counted[0], counted[1] * MICROS))
        return times(counted, self.rate)


def _in_blocks(item: Tokens | Units, block_nanos: int) -> Tokens | Units:
    if isinstance(item, Units):
        return item._replace(quantity_nanos=_up(item.quantity_nanos, block_nanos))
    block = block_nanos // BILLION
    blocks = {key: _up(quantity, block) for key, quantity in item.quantities.items()}
    return item._replace(quantities=blocks, requests=_up(item.requests, block))


def _up(quantity: int, block: int) -> int:
    return -(-quantity // block) * block
