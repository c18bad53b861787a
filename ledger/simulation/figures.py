"""What a simulation finds: sums of charges as booked and on both sides, and how much each changed."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from fractions import Fraction
from heapq import nlargest
from typing import Final, NamedTuple

from ledger.books.rounding import MICROS_PER_CREDIT, round_exact

CHANGE_BOUNDS_PERCENT: Final = (-50, -25, -10, -5, -1, 1, 5, 10, 25, 50, 100)
"""Where a histogram's buckets end: each without its upper bound. Two more: what is beyond the last, and what
was free before and is not any more."""

BUCKETS: Final = len(CHANGE_BOUNDS_PERCENT) + 2

Name = tuple[str, str]
"""Kind of usage, and what was asked for."""


class FigureLine(NamedTuple):
    """A line of a charge, as one side prices it."""

    name: Name
    micros: int
    cost_nanousd: int
    unpriced: bool


@dataclass(slots=True)
class Figures:
    """Sums of charges."""

    lines: int = 0
    unpriced_lines: int = 0
    credits_micros: int = 0
    list_value: int = 0
    """Credits at their list price: micro-credits times nano-dollars."""
    lots_nanousd: int = 0
    """Credits at the value of the lots that were drawn for them."""
    cost_nanousd: int = 0

    @property
    def list_nanousd(self) -> int:
        """Revenue at the list price, half even."""
        return round_exact(Fraction(self.list_value, MICROS_PER_CREDIT))

    def add_line(self, line: FigureLine, credit_price_nanousd: int, sign: int) -> None:
        """Adds a line of a charge, or takes it away (-1)."""
        micros = sign * line.micros
        self.lines += sign
        self.unpriced_lines += sign * line.unpriced
        self.credits_micros += micros
        self.list_value += micros * credit_price_nanousd
        self.cost_nanousd += sign * line.cost_nanousd

    def add(self, other: Figures) -> None:
        """Adds figures to these."""
        self.lines += other.lines
        self.unpriced_lines += other.unpriced_lines
        self.credits_micros += other.credits_micros
        self.list_value += other.list_value
        self.lots_nanousd += other.lots_nanousd
        self.cost_nanousd += other.cost_nanousd


class Sides(NamedTuple):
    """The same work on both sides."""

    before: Figures
    after: Figures


@dataclass(slots=True)
class Report:
    """What a simulation has found."""

    charges: int = 0
    """Entries that count, but for reversals."""
    booked: Figures = field(default_factory=Figures)
    """What the ledger holds of them, at the list prices that they were charged at."""
    all: Sides = field(default_factory=lambda: Sides(Figures(), Figures()))
    customers: dict[int, Sides] = field(default_factory=dict)
    names: dict[Name, Sides] = field(default_factory=dict)
    """Without the value of lots, which are drawn for a charge as a whole."""
    charge_changes: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    """How many charges change by how much, at the list price."""
    unmatched_reversals: int = 0
    """Reversals of charges that were not replayed: counted nowhere."""

    def largest_changes(self, most: int) -> list[int]:
        """The customers whose bill at the list price changes most, the largest change first."""
        return nlargest(most, self.customers, key=lambda number: (_change(self.customers[number]), -number))


def _change(sides: Sides) -> int:
    return abs(sides.after.list_value - sides.before.list_value)


def bucket_of(before: int, after: int) -> int:
    """The bucket of a histogram that a change falls into."""
    if before == 0:
        return BUCKETS - 1 if after else bisect_right(CHANGE_BOUNDS_PERCENT, 0)
    return bisect_right(CHANGE_BOUNDS_PERCENT, 100 * (after - before) // before)
