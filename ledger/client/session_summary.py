"""What a session has used, for whoever sold the work and whoever pays for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple

from ledger.client.amounts import credits_of, shown
from ledger.client.session_book import SessionBook, UsedLine
from ledger.v1.usage_pb2 import UsageItem


class SummaryLine(NamedTuple):
    """What was used of one thing."""

    title: str
    """What the rate card calls it."""
    kind: str
    name: str
    quantities: Mapping[str, Decimal]
    credits_micros: int
    """What it was priced at, collected or not."""

    @property
    def credits(self) -> Decimal:
        return credits_of(self.credits_micros)


class Summary(NamedTuple):
    """What a session has used, by the answers so far."""

    charged_micros: int
    """What was collected."""
    uncollected_micros: int
    """What was priced, and not collected."""
    lines: tuple[SummaryLine, ...]
    uncommitted: tuple[UsageItem, ...]
    """What no answer has come for yet, or was refused."""

    @property
    def charged(self) -> Decimal:
        return credits_of(self.charged_micros)

    @property
    def uncollected(self) -> Decimal:
        return credits_of(self.uncollected_micros)

    def __str__(self) -> str:
        """For a person: a line of text for each line, and one for all."""
        texts = [f"{line.title}: {line.credits} credits ({_quantities(line)})" for line in self.lines]
        total = f"{self.charged} credits charged"
        if self.uncollected_micros:
            total += f", {self.uncollected} not collected"
        if self.uncommitted:
            total += f", {len(self.uncommitted)} items not committed yet"
        return "\n".join((*texts, total))


def summary_of(book: SessionBook, uncommitted: Iterable[UsageItem]) -> Summary:
    """What a session's book says, and the items that it does not know of."""
    return Summary(
        book.charged_micros,
        book.uncollected_micros,
        tuple(map(_summary_line, book.lines.values())),
        tuple(uncommitted),
    )


def _quantities(line: SummaryLine) -> str:
    return ", ".join(f"{name} {shown(quantity)}" for name, quantity in line.quantities.items())


def _summary_line(line: UsedLine) -> SummaryLine:
    return SummaryLine(
        line.title,
        line.kind,
        line.name,
        dict(sorted(line.quantities.items())),
        line.credits_micros,
    )
