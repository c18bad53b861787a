"""What a plan grants again and again, and where a customer stands with it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from ledger.books.model.lots import GrantKind, LotKey


class Every(StrEnum):
    """How often a grant recurs."""

    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"
    QUARTER = "QUARTER"
    YEAR = "YEAR"


class Rollover(NamedTuple):
    """What of a period's unused credits the next one takes over."""

    min_micros: int = 0
    """Of less nothing rolls over."""
    max_micros: int | None = None
    """Of more only so much does; None: all."""
    life: timedelta | None = None
    """Of what has rolled over; None: until the next renewal."""


class RecurringGrant(NamedTuple):
    """What a plan grants again and again."""

    name: str
    amount_micros: int
    paid_total_nanousd: int
    """What is paid for each of them."""
    kind: GrantKind
    every: Every
    day: int | None = None
    """MONTH: the day on which it recurs, or the last one of a shorter month. None: that on which the customer
    came to the plan."""
    priority: int = 0
    scope: str | None = None
    life: timedelta | None = None
    """None: until the next renewal."""
    rollover: Rollover | None = None
    prorated: bool = False
    """Who comes to the plan within a period is granted the rest of it, by time; else the next comes first."""


class RenewalKey(NamedTuple):
    """A recurring grant of a plan."""

    plan: str
    grant: str
    """Its name; '' for the customer's coming to the plan, by which the others begin."""


class Renewal(NamedTuple):
    """Where a customer stands with a recurring grant."""

    next_at: datetime | None
    """When it is due again; None: never."""
    every: Every = Every.MONTH
    anchor: date = date.min
    """A day on which it recurs, in the customer's zone: the others are counted from it."""
    lots: tuple[LotKey, ...] = ()
    """What ends at the next renewal, and may roll over then."""


NO_RENEWALS: Mapping[RenewalKey, Renewal] = MappingProxyType({})
