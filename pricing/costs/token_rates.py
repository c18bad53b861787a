"""Rates of tokens, in prices and in costs: exact at the edge, integers over one denominator inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from math import lcm
from typing import NamedTuple, Self, TypeVar

from pricing.exact import Pair
from pricing.usage.items import INPUT_QUANTITIES, REQUESTS, Tokens

_FALLBACKS = {
    "cache_read": ("input",),
    "cache_write": ("input",),
    "cache_write_1h": ("cache_write", "input"),
    "input_audio": ("input",),
    "input_image": ("input",),
    "reasoning": ("output",),
    "output_audio": ("output",),
    "output_image": ("output",),
}
R = TypeVar("R")
_INPUT = frozenset(INPUT_QUANTITIES)


class Stepped(NamedTuple):
    """A rate that depends on the size of a request's context: `steps` are (tokens, rate beyond them)."""

    base: Fraction
    steps: tuple[tuple[int, Fraction], ...]

    def beyond(self, context: int) -> Fraction:
        """The rate just above `context` tokens."""
        return next((rate for start, rate in reversed(self.steps) if start <= context), self.base)


@dataclass(frozen=True, slots=True)
class TokenRates:
    """What a token of each quantity costs, in 1/`denominator` of the unit that the rates were made for."""

    denominator: int
    rates: Mapping[str, int]
    """By quantity, and of a request."""
    cliffs: tuple[tuple[int, Mapping[str, int]], ...]
    """(context, rates of a request whose input is larger), ascending."""

    def at(self, _instant: datetime) -> Self:
        """The rates that hold at an instant: these, always."""
        return self

    def times(self, factor: Fraction) -> TokenRates:
        """The rates times a factor."""
        return TokenRates(
            self.denominator * factor.denominator,
            _times(self.rates, factor),
            tuple((start, _times(rates, factor)) for start, rates in self.cliffs),
        )

    def amount(self, tokens: Tokens) -> Pair | None:
        """What the tokens amount to; None if a quantity that is not 0 has no rate.

        Cliffs are judged by the input of one request: all that went in, read from a cache or not.
        """
        quantities, requests = tokens.quantities, tokens.requests
        rates = self._beyond(quantities, requests or 1) if self.cliffs else self.rates
        total = rates[REQUESTS] * requests
        for key, quantity in quantities.items():
            try:
                total += rates[key] * quantity
            except KeyError:
                if quantity:
                    return None
        return total, self.denominator

    def _beyond(self, quantities: Mapping[str, int], requests: int) -> Mapping[str, int]:
        if sum(quantities.values()) <= self.cliffs[0][0] * requests:
            return self.rates
        context = sum(quantity for key, quantity in quantities.items() if key in _INPUT)
        above = (rates for start, rates in reversed(self.cliffs) if context > start * requests)
        return next(above, self.rates)


def _times(rates: Mapping[str, int], factor: Fraction) -> dict[str, int]:
    return {key: rate * factor.numerator for key, rate in rates.items()}


def with_fallbacks(rates: Mapping[str, R]) -> dict[str, R]:
    """The rates together with those of quantities that fall back to them.

    `cache_write_1h` falls back to `cache_write`, then `input`; every other quantity of input to `input`, and
    of output to `output`. So what has a price is never free for the form of its tokens.
    """
    whole = dict(rates)
    for key, others in _FALLBACKS.items():
        found = next((name for name in (key, *others) if name in rates), None)
        if found is not None:
            whole[key] = rates[found]
    return whole


def token_rates(rates: Mapping[str, Fraction | Stepped]) -> TokenRates:
    """Compiles rates per single token or request, fall-backs included; `requests` without a rate costs 0."""
    whole: dict[str, Fraction | Stepped] = {REQUESTS: Fraction(0), **with_fallbacks(rates)}
    starts = {start for rate in whole.values() if isinstance(rate, Stepped) for start, _ in rate.steps}
    bands = {
        start: {key: rate.beyond(start) if isinstance(rate, Stepped) else rate for key, rate in whole.items()}
        for start in (-1, *sorted(starts))
    }
    denominator = lcm(*(rate.denominator for band in bands.values() for rate in band.values()))
    scaled = {
        start: {key: int(rate * denominator) for key, rate in band.items()} for start, band in bands.items()
    }
    return TokenRates(denominator, scaled.pop(-1), tuple(scaled.items()))
