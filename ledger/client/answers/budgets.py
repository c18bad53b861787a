"""A customer's budgets, and what they have counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final

from ledger.client.amounts import credits_of
from ledger.client.answers.fields import instant_of, members
from ledger.v1 import credit_service_pb2 as pb


class BudgetWindow(StrEnum):
    """How long a budget counts, by the clock of the customer's zone."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"
    UNKNOWN = "unknown"
    """A window that this version of the client does not know."""


_WINDOWS: Final = members(BudgetWindow, dict(pb.BudgetWindow.items()), "BUDGET_WINDOW_")


@dataclass(frozen=True, slots=True)
class Budget:
    """How many credits work may take in a window, and has taken in that which it is now."""

    name: str
    limit_micros: int
    window: BudgetWindow
    by: tuple[str, ...]
    """Labels: each combination of their values has a count of its own."""
    where: Mapping[str, str]
    """Only work with these labels is counted."""
    blocks: bool
    """An UP_TO hold of more than is left is refused; else it holds what is left."""
    notify_percents: tuple[int, ...]
    used_micros: int | None
    """Held or charged; None where it is not said whose count is meant."""
    left_micros: int | None
    window_ends_at: datetime | None

    @property
    def limit(self) -> Decimal:
        return credits_of(self.limit_micros)

    @property
    def used(self) -> Decimal | None:
        return None if self.used_micros is None else credits_of(self.used_micros)

    @property
    def left(self) -> Decimal | None:
        return None if self.left_micros is None else credits_of(self.left_micros)


def budget_of(message: pb.Budget) -> Budget:
    return Budget(
        message.name,
        message.limit_micros,
        BudgetWindow(_WINDOWS.get(message.window, BudgetWindow.UNKNOWN)),
        tuple(message.by),
        dict(message.where),
        message.at_limit == pb.BUDGET_AT_LIMIT_BLOCK,
        tuple(message.notify_percents),
        message.used_micros if message.HasField("used_micros") else None,
        message.left_micros if message.HasField("left_micros") else None,
        instant_of(message.window_ends_at) if message.HasField("window_ends_at") else None,
    )
