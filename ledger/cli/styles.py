"""The same agent sessions sold in every style of the field: what customers pay, and what is left of it.

Beside today's cost stand three worlds that change only what the work costs, or who pays the provider: the
same usage priced again, with the same cards. Amounts are nano-dollars, at the list price of a credit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Any

from ledger.api.checks import Problems
from ledger.api.usage import decode_usage
from ledger.cli.records import Record
from ledger.v1.usage_pb2 import UsageList
from pricing import (
    Config,
    CostBook,
    Item,
    KeyOwner,
    Memory,
    Terms,
    Tokens,
    compile_terms,
    memory_keys,
    price,
)

STYLES = ("devin", "snowflake", "sierra", "cost-plus", "value")
"""A card each."""
_REMAINING = Decimal("0.3")
"""Of a cost that falls by 70 %."""
_ROUTED = "-routed"
"""What a lever serves in place of a model has its name with this, and costs what remains."""
_MICROS = 1_000_000


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
    """What all sessions together come to on one card in one world."""

    paid_nanousd: int
    cost_nanousd: int

    @property
    def left_nanousd(self) -> int:
        return self.paid_nanousd - self.cost_nanousd


Row = Mapping[World, Sold]
"""A style in every world."""


def survives(row: Row, world: World) -> bool:
    """Tell whether a world leaves at least half of what today does.

    A style that leaves nothing today, for no lever works, is measured by what it leaves when one does.
    """
    usual = row[World.TODAY].left_nanousd or row[World.LEVERS].left_nanousd
    return 2 * row[world].left_nanousd >= usual


def sell(config: Config, card: str, world: World, sessions: Iterable[Record], now: datetime) -> Sold:
    """Prices each session as one charge, all for one customer of the card."""
    terms = compile_terms(config.cards[card], _BOOKS[world](config.costs))
    states: dict[str, str] = {}
    paid = cost = 0
    for session in sessions:
        usage = decode_usage(Problems(), "usage", UsageList(items=session.usage), now)
        charged, spent = _charge([_ITEMS[world](item) for item in usage], terms, states, now)
        paid += charged
        cost += spent
    return Sold(paid, cost)


def _charge(items: Sequence[Item], terms: Terms, states: dict[str, str], now: datetime) -> tuple[int, int]:
    """What a session is charged, and what it costs, each rounded once; `states` go on."""
    keys = memory_keys(items, {}, terms, now)
    quote = price(items, {}, terms, Memory({key: states.get(key, "") for key in keys}), now=now)
    states.update((key, state.text) for key, state in quote.states.items())
    worth = Fraction(round(quote.exact_micros) * terms.card.credit_price_nanousd, _MICROS)
    return round(worth), round(sum((line.cost_exact_nanousd for line in quote.lines), Fraction(0)))


def _as_it_was(item: Item) -> Item:
    return item


def _routed(item: Item) -> Item:
    return item._replace(served_by=item.model + _ROUTED) if isinstance(item, Tokens) else item


def _on_own_key(item: Item) -> Item:
    routed = _routed(item)
    return routed._replace(key_owner=KeyOwner.CUSTOMER) if isinstance(routed, Tokens) else routed


_ITEMS: Mapping[World, Callable[[Item], Item]] = {
    World.TODAY: _as_it_was,
    World.CHEAPER: _as_it_was,
    World.LEVERS: _routed,
    World.OWN_KEYS: _on_own_key,
}


def _today(costs: CostBook) -> CostBook:
    return costs


def _cheaper(costs: CostBook) -> CostBook:
    """Every model and machine that the book names at what remains of its cost."""

    def lower(stated: dict[str, Any]) -> None:
        models, machines = stated["tokens"]["models"], stated["compute"]
        models |= {name: _lowered_model(model) for name, model in models.items()}
        machines |= {name: _lowered(machine) for name, machine in machines.items() if "per_hour" in machine}

    return _changed(costs, lower)


def _with_routes(costs: CostBook) -> CostBook:
    """Beside every model that the book names one that serves at what remains of its cost."""

    def add(stated: dict[str, Any]) -> None:
        models = stated["tokens"]["models"]
        models |= {name + _ROUTED: _lowered_model(model) for name, model in models.items()}

    return _changed(costs, add)


_BOOKS: Mapping[World, Callable[[CostBook], CostBook]] = {
    World.TODAY: _today,
    World.CHEAPER: _cheaper,
    World.LEVERS: _with_routes,
    World.OWN_KEYS: _with_routes,
}


def _changed(costs: CostBook, change: Callable[[dict[str, Any]], None]) -> CostBook:
    document = json.loads(costs.document)
    change(document["costs"])
    return CostBook.from_document(json.dumps(document))


def _lowered_model(model: Mapping[str, Any]) -> dict[str, Any]:
    return {part: _lowered(model[part]) for part in ("per_million", "each") if part in model}


def _lowered(rates: Mapping[str, str]) -> dict[str, str]:
    return {key: f"{(Decimal(rate) * _REMAINING).normalize():f}" for key, rate in rates.items()}
