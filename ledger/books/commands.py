"""The commands that change a customer, as the books understand them.

A command states what its caller asked for. What the usage in it costs comes beside it, as `Priced`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from ledger.books.model import GrantKind


class Fill(StrEnum):
    ALL_OR_NOTHING = "ALL_OR_NOTHING"
    UP_TO = "UP_TO"


@dataclass(frozen=True, slots=True)
class Command:
    """`request_id` is unique per customer over all commands; `fingerprint` tells a repeat from a reuse."""

    request_id: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Reserve(Command):
    """Hold credits: `amount_micros`, or where it is None the price of the usage."""

    amount_micros: int | None
    fill: Fill = Fill.ALL_OR_NOTHING
    minimum_micros: int = 1
    ttl: timedelta | None = None
    """None: the plan's default."""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Extend(Command):
    """More credits, more time, both or neither."""

    reservation: int
    amount_micros: int = 0
    ttl: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Commit(Command):
    """Charge usage (or `amount_micros` credits) against a reservation; a final one returns what is left."""

    reservation: int
    amount_micros: int | None
    final: bool
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Release(Command):
    reservation: int


@dataclass(frozen=True, slots=True)
class Charge(Command):
    """Charge usage (or `amount_micros` credits) without a reservation."""

    amount_micros: int | None
    already_used: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reverse(Command):
    """Undo a charge made by `Charge`, or all charges of a closed reservation: whole, and once.

    `charge` and `reservation` are sequences; exactly one is given.
    """

    charge: int | None
    reservation: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class IssueGrant(Command):
    amount_micros: int
    kind: GrantKind
    paid_total_nanousd: int
    """What was paid for the whole grant."""
    effective_at: datetime | None = None
    """None: at once."""
    expires_at: datetime | None = None
    priority: int = 0
    scope: str | None = None


@dataclass(frozen=True, slots=True)
class UpdateCustomer(Command):
    """Names and policies of a customer; None leaves a field as it is, an empty card removes it."""

    display_name: str | None = None
    plan: str | None = None
    card: str | None = None
    zone: str | None = None
