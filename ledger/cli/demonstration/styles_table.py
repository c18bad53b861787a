"""The same agent sessions sold in every style of the field: what customers pay, and what is left of it.

Beside today's cost stand three worlds that change only what the work costs, or who pays the provider: the
same usage priced again, with the same cards. Amounts are nano-dollars, at the list price of a credit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from fractions import Fraction

from ledger.api.messages.decode_usage import decode_usage
from ledger.api.messages.validation import Problems
from ledger.cli.replaying.csv_records import Record
from ledger.v1.usage_pb2 import UsageList
from pricing import (
    Config,
    Item,
    Memory,
    Terms,
    compile_terms,
    memory_keys,
    price,
)
from pricing.planning.what_if import ScaledCosts, on_own_keys, swapped

STYLES = ("devin", "snowflake", "databricks", "sierra", "cost-plus", "value", "platform-fee")
"""A card each."""
_REMAINING = Fraction(3, 10)
"""Of a cost that falls by 70 %."""
_SERVES_INSTEAD = {
    "openai/gpt-5": "acme/coder",
    "anthropic/claude-sonnet-4-5": "acme/coder-large",
}
"""Of the sample's cost book: each at what remains of the cost of the model that the sessions ask for."""
_MICROS = 1_000_000
_CENT = 10_000_000


class World(StrEnum):
    """What a column of the table assumes."""

    TODAY = "today"
    CHEAPER = "cost -70 %"
    """Providers and machines take less, for everybody."""
    LEVERS = "levers -70 %"
    """Routing, caching, distillation: models are served for less than what is asked for costs."""
    OWN_KEYS = "own keys"
    """Customers pay the providers; the levers work for them."""


@dataclass(frozen=True, slots=True)
class Sold:
    """What all sessions together amount to on one card in one world."""

    paid_nanousd: int
    cost_nanousd: int

    @property
    def left_nanousd(self) -> int:
        return self.paid_nanousd - self.cost_nanousd


Row = Mapping[World, Sold]
"""A style in every world."""


def survives(row: Row, world: World) -> bool:
    """Whether a world leaves at least half of what today does.

    A style that leaves nothing today, for no lever works, is measured by what it leaves when one does. Less
    than a cent is nothing: it is what rounding leaves.
    """
    today = row[World.TODAY].left_nanousd
    usual = today if abs(today) >= _CENT else row[World.LEVERS].left_nanousd
    return 2 * row[world].left_nanousd >= usual


def survivals(row: Row) -> str:
    """In words: which of the two changes that come from outside a style survives."""
    surviving = [world for world in (World.CHEAPER, World.OWN_KEYS) if survives(row, world)]
    return "both" if len(surviving) == 2 else "".join(surviving) or "neither"


def sell(config: Config, card: str, world: World, sessions: Iterable[Record], now: datetime) -> Sold:
    """Prices each session as one charge, all for one customer of the card."""
    costs = ScaledCosts(config.costs, _REMAINING) if world is World.CHEAPER else config.costs
    terms = compile_terms(config.cards[card], costs)
    states: dict[str, str] = {}
    exact_micros, cost = Fraction(0), 0
    for session in sessions:
        usage = decode_usage(Problems(), "usage", UsageList(items=session.usage), now)
        charged, spent = _charge(_ITEMS[world](usage), terms, states, now)
        exact_micros += charged
        cost += spent
    # The ledger carries what rounding leaves over from one charge to the next.
    paid = Fraction(round(exact_micros) * terms.card.credit_price_nanousd, _MICROS)
    return Sold(round(paid), cost)


def _charge(
    items: Sequence[Item], terms: Terms, states: dict[str, str], now: datetime
) -> tuple[Fraction, int]:
    """What a session is charged, exactly, and what it costs, rounded once; `states` go on."""
    keys = memory_keys(items, {}, terms, now)
    quote = price(items, {}, terms, Memory({key: states.get(key, "") for key in keys}), now=now)
    states.update((key, state.text) for key, state in quote.states.items())
    return quote.exact_micros, round(sum((line.cost_exact_nanousd for line in quote.lines), Fraction(0)))


def _as_it_was(items: Iterable[Item]) -> tuple[Item, ...]:
    return tuple(items)


def _by_levers(items: Iterable[Item]) -> tuple[Item, ...]:
    return swapped(items, _SERVES_INSTEAD)


def _on_own_keys(items: Iterable[Item]) -> tuple[Item, ...]:
    return on_own_keys(_by_levers(items))


_ITEMS: Mapping[World, Callable[[Iterable[Item]], tuple[Item, ...]]] = {
    World.TODAY: _as_it_was,
    World.CHEAPER: _as_it_was,
    World.LEVERS: _by_levers,
    World.OWN_KEYS: _on_own_keys,
}
