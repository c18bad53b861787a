"""Prices by rates and by cost, compiled: integers in, integers out.

Amounts are pairs (numerator, denominator) of micro-credits. Parts of `plus` that say no more are put together
when a card is compiled: rates of tokens are summed, hourly rates without a minimum too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple, Protocol

from pricing.cards.cost_plus_document import Shares, cost_plus_shares, fee_shares
from pricing.cards.price_document import ONLY, PriceDoc
from pricing.costs.item_cost import Costs
from pricing.costs.token_rates import TokenRates, token_rates, with_fallbacks
from pricing.exact import BILLION, NOTHING, Pair, add, times
from pricing.rating.meters import Machines, Meter
from pricing.rating.runs import charge
from pricing.rating.state import Past
from pricing.usage.items import OURS, RATED_QUANTITIES, Compute, Outcome, Result, Tokens, Units

MICROS = 10**6
"""Micro-credits of a credit."""
_HOUR_NANOS = 3600 * BILLION
_COMPUTE = _HOUR_NANOS * BILLION * BILLION // MICROS
"""Of duration x count x hourly rate, all in billionths."""


class Tariff(Protocol):
    """The price of usage of one kind."""

    def charge(self, item: Any, costs: Costs, past: Past) -> Pair | None:
        """The price of an item of the kind; None if a rate or a cost that it needs is unknown."""


class OnCost(NamedTuple):
    """What is charged of nano-dollars of cost: where we pay the provider, and where the customer does."""

    asked: tuple[Pair, Pair] | None
    """Of the cost of what was asked for; None: nothing."""
    served: tuple[Pair, Pair] | None
    """Of the cost of what was served."""

    def charge(self, costs: Costs, customers_key: bool) -> Pair | None:
        """The price of costs, which are list prices on the customer's own key.

        None if what was asked for has none.
        """
        asked = costs.asked
        if asked is None:
            return None
        price = NOTHING
        if self.asked is not None:
            price = times(asked, self.asked[customers_key])
        if self.served is not None and (serving := costs.serving) is not None:
            price = add(price, times(serving, self.served[customers_key]))
        return price


class TokensTariff(NamedTuple):
    """The price of tokens."""

    rates: TokenRates | None
    on_cost: OnCost | None

    def charge(self, item: Tokens, costs: Costs, _past: Past) -> Pair | None:
        """The price; None if a quantity has no rate, or the cost that it builds on is unknown."""
        if self.on_cost is None:
            return NOTHING if self.rates is None else self.rates.amount(item)
        following = self.on_cost.charge(costs, item.key_owner is not OURS)
        if self.rates is None or following is None:
            return following
        rated = self.rates.amount(item)
        return None if rated is None else add(rated, following)


class ComputeTariff(NamedTuple):
    """The price of machine time."""

    rate_nanos: int
    """Of the hourly rates that bill the seconds alone, per hour."""
    meters: tuple[Meter, ...]
    machines: Machines
    """Those of the card."""
    on_cost: OnCost | None

    def charge(self, item: Compute, costs: Costs, past: Past) -> Pair | None:
        """The price; None if the cost that it builds on is unknown."""
        following = NOTHING if self.on_cost is None else self.on_cost.charge(costs, customers_key=False)
        if following is None:
            return None
        total = self.rate_nanos * item.duration_nanos * item.count_nanos
        if self.meters:
            total += charge(item, self.meters, self.machines, past)
        price = (total, _COMPUTE)
        return price if self.on_cost is None else add(price, following)


class UnitsTariff(NamedTuple):
    """The price of units."""

    rate: Pair
    """Micro-credits of a billionth of a unit."""
    on_cost: OnCost | None

    def charge(self, item: Units, costs: Costs, _past: Past) -> Pair | None:
        """The price; None if the cost that it builds on is unknown."""
        price = (self.rate[0] * item.quantity_nanos, self.rate[1])
        if self.on_cost is None:
            return price
        following = self.on_cost.charge(costs, customers_key=False)
        return None if following is None else add(price, following)


class OutcomeTariff(NamedTuple):
    """The price of outcomes."""

    each_nanos: int
    """Credits for one, whatever the result."""
    rates: Mapping[Result, int]
    """Credits by result, in billionths."""

    def charge(self, item: Outcome, _costs: Costs, _past: Past) -> Pair:
        """The price."""
        return (self.each_nanos + self.rates[item.result]) * item.count, BILLION // MICROS


def compile_rates(
    parts: Sequence[PriceDoc],
    kind: str,
    credit_price_nanousd: int,
    meters: Sequence[Meter],
    machines: Machines,
    *,
    lenient: bool,
) -> Tariff:
    """Compiles schemes of rates and of cost, added up, for a kind of usage.

    `meters` are those of its hourly rates with a past, `machines` those of the card. `lenient`: another price
    takes what has no rate here.
    """
    on_cost = _on_cost(parts, credit_price_nanousd)
    match kind:
        case "tokens":
            return TokensTariff(_token_rates(parts, lenient=lenient or on_cost is not None), on_cost)
        case "compute":
            linear = sum(part.per_hour or 0 for part in parts if not part.has_run)
            return ComputeTariff(linear, tuple(meters), machines, on_cost)
        case "units":
            each = sum((part.each or {}).get(ONLY, 0) for part in parts)
            per_million = sum((part.per_million or {}).get(ONLY, 0) for part in parts)
            rate = (Fraction(each) + Fraction(per_million, MICROS)) * MICROS / BILLION**2
            return UnitsTariff((rate.numerator, rate.denominator), on_cost)
        case _:
            outcomes = [part.outcome.rates for part in parts if part.outcome is not None]
            rates = {result: sum(rates[result] for rates in outcomes) for result in Result}
            return OutcomeTariff(sum((part.each or {}).get(ONLY, 0) for part in parts), rates)


def _on_cost(parts: Iterable[PriceDoc], credit_price_nanousd: int) -> OnCost | None:
    """Several add up like any parts: twice the cost and both surcharges."""
    asked: list[Shares] = []
    served: list[Shares] = []
    for part in parts:
        if part.cost_plus is not None:
            (served if part.cost_plus.on == "served" else asked).append(cost_plus_shares(part.cost_plus))
        if part.fee_on_cost is not None:
            asked.append(fee_shares(part.fee_on_cost))
    if not asked and not served:
        return None
    unit = Fraction(MICROS, credit_price_nanousd)
    return OnCost(_summed(asked, unit), _summed(served, unit))


def _summed(shares: Sequence[Shares], unit: Fraction) -> tuple[Pair, Pair] | None:
    if not shares:
        return None
    ours = sum((share.ours for share in shares), Fraction(0)) * unit
    customers = sum((share.customers for share in shares), Fraction(0)) * unit
    return ours.as_integer_ratio(), customers.as_integer_ratio()


def _token_rates(parts: Iterable[PriceDoc], *, lenient: bool) -> TokenRates | None:
    """Sums the rates of all parts, quantity by quantity, after each part's own fall-backs.

    Where another part prices any quantity (`lenient`), what these do not name adds nothing.
    """
    micros: dict[str, Fraction] = {}
    for part in parts:
        table = {key: Fraction(nanos, BILLION) for key, nanos in (part.per_million or {}).items()}
        table |= {key: Fraction(nanos * MICROS, BILLION) for key, nanos in (part.each or {}).items()}
        for key, rate in with_fallbacks(table).items():
            micros[key] = micros.get(key, Fraction(0)) + rate
    if not micros:
        return None
    return token_rates({**dict.fromkeys(RATED_QUANTITIES, Fraction(0)), **micros} if lenient else micros)
