"""Rates of tokens, in prices and in costs: exact at the edge, integers over one denominator inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import NamedTuple, TypeVar

from pricing.items import INPUT_QUANTITIES, TOKEN_QUANTITIES, Tokens

REQUESTS = "requests"
RATED_QUANTITIES = (*TOKEN_QUANTITIES, REQUESTS)
"""The quantities of a tokens item that may have a rate."""

_FALLBACKS = {
    "cache_read": ("input",),
    "cache_write": ("input",),
    "cache_write_1h": ("cache_write", "input"),
    "reasoning": ("output",),
}
R = TypeVar("R")
_INPUT = frozenset(INPUT_QUANTITIES)


class Stepped(NamedTuple):
    """A rate that depends on the size of a request's context: `steps` are (tokens, rate beyond them)."""

    base: Fraction
    steps: tuple[tuple[int, Fraction], ...]

    def beyond(self, context: int) -> Fraction:
        """Return the rate just above `context` tokens."""
        return next((rate for start, rate in reversed(self.steps) if start <= context), self.base)


@dataclass(frozen=True, slots=True)
class TokenRates:
    """What a token of each quantity comes to, in 1/`denominator` of the unit that the rates were made for."""

    denominator: int
    bands: tuple[tuple[int, Mapping[str, int]], ...]
    """(context, rates of a request whose input is larger), ascending; the first is (-1, ...)."""

    def total(self, tokens: Tokens) -> int | None:
        """Return what the tokens come to; None if a quantity that is not 0 has no rate.

        The band is chosen by the input of one request: all that went in, read from a cache or not.
        """
        rates = self.bands[0][1]
        quantities = tokens.quantities
        if len(self.bands) > 1:
            rates = self._band(quantities, tokens.requests)
        total = rates[REQUESTS] * tokens.requests
        for key, quantity in quantities.items():
            rate = rates.get(key)
            if rate is not None:
                total += rate * quantity
            elif quantity:
                return None
        return total

    def _band(self, quantities: Mapping[str, int], requests: int) -> Mapping[str, int]:
        requests = requests or 1
        if sum(quantities.values()) <= self.bands[1][0] * requests:
            return self.bands[0][1]
        context = sum(quantity for key, quantity in quantities.items() if key in _INPUT)
        return next(rates for start, rates in reversed(self.bands) if context > start * requests)


def with_fallbacks(rates: Mapping[str, R]) -> dict[str, R]:
    """Return the rates together with those of quantities that fall back to them.

    `cache_write_1h` falls back to `cache_write`, then `input`; `cache_read` and `cache_write` to `input`;
    `reasoning` to `output`. Any other quantity has no rate unless it is named.
    """
    whole = dict(rates)
    for key, others in _FALLBACKS.items():
        found = next((name for name in (key, *others) if name in rates), None)
        if found is not None:
            whole[key] = rates[found]
    return whole


def token_rates(rates: Mapping[str, Fraction | Stepped]) -> TokenRates:
    """Compile rates per single token or request, fall-backs included; `requests` without a rate costs 0."""
    whole: dict[str, Fraction | Stepped] = {REQUESTS: Fraction(0), **with_fallbacks(rates)}
    starts = {start for rate in whole.values() if isinstance(rate, Stepped) for start, _ in rate.steps}
    bands = [
        (
            start,
            {key: rate.beyond(start) if isinstance(rate, Stepped) else rate for key, rate in whole.items()},
        )
        for start in sorted({-1, *starts})
    ]
    denominator = lcm(*(rate.denominator for _, band in bands for rate in band.values()))
    return TokenRates(
        denominator,
        tuple((start, {key: int(rate * denominator) for key, rate in band.items()}) for start, band in bands),
    )
