"""Prices of rules, compiled: integers in, integers out.

Amounts are pairs (numerator, denominator) of micro-credits. Parts of `plus` are put together when a card is
compiled: rates of tokens are summed, hourly rates without a minimum too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from fractions import Fraction
from typing import Any, NamedTuple, Protocol

from pricing.items import BILLION, OURS, Compute, KeyOwner, Outcome, Result, Tokens, Units
from pricing.memory import Past
from pricing.pairs import NOTHING, Pair, add, times
from pricing.rates import RATED_QUANTITIES, TokenRates, token_rates, with_fallbacks
from pricing.runs import Machines, Meter, charge, run_key
from pricing.schemes import ONLY, CostPlusDoc, PriceDoc

_MICROS = 10**6
"""Micro-credits of a credit."""
_HOUR_NANOS = 3600 * BILLION
_COMPUTE = _HOUR_NANOS * BILLION * BILLION // _MICROS
"""Of duration x count x hourly rate, all in billionths."""


class CostPlus(NamedTuple):
    """What is charged of nano-dollars of cost: all with a surcharge, or on the customer's key that alone."""

    ours: Pair
    customers: Pair

    def charge(self, cost: Pair, key_owner: KeyOwner) -> Pair:
        """Return the price of a cost: what was asked for, at list prices on the customer's own key."""
        return times(cost, self.ours if key_owner is OURS else self.customers)


Keys = Callable[[Any, datetime], Iterable[str]]
"""What tells the keys of the states that the price of an item needs, which happened at that instant."""


class Tariff(Protocol):
    """The price of usage of one kind."""

    def charge(self, item: Any, cost: Pair | None, past: Past) -> Pair | None:
        """Return the price of an item of the kind, which costs so many nano-dollars as asked for."""


class TokensTariff(NamedTuple):
    """The price of tokens."""

    rates: TokenRates | None
    cost_plus: CostPlus | None

    def charge(self, item: Tokens, cost: Pair | None, _past: Past) -> Pair | None:
        """Return the price; None if a quantity has no rate, or the cost that it builds on is unknown."""
        if self.cost_plus is None:
            return NOTHING if self.rates is None else self.rates.amount(item)
        if cost is None:
            return None
        surcharged = self.cost_plus.charge(cost, item.key_owner)
        if self.rates is None:
            return surcharged
        rated = self.rates.amount(item)
        return None if rated is None else add(rated, surcharged)


class ComputeTariff(NamedTuple):
    """The price of machine time."""

    rate_nanos: int
    """Of the hourly rates that bill the seconds alone, per hour."""
    meters: tuple[Meter, ...]
    machines: Machines
    """Those of the card."""
    cost_plus: CostPlus | None

    def charge(self, item: Compute, cost: Pair | None, past: Past) -> Pair | None:
        """Return the price; None if the cost that it builds on is unknown."""
        if self.cost_plus is not None and cost is None:
            return None
        total = self.rate_nanos * item.duration_nanos * item.count_nanos
        if self.meters:
            total += charge(item, self.meters, self.machines, past)
        price = (total, _COMPUTE)
        if self.cost_plus is not None and cost is not None:
            price = add(price, self.cost_plus.charge(cost, OURS))
        return price

    def keys(self, item: Compute, _instant: datetime) -> Iterable[str]:
        """Return the key of the run that it bills."""
        key = run_key(item) if self.meters else None
        return () if key is None else (key,)


class UnitsTariff(NamedTuple):
    """The price of units."""

    rate: Pair
    """Micro-credits of a billionth of a unit."""
    cost_plus: CostPlus | None

    def charge(self, item: Units, cost: Pair | None, _past: Past) -> Pair | None:
        """Return the price; None if the cost that it builds on is unknown."""
        price = (self.rate[0] * item.quantity_nanos, self.rate[1])
        if self.cost_plus is None:
            return price
        return None if cost is None else add(price, self.cost_plus.charge(cost, OURS))


class OutcomeTariff(NamedTuple):
    """The price of outcomes."""

    each_nanos: int
    """Credits for one, whatever the result."""
    rates: Mapping[Result, int]
    """Credits by result, in billionths."""

    def charge(self, item: Outcome, _cost: Pair | None, _past: Past) -> Pair:
        """Return the price."""
        return (self.each_nanos + self.rates[item.result]) * item.count, BILLION // _MICROS

    def charged(self, item: Outcome) -> bool:
        """Tell whether the outcome itself is charged for."""
        return self.rates[item.result] > 0 and item.count > 0


def keys_of(tariff: Tariff) -> Keys | None:
    """Return what tells the states that a tariff needs; None: its price knows no past."""
    return tariff.keys if isinstance(tariff, ComputeTariff) and tariff.meters else None


def meters_of(tariff: Tariff) -> tuple[Meter, ...]:
    """Return what bills runs of a tariff."""
    return tariff.meters if isinstance(tariff, ComputeTariff) else ()


def compile_tariff(
    price: PriceDoc, kind: str, key: str, credit_price_nanousd: int, machines: Machines
) -> Tariff:
    """Compile the price of a rule for a kind of usage; `key` tells its runs from those of other rules."""
    parts = price.parts
    surcharges = [part.cost_plus for part in parts if part.cost_plus is not None]
    cost_plus = _cost_plus(surcharges, credit_price_nanousd) if surcharges else None
    match kind:
        case "tokens":
            return TokensTariff(_token_rates(parts, lenient=cost_plus is not None), cost_plus)
        case "compute":
            return _compute_tariff(parts, key, cost_plus, machines)
        case "units":
            each = sum((part.each or {}).get(ONLY, 0) for part in parts)
            per_million = sum((part.per_million or {}).get(ONLY, 0) for part in parts)
            rate = (Fraction(each) + Fraction(per_million, _MICROS)) * _MICROS / BILLION**2
            return UnitsTariff((rate.numerator, rate.denominator), cost_plus)
        case _:
            outcomes = [part.outcome.rates for part in parts if part.outcome is not None]
            rates = {result: sum(rates[result] for rates in outcomes) for result in Result}
            return OutcomeTariff(sum((part.each or {}).get(ONLY, 0) for part in parts), rates)


def _cost_plus(surcharges: Iterable[CostPlusDoc], credit_price_nanousd: int) -> CostPlus:
    """Several add up like any parts: twice the cost and both surcharges."""
    unit = Fraction(_MICROS, credit_price_nanousd)
    ours = sum((doc.factor for doc in surcharges), Fraction(0)) * unit
    customers = sum((doc.markup_on_cost for doc in surcharges), Fraction(0)) * unit
    return CostPlus((ours.numerator, ours.denominator), (customers.numerator, customers.denominator))


def _token_rates(parts: Iterable[PriceDoc], *, lenient: bool) -> TokenRates | None:
    """Sum the rates of all parts, quantity by quantity, after each part's own fall-backs.

    Where another part prices any quantity (`lenient`), what these do not name adds nothing.
    """
    micros: dict[str, Fraction] = {}
    for part in parts:
        table = {key: Fraction(nanos, BILLION) for key, nanos in (part.per_million or {}).items()}
        table |= {key: Fraction(nanos * _MICROS, BILLION) for key, nanos in (part.each or {}).items()}
        for key, rate in with_fallbacks(table).items():
            micros[key] = micros.get(key, Fraction(0)) + rate
    if not micros:
        return None
    return token_rates({**dict.fromkeys(RATED_QUANTITIES, Fraction(0)), **micros} if lenient else micros)


def _compute_tariff(
    parts: Iterable[PriceDoc], key: str, cost_plus: CostPlus | None, machines: Machines
) -> ComputeTariff:
    linear = 0
    meters = []
    for index, part in enumerate(parts):
        if part.per_hour is None:
            continue
        if part.minimum is None and part.increment is None and part.maximum is None:
            linear += part.per_hour
        else:
            meters.append(
                Meter(
                    f"{key}/{index}",
                    part.per_hour,
                    part.minimum or 0,
                    part.increment or 1,
                    part.maximum,
                    part.minimum_again is not None,
                )
            )
    return ComputeTariff(linear, tuple(meters), machines, cost_plus)
