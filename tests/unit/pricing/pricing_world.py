"""A small world to price in: cost books and cards from text, items in few words."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from pricing import (
    Compute,
    Config,
    ConfigError,
    Item,
    Memory,
    Outcome,
    Problem,
    Quote,
    Result,
    Terms,
    Tokens,
    Units,
    compile_terms,
    load,
    memory_keys,
    price,
    unwind,
)
from tests.cards import card_text, write_config

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)

TOLD = "discloses: serving_cost\n"
"""What a card says that charges a share of savings."""

COSTS = """
tokens:
  models:
    acme/large: {per_million: {input: "3", cache_read: "0.3", output: "15"}}
    acme/small: {per_million: {input: "0.05", output: "0.10"}, lever: distillation}
    acme/other: {per_million: {input: "1", output: "4"}}
compute:
  sandbox: {per_hour: "0.12"}
  h100: {per_hour: "2.49"}
  spot: {per_hour: "0.80", lever: spot}
  laptop: {cost: none}
units:
  web_search: {each: "0.01"}
  mail: {per_million: "400"}
  hug: {cost: none}
"""


def config(directory: Path, costs: str, *cards: str) -> Config:
    """The configuration that these texts make."""
    return load(write_config(directory, costs, *cards))


def refusals(directory: Path, costs: str, *cards: str) -> tuple[Problem, ...]:
    """What is refused in these texts."""
    with pytest.raises(ConfigError) as caught:
        config(directory, costs, *cards)
    return caught.value.problems


def terms(directory: Path, *rules: str, costs: str = COSTS, price: str = "1", extra: str = "") -> Terms:
    """Terms of a card of these rules."""
    made = config(directory, costs, card_text(*rules, price=price, extra=extra))
    return compile_terms(made.cards["test"], made.costs)


def priced(
    terms: Terms, *items: Item, labels: Mapping[str, str] | None = None, memory: Memory | None = None, **more
) -> Quote:
    """The quote of some items."""
    return price(items, labels or {}, terms, memory or Memory(), now=NOW, **more)


def paid(quote: Quote) -> Fraction:
    """The exact price in credits."""
    return quote.exact_micros / 10**6


def credits_6(quote: Quote) -> str:
    """The price in credits, rounded once to six decimals, half even."""
    return f"{Decimal(round(quote.exact_micros)) / 10**6:.6f}"


def dollars(quote: Quote) -> Fraction:
    """The exact cost to post, in dollars."""
    return sum((line.cost_exact_nanousd for line in quote.lines), Fraction(0)) / 10**9


def tokens(model: str = "acme/large", **more) -> Tokens:
    """Tokens by quantity; `served_by`, `key_owner`, `requests` and the rest as they are named."""
    fields = {
        key: more.pop(key)
        for key in ("served_by", "key_owner", "service_tier", "requests", "occurred_at")
        if key in more
    }
    return Tokens(model, more, **fields)


def compute(resource: str, seconds: float, count: str = "1", **more) -> Compute:
    """Machine time of some seconds."""
    return Compute(resource, int(seconds * 10**9), int(Decimal(count) * 10**9), **more)


def units(meter: str, quantity: str) -> Units:
    """Some units."""
    return Units(meter, int(Decimal(quantity) * 10**9))


def outcome(name: str, result: Result = Result.RESOLVED, count: int = 1) -> Outcome:
    """An outcome."""
    return Outcome(name, result, count=count)


class Customer:
    """One customer's usage under some terms, the states carried from call to call."""

    def __init__(self, made, now=NOW):
        self.terms, self.now, self.states, self.lines, self.marks = made, now, {}, [], {}

    def pays(self, *items, **more):
        """What these cost, in credits."""
        return paid(self.quote(*items, **more))

    def quote(self, *items, **more):
        """The quote of these; what it leaves is kept."""
        keys = memory_keys(items, {}, self.terms, self.now)
        known = {key: text for key, text in self.states.items() if key in keys}
        quote = price(items, {}, self.terms, Memory(known), now=self.now, **more)
        assert set(quote.states) <= keys
        self.keep(quote.states)
        self.lines += quote.lines
        return quote

    def undo(self, line):
        """Reverse a line."""
        self.keep(unwind(line.effects, self.states))

    def keep(self, states):
        """Keep what changed."""
        self.marks |= states
        self.states |= {key: state.text for key, state in states.items()}

    @property
    def surplus(self):
        """What is due to come back, in credits."""
        return sum((state.surplus_micros for state in self.marks.values()), Fraction(0)) / 10**6
