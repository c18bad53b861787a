"""What if: the same usage on the customers' own keys, served by another model, or at other costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from fractions import Fraction

from pricing.costs.cost_book import CostBook, ModelCost, Prices, RateCost
from pricing.costs.token_rates import TokenRates
from pricing.usage.items import Item, KeyOwner, Tokens


def on_own_keys(items: Iterable[Item]) -> tuple[Item, ...]:
    """The usage as if every customer had brought its own keys to the providers of tokens."""
    return tuple(
        [item._replace(key_owner=KeyOwner.CUSTOMER) if isinstance(item, Tokens) else item for item in items]
    )


def swapped(items: Iterable[Item], swaps: Mapping[str, str]) -> tuple[Item, ...]:
    """The usage with models served by others in their place; what was asked for stays.

    `swaps` names what serves instead, by what served.
    """
    return tuple([_swap(item, swaps) if isinstance(item, Tokens) else item for item in items])


def _swap(item: Tokens, swaps: Mapping[str, str]) -> Tokens:
    served_by = item.served_by or item.model
    return item._replace(served_by=swaps[served_by]) if served_by in swaps else item


class ScaledCosts(CostBook):
    """A cost book in which everything costs so many times as much: list prices and ours."""

    def __init__(self, book: CostBook, factor: Fraction) -> None:
        """Takes 0 or more."""
        self.version = f"{book.version} x {factor}"
        self.revision = book.revision
        self.effective_from = book.effective_from
        self.document = book.document
        self.resources = {name: _scaled_rate(rate, factor) for name, rate in book.resources.items()}
        self.units = {name: _scaled_rate(rate, factor) for name, rate in book.units.items()}
        self.unknown = book.unknown.times(factor) if book.unknown is not None else None
        self._book = book
        self._factor = factor
        self._scaled: dict[tuple[str, str], ModelCost | None] = {}

    def model(self, model: str, service_tier: str) -> ModelCost | None:
        """What a model costs at a tier of service; None if the book does not know it."""
        key = (model, service_tier)
        if key not in self._scaled:
            found = self._book.model(model, service_tier)
            self._scaled[key] = (
                None if found is None else found._replace(listed=_ScaledPrices(found.listed, self._factor))
            )
        return self._scaled[key]


class _ScaledPrices:
    """List prices of a model, times a factor."""

    def __init__(self, prices: Prices, factor: Fraction) -> None:
        self._prices = prices
        self._factor = factor
        self._known: dict[int, tuple[TokenRates, TokenRates]] = {}
        """By the identity of the rates, which are stored with theirs."""

    def at(self, instant: datetime) -> TokenRates:
        rates = self._prices.at(instant)
        if id(rates) not in self._known:
            self._known[id(rates)] = (rates, rates.times(self._factor))
        return self._known[id(rates)][1]


def _scaled_rate(rate: RateCost, factor: Fraction) -> RateCost:
    return rate._replace(
        numerator=rate.numerator * factor.numerator, denominator=rate.denominator * factor.denominator
    )
