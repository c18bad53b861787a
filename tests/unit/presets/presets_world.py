"""What vendors publish, as tables that a person can read: usage in words, beside its credits and its price.

    usage                                                     | credits  | at    | price
    warehouse/m 300s run=a; warehouse/l 120s run=a            | 0.600000 | $2.00 | $1.20

Usage is items with `;` between them: a model, resource, meter or outcome, and how much of it.

    warehouse/m 2h x3 run=a state=idle     compute: a duration (ms, s, m, h), a count, a run, a state
    acme/model input=1000 output=10        tokens by quantity; key=CUSTOMER: on the customer's own key
    web_search 2.5                         units
    ticket.resolved RESOLVED x2 of=t-1     an outcome: its result, a count, its subject

`at=2026-11-02T12:00Z` says when an item happened; `[workload=jobs]` labels the items that follow.

Credits are exact over the row, rounded once to six decimals, half even; the price is what rounded credits
come to at what was paid for one, cents half up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

from pricing import (
    Compute,
    Item,
    KeyOwner,
    Line,
    Memory,
    Outcome,
    Result,
    Terms,
    Tokens,
    Units,
    price,
)
from pricing.items import TOKEN_QUANTITIES

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
_NANOS = 10**9
_SECONDS = {"ms": Fraction(1, 1000), "s": Fraction(1), "m": Fraction(60), "h": Fraction(3600)}
_DURATION = re.compile(r"([0-9.]+)(ms|s|m|h)")
_LABEL = re.compile(r"\[(\w+)=([^\]]*)\]\s*")

Labelled = tuple[Item, Mapping[str, str]]


@dataclass(frozen=True)
class Case:
    """A row of a table."""

    usage: str
    credits: str
    at: str
    price: str
    measured: str

    def __str__(self) -> str:
        return self.usage


def table(text: str) -> list[Case]:
    """The rows below the heading; an empty cell claims nothing."""
    heading, *rows = (
        [cell.strip() for cell in line.split("|")] for line in text.strip().splitlines() if line.strip()
    )
    cells = [dict(zip(heading, row, strict=True)) for row in rows]
    return [
        Case(*(row.get(column, "") for column in ("usage", "credits", "at", "price", "DBU"))) for row in cells
    ]


def items(usage: str) -> Iterator[Labelled]:
    """The items of a row, each with the labels that it is used under."""
    labels: dict[str, str] = {}
    for words in usage.split(";"):
        rest = words.strip()
        while label := _LABEL.match(rest):
            labels = {**labels, label[1]: label[2]}
            rest = rest[label.end() :]
        yield _item(*rest.split()), labels


def _item(name: str, *words: str) -> Item:
    fields = dict(word.split("=", 1) for word in words if "=" in word)
    bare = [word for word in words if "=" not in word]
    count = next((word[1:] for word in bare if re.fullmatch(r"x[0-9.]+", word)), "1")
    occurred_at = datetime.fromisoformat(fields.pop("at")) if "at" in fields else None
    results = [word for word in bare if word in Result.__members__]
    if results:
        return Outcome(name, Result(results[0]), fields.get("of", ""), int(count), occurred_at)
    duration = _DURATION.fullmatch(bare[0]) if bare else None
    if duration is not None:
        nanos = int(Fraction(duration[1]) * _SECONDS[duration[2]] * _NANOS)
        return Compute(
            name,
            nanos,
            int(Decimal(count) * _NANOS),
            run_id=fields.get("run"),
            state=fields.get("state", "active"),
            occurred_at=occurred_at,
        )
    quantities = {key: int(amount) for key, amount in fields.items() if key in TOKEN_QUANTITIES}
    if quantities:
        return Tokens(
            name,
            quantities,
            fields.get("by"),
            KeyOwner(fields.get("key", "OURS")),
            requests=int(fields.get("requests", "1")),
            occurred_at=occurred_at,
        )
    return Units(name, int(Decimal(bare[0]) * _NANOS), occurred_at)


@dataclass(frozen=True)
class Priced:
    """What usage comes to."""

    lines: Sequence[Line]

    @property
    def micros(self) -> int:
        """Exact over all, rounded once, half even."""
        return round(sum((line.exact_micros for line in self.lines), Fraction(0)))

    @property
    def credits(self) -> str:
        return f"{Decimal(self.micros).scaleb(-6):.6f}"

    def price(self, credit_usd: str) -> str:
        """Dollars and cents, half up, at what a credit costs."""
        dollars = Decimal(self.micros).scaleb(-6) * Decimal(credit_usd.lstrip("$"))
        return f"${dollars.quantize(Decimal('0.01'), ROUND_HALF_UP):,}"


def priced(terms: Terms, usage: str) -> Priced:
    """Price the items of a row one after the other, with what prices remember in between."""
    return Priced(list(_lines(terms, items(usage))))


def _lines(terms: Terms, labelled: Iterable[Labelled]) -> Iterator[Line]:
    memory = Memory()
    for item, labels in labelled:
        quote = price([item], labels, terms, memory, now=NOW)
        assert not quote.unpriced, f"{item} has no price: {quote.lines[0].unpriced_reason}"
        memory = Memory({**memory.runs, **quote.runs}, quote.own_run)
        yield from quote.lines
