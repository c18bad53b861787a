"""A card fitted to usage: rates per quantity that leave the same margin on every model, at its cost.

What a model's quantities cost beside each other is taken from the cost book, and how much in all from what
its usage costs: what a lever saves is in the rates. Each tier of service has rates of its own. A rate is
rounded up, to six digits.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from fractions import Fraction
from math import ceil
from typing import NamedTuple

from pricing.cards.rate_card import RateCard
from pricing.costs.cost_book import CostBook
from pricing.costs.token_rates import TokenRates
from pricing.exact import BILLION, format_nanos, format_percent
from pricing.rating.price import price
from pricing.rating.quote import Line
from pricing.rating.state import Memory
from pricing.rating.terms import compile_terms
from pricing.usage.items import OURS, REQUESTS, Compute, Item, Tokens, Units

_DIGITS = 6
_MILLION = 10**6
_HOUR_NANOS = 3600 * BILLION
_NO_CARD = """\
card: none
credit: credit
credit_price_usd: "1"
rules: [{name: none, match: {outcome: none}, price: {included: true}}]
"""


class Target(NamedTuple):
    """What a card is fitted to."""

    card: str
    credit: str
    credit_price_nanousd: int
    margin: Fraction
    """Below 1."""


class _Seen:
    """Usage of one thing."""

    def __init__(self) -> None:
        self.quantities: Counter[str] = Counter()
        self.cost_nanousd = Fraction(0)


class Fit:
    """Adds usage up, and proposes a card. `now` is when the cost book's prices are taken."""

    def __init__(self, costs: CostBook, now: datetime) -> None:
        self._costs = costs
        self._now = now
        self._terms = compile_terms(RateCard.from_document(_NO_CARD), costs)
        self._tokens: dict[tuple[str, str], _Seen] = {}
        """By model and tier of service, on our own keys."""
        self._compute: dict[str, _Seen] = {}
        self._units: dict[str, _Seen] = {}
        self._outcomes: set[str] = set()
        self._customers_keys = False

    def add(self, items: Sequence[Item], instant: datetime) -> None:
        """Takes in usage of an instant; it costs what the book says, whatever it cost then."""
        for line in price(items, {}, self._terms, Memory(), now=instant).lines:
            self._add(line.item, line)

    def _add(self, item: Item, line: Line) -> None:
        if isinstance(item, Tokens):
            if item.key_owner is not OURS:
                self._customers_keys = True
                return
            seen = self._tokens.setdefault((item.model, item.service_tier), _Seen())
            seen.quantities.update(item.quantities)
            seen.quantities[REQUESTS] += item.requests
        elif isinstance(item, Compute):
            seen = self._compute.setdefault(item.resource, _Seen())
            seen.quantities[""] += item.duration_nanos * item.count_nanos
        elif isinstance(item, Units):
            seen = self._units.setdefault(item.meter, _Seen())
            seen.quantities[""] += item.quantity_nanos
        else:
            self._outcomes.add(item.name)
            return
        seen.cost_nanousd += line.cost_exact_nanousd

    def document(self, target: Target) -> str:
        """The card (YAML): what cannot be fitted stands in it as a comment."""
        lines = [
            f"# Leaves {format_percent(target.margin)} of the revenue at the list price on every model,",
            f"# at what its usage costs by revision {self._costs.revision} of the cost book.",
            f"card: {target.card}",
            f"credit: {_quoted(target.credit)}",
            f'credit_price_usd: "{format_nanos(target.credit_price_nanousd)}"',
            "rules:",
        ]
        for rule in self._rules(target):
            lines += rule
        return "\n".join(lines) + "\n"

    def _rules(self, target: Target) -> Iterator[list[str]]:
        margin = f'cost_plus: {{margin: "{format_percent(target.margin)}"}}'
        factor = 1 / ((1 - target.margin) * target.credit_price_nanousd)
        if self._customers_keys:
            yield _rule("customers' own keys", 'tokens: "*", key_owner: CUSTOMER', margin)
        # A rule for a tier goes before the one for the model.
        for (model, tier), seen in sorted(self._tokens.items(), key=lambda one: (one[0][0], not one[0][1])):
            name = f"{model}, {tier}" if tier else model
            rates = self._token_rates(model, tier, seen, factor)
            match = f"tokens: {_quoted(model)}" + (f", service_tier: {_quoted(tier)}" if tier else "")
            yield _rule(name, match, rates) if rates else [f"  # no cost to fit to: {_quoted(name)}"]
        for resource, seen in sorted(self._compute.items()):
            known = resource in self._costs.resources
            rate = _per(seen, _HOUR_NANOS * BILLION, factor)
            match = f"compute: {_quoted(resource)}"
            yield _rate_rule(resource, match, "per_hour", rate if known else None)
        for meter, seen in sorted(self._units.items()):
            rate = _per(seen, BILLION * _MILLION, factor)
            match = f"units: {_quoted(meter)}"
            yield _rate_rule(meter, match, "per_million", rate if meter in self._costs.units else None)
        for outcome in sorted(self._outcomes):
            yield _rule(outcome, f"outcome: {_quoted(outcome)}", "included: true")
        yield _rule("every other model", 'tokens: "*"', margin)

    def _token_rates(self, model: str, tier: str, seen: _Seen, factor: Fraction) -> str:
        """The price of a model; empty where its cost is not known."""
        rates = self._weights(model, tier)
        used = [key for key, quantity in seen.quantities.items() if quantity]
        if rates is None or not seen.cost_nanousd or any(key not in rates.rates for key in used):
            return ""
        weighed = sum(rates.rates[key] * seen.quantities[key] for key in used)
        if not weighed:
            return ""
        # The dearest tokens of long contexts are in it, too: the cost in all is what the usage costs.
        unit = seen.cost_nanousd / weighed * factor * _MILLION
        stated = {key: rates.rates[key] * unit for key in rates.rates if key in used or key in _ALWAYS}
        table = {key: _rounded_up(rate) for key, rate in stated.items() if rate or key != REQUESTS}
        return f"per_million: {{{', '.join(f'{key}: {_quoted(rate)}' for key, rate in table.items())}}}"

    def _weights(self, model: str, tier: str) -> TokenRates | None:
        known = self._costs.model(model, tier)
        return known.listed.at(self._now) if known is not None else self._costs.unknown


_ALWAYS = frozenset({"input", "output"})


def _per(seen: _Seen, unit: int, factor: Fraction) -> Fraction | None:
    """The rate of so many of a quantity; None where nothing was used, or it cost nothing."""
    quantity = seen.quantities[""]
    return seen.cost_nanousd / quantity * unit * factor if quantity and seen.cost_nanousd else None


def _rate_rule(name: str, match: str, scheme: str, rate: Fraction | None) -> list[str]:
    if rate is None:
        return [f"  # no cost to fit to: {_quoted(name)}"]
    return _rule(name, match, f'{scheme}: "{_rounded_up(rate)}"')


def _rule(name: str, match: str, price_text: str) -> list[str]:
    return [
        f"  - name: {_quoted(name)}",
        f"    match: {{{match}}}",
        f"    price: {{{price_text}}}",
    ]


def _rounded_up(rate: Fraction) -> str:
    """A rate as a decimal string of six digits that count, and nine fractional ones at most."""
    nanos = rate * BILLION
    digits = len(str(int(nanos)))
    step = 10 ** max(0, digits - _DIGITS)
    return format_nanos(ceil(nanos / step) * step)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
