"""What one item costs us: at list prices, at ours for what was asked, at ours for what was served.

Amounts are pairs (numerator, denominator) of nano-dollars: exact, and cheaper than fractions. What is posted
is the cost of what was served, or 0 on the customer's own key. Where that cannot be known:

1. `unknown_cost`, if the book names it (tokens only).
2. else the cost of what was asked for, if that is known.
3. else 0.

The item is then uncosted. That is between us and our books: no price waits for it.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from pricing.costs.cost_book import CostBook, RateCost
from pricing.exact import NOTHING, Pair
from pricing.usage.items import CACHE, OURS, Compute, Outcome, Tokens, Units


class Costs(NamedTuple):
    """The costs of one item; None: unknown."""

    listed: Pair | None
    asked: Pair | None
    served: Pair | None
    posted: Pair
    known: bool
    """`posted` is what the item costs; else the item is uncosted."""
    source: str
    """Where `posted` comes from: catalog, models, compute or units of the book; free (nothing is paid for
    it), cache, customer_key; stand_in: of the catalog, where it has no price of the tier, or of writes for an
    hour, and another one's was taken; unknown_cost, asked or none where the true cost is unknown."""
    lever: str
    """What saved the difference between asked and served; empty if they are the same."""

    @property
    def serving(self) -> Pair | None:
        """What a price takes the serving to cost: as asked for, where what served has no cost.

        None where what was asked for has none, whatever served it. So the names that a caller may report are
        answered alike, but for the price of those that the book knows.
        """
        return self.asked if self.asked is None or self.served is None else self.served


make = tuple.__new__
"""Makes a named tuple of all its fields in order: to call its class takes three times as long."""

CUSTOMER_KEY = "customer_key"
"""The source of costs that the customer pays, on its own key."""
_NO_COSTS = (None, None, "none")
"""Of a model that the book does not know."""
_FREE = Costs(NOTHING, NOTHING, NOTHING, NOTHING, True, "free", "")


# These four are called alike, once or twice an item: with the item, the cost book, and when it happened.


def tokens_costs(item: Tokens, book: CostBook, instant: datetime) -> Costs:
    """What tokens cost by a book; on the customer's own key at list prices, and none is posted."""
    ours = item.key_owner is OURS
    model = book.model(item.model, item.service_tier)
    listed, asked, source = model.costs(item, instant, ours=ours) if model else _NO_COSTS
    served, lever = asked, ""
    if item.served_by is not None and item.served_by != item.model:
        if item.served_by == CACHE:
            served, source, lever = NOTHING, "cache", "caching"
        else:
            other = book.model(item.served_by, item.service_tier)
            _, served, source = other.costs(item, instant, ours=ours) if other else _NO_COSTS
            lever = (other.lever if other else None) or "routing"
    if not ours:
        return make(Costs, (listed, asked, served, NOTHING, True, CUSTOMER_KEY, lever))
    if served is not None:
        return make(Costs, (listed, asked, served, served, True, source, lever))
    unknown = book.unknown.amount(item) if book.unknown else None
    if unknown is not None:
        return make(Costs, (listed, asked, None, unknown, False, "unknown_cost", lever))
    return _unknown(listed, asked, lever)


def compute_costs(item: Compute, book: CostBook, _instant: datetime) -> Costs:
    """What machine time costs by a book; its state makes no difference."""
    quantity = item.duration_nanos * item.count_nanos
    resource = book.resources.get(item.resource)
    asked = _times(quantity, resource)
    if item.served_by is None or item.served_by == item.resource:
        return _of_rate(asked, resource)
    if item.served_by == CACHE:
        return make(Costs, (asked, asked, NOTHING, NOTHING, True, "cache", "caching"))
    other = book.resources.get(item.served_by)
    served = _times(quantity, other)
    lever = (other.lever if other else None) or "routing"
    if other is None or served is None:
        return _unknown(asked, asked, lever)
    return make(Costs, (asked, asked, served, served, True, other.source, lever))


def units_costs(item: Units, book: CostBook, _instant: datetime) -> Costs:
    """What units cost by a book."""
    rate = book.units.get(item.meter)
    return _of_rate(_times(item.quantity_nanos, rate), rate)


def outcome_costs(_item: Outcome, _book: CostBook, _instant: datetime) -> Costs:
    """What an outcome costs: nothing."""
    return _FREE


def _times(quantity: int, rate: RateCost | None) -> Pair | None:
    return None if rate is None else (quantity * rate.numerator, rate.denominator)


def _of_rate(cost: Pair | None, rate: RateCost | None) -> Costs:
    if cost is None or rate is None:
        return _unknown(None, None, "")
    return make(Costs, (cost, cost, cost, cost, True, rate.source, ""))


def _unknown(listed: Pair | None, asked: Pair | None, lever: str) -> Costs:
    source = "none" if asked is None else "asked"
    return make(Costs, (listed, asked, None, asked or NOTHING, False, source, lever))
