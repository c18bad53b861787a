"""Budgets: how many credits work may take in a window, what it has taken, and thresholds that it crosses."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class BudgetWindow(StrEnum):
    """How long a budget counts, by the clock of the customer's zone."""

    HOUR = "HOUR"
    DAY = "DAY"
    WEEK = "WEEK"
    """From Monday."""
    MONTH = "MONTH"
    TOTAL = "TOTAL"
    """All time."""


class AtLimit(StrEnum):
    """What becomes of a hold that asks for more than a budget leaves. Charges are refused either way."""

    THROTTLE = "THROTTLE"
    """`UP_TO` holds what is left."""
    BLOCK = "BLOCK"
    """It is refused, `UP_TO` too."""


class Budget(NamedTuple):
    """How many credits work may take in a window; `budgets.py` says how they count."""

    name: str
    limit_micros: int
    window: BudgetWindow
    by: tuple[str, ...] = ()
    """Labels: each combination of their values has a count of its own. None: the customer has one."""
    where: tuple[tuple[str, str], ...] = ()
    """It counts work with these labels and values alone."""
    notify_percents: tuple[int, ...] = ()
    """Of the limit: where the count reaches one, or falls below it again, that is an event."""
    at_limit: AtLimit = AtLimit.THROTTLE


class BudgetCounter(NamedTuple):
    """What one budget counts in one window, for one combination of labels."""

    key: str
    """Of its state."""
    budget: Budget | None
    """As the plan has it now; None: it has it no more, or not so."""
    labels: Mapping[str, str]
    """Those that it counts by."""
    used_micros: int
    """Held by open reservations or charged."""
    left_micros: int
    """What the budget leaves, never below 0; 0 where it has no limit."""
    ends_at: datetime | None
    values_key: str = ""
    """Of the state that says how many combinations have a counter in the window; empty where this is one of
    them already, or the budget does not count by labels."""
    values: int = 0
    """How many that are."""


class BudgetCrossing(NamedTuple):
    """A threshold of a budget that an entry has crossed."""

    budget: str
    labels: Mapping[str, str]
    percent: int
    used_micros: int
    """After the entry."""
    limit_micros: int
    ends_at: datetime | None
    is_recovery: bool
    """The count has fallen below it."""


class EntryBudgets(NamedTuple):
    """What an entry did to budgets, as far as that is to be known later."""

    counters: tuple[str, ...] = ()
    """RESERVE, CHARGE: the keys of the counters in which its work counts."""
    crossings: tuple[BudgetCrossing, ...] = ()
