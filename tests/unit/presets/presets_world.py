"""What vendors publish, as tables that a person can read: usage in words, and what it amounts to.

    usage                                                     | credits  | at    | price
    warehouse/xs 10s run=a; warehouse/xs 10s run=b            | 0.033333 | $2.00 | $0.07

Credits are exact over the row, rounded once to six decimals, half even; the price is what rounded credits
come to at what was paid for one, cents half up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

from usage_words import Labelled, items

from pricing import Line, Memory, Terms, memory_keys, price

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


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
    """The rows below the heading; an empty cell claims nothing, and usage may go on in the next line."""
    rows_in_one_line = text.strip().replace(";\n", "; ").splitlines()
    heading, *rows = ([cell.strip() for cell in line.split("|")] for line in rows_in_one_line)
    cells = [dict(zip(heading, row, strict=True)) for row in rows]
    return [
        Case(*(row.get(column, "") for column in ("usage", "credits", "at", "price", "DBU"))) for row in cells
    ]


@dataclass(frozen=True)
class Priced:
    """What usage amounts to."""

    lines: Sequence[Line]

    @property
    def micros(self) -> int:
        """Exact over all, rounded once, half even."""
        return round(sum((line.exact_micros for line in self.lines), Fraction(0)))

    @property
    def credits(self) -> str:
        return f"{Decimal(self.micros).scaleb(-6):.6f}"

    @property
    def measured(self) -> dict[str, str]:
        """What was measured, by unit, rounded once to six decimals."""
        sums: Counter[str] = Counter()
        for line in self.lines:
            measured = line.public.get("measured")
            if measured is not None:
                sums[measured["unit"]] += Decimal(measured["quantity"])
        return {unit: f"{total.quantize(Decimal('0.000001'))}" for unit, total in sums.items()}

    def price(self, credit_usd: str) -> str:
        """Dollars and cents, half up, at what a credit costs."""
        dollars = Decimal(self.micros).scaleb(-6) * Decimal(credit_usd.lstrip("$"))
        return f"${dollars.quantize(Decimal('0.01'), ROUND_HALF_UP):,}"


def priced(terms: Terms, usage: str) -> Priced:
    """Price the items of a row one after the other, with what prices remember in between."""
    return Priced(list(_lines(terms, items(usage))))


def _lines(terms: Terms, labelled: Iterable[Labelled]) -> Iterator[Line]:
    states: dict[str, str] = {}
    own_run: str | None = None
    for item, labels in labelled:
        now = item.occurred_at or NOW
        known = {key: states.get(key, "") for key in memory_keys([item], labels, terms, now)}
        quote = price([item], labels, terms, Memory(known, own_run), now=now)
        assert not quote.unpriced, f"{item} has no price: {quote.lines[0].unpriced_reason}"
        states.update((key, state.text) for key, state in quote.states.items())
        own_run = quote.own_run
        yield from quote.lines
