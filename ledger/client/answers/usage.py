"""What was used, by day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from ledger.client.amounts import credits_of
from ledger.client.answers.fields import figures, labels_of
from ledger.v1 import wallet_service_pb2 as wallet


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What was used on one day, of one kind, in one unit, with the same labels."""

    day: date
    """Of the customer's time zone."""
    labels: Mapping[str, str]
    """Those asked for that the work has."""
    kind: str
    """tokens, compute, units or outcome; empty for credits that were charged without usage."""
    unit: str
    """What the card measures it in, e.g. DBU; empty if in nothing of its own."""
    measured: Decimal | None
    """How much of that; None without a unit."""
    quantities: Mapping[str, Decimal]
    """What was reported, by name; durations in seconds."""
    items: int
    credits_micros: int
    """What it was priced at, collected or not, less what was given back."""

    @property
    def credits(self) -> Decimal:
        return credits_of(self.credits_micros)


def usage_row_of(message: wallet.UsageRow) -> UsageRow:
    return UsageRow(
        date.fromisoformat(message.day),
        labels_of(message.labels),
        message.kind,
        message.unit,
        *figures(message),
    )
