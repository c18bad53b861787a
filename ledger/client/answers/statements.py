"""A customer's statement: line by line what moved its credits, and what a month's lines add up to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final

from ledger.client.amounts import credits_of
from ledger.client.answers.balances import Balance, balance_of
from ledger.client.answers.fields import figures, instant_of, labels_of, members
from ledger.client.answers.grants import GrantKind, kind_of
from ledger.v1 import wallet_service_pb2 as wallet


class TransactionType(StrEnum):
    """What moved credits."""

    GRANT = "grant"
    GRANT_STARTED = "grant_started"
    GRANT_EXPIRED = "grant_expired"
    RESERVE = "reserve"
    EXTEND = "extend"
    COMMIT = "commit"
    RELEASE = "release"
    RESERVATION_EXPIRED = "reservation_expired"
    CHARGE = "charge"
    REVERSAL = "reversal"
    REFUND = "refund"
    PERIOD_CLOSED = "period_closed"
    """What a period had charged beyond what its usage amounts to went back."""
    GRANT_VOIDED = "grant_voided"
    """A grant was taken back; what was used of it may have become debt."""
    GRANT_REFUNDED = "grant_refunded"
    """Credits of a grant were taken back for money."""
    GRANT_DISPUTED = "grant_disputed"
    """The payment of a grant is disputed: what nobody holds of it is pending."""
    GRANT_DISPUTE_WON = "grant_dispute_won"
    """It stands. One that is lost is GRANT_VOIDED."""
    UNKNOWN = "unknown"
    """A type that this version of the client does not know."""


class StatementLineType(StrEnum):
    """What a line of a statement adds up."""

    USAGE = "usage"
    """What charges and commits priced."""
    NOT_COLLECTED = "not_collected"
    """What of it was not collected; negative."""
    REFUND = "refund"
    """What refunds gave back; negative."""
    REVERSAL = "reversal"
    """What reversals gave back; negative, items and quantities too."""
    PERIOD_CLOSED = "period_closed"
    """What was given back (negative) or charged when a period of the prices closed."""
    GRANT = "grant"
    UNKNOWN = "unknown"
    """A type that this version of the client does not know."""


_LINES: Final = members(StatementLineType, dict(wallet.StatementLineType.items()), "STATEMENT_LINE_TYPE_")
_TYPES: Final = members(TransactionType, dict(wallet.TransactionType.items()), "TRANSACTION_TYPE_")


@dataclass(frozen=True, slots=True)
class Transaction:
    """One line of a customer's statement."""

    type: TransactionType
    effective_at: datetime
    available_change_micros: int
    held_change_micros: int
    debt_change_micros: int
    consumed_micros: int
    """What was used; negative where it was given back."""
    balance_after: Balance
    reservation_id: str
    charge_id: str
    """Of a refund the charge's that is refunded."""
    grant_id: str
    labels: Mapping[str, str]

    @property
    def available_change(self) -> Decimal:
        return credits_of(self.available_change_micros)

    @property
    def held_change(self) -> Decimal:
        return credits_of(self.held_change_micros)

    @property
    def debt_change(self) -> Decimal:
        return credits_of(self.debt_change_micros)

    @property
    def consumed(self) -> Decimal:
        return credits_of(self.consumed_micros)


@dataclass(frozen=True, slots=True)
class StatementLine:
    """What entries of a month add up to that have all but their figures in common."""

    type: StatementLineType
    labels: Mapping[str, str]
    """Those asked for that the work has."""
    grant_kind: GrantKind | None
    """Of grants; None for usage."""
    kind: str
    """tokens, compute, units or outcome; empty for credits without usage, and for grants."""
    name: str
    """The model asked for, the resource, the meter or the outcome."""
    title: str
    """What the card calls it."""
    unit: str
    """What the card measures it in; empty if in nothing of its own."""
    measured: Decimal | None
    """How much of that; None without a unit."""
    quantities: Mapping[str, Decimal]
    """What was reported, by name; durations in seconds."""
    items: int
    credits_micros: int

    @property
    def credits(self) -> Decimal:
        return credits_of(self.credits_micros)


@dataclass(frozen=True, slots=True)
class Statement:
    """What a month began with, what came and went in it, and what was left.

    With a balance's credits as available + held + pending - debt:
    opening + granted - used - expired - voided - refunded = closing.
    """

    zone: str
    """The customer's time zone, by which the month is counted."""
    begins_at: datetime
    ends_at: datetime
    as_of: datetime | None
    """What was written up to this instant is in it, and more may come; None: it is final."""
    opening: Balance
    closing: Balance
    granted_micros: int
    used_micros: int
    """Less what was not collected and what was given back."""
    expired_micros: int
    voided_micros: int
    """Of grants taken back."""
    refunded_micros: int
    """Taken back for money."""
    rolled_over_micros: int
    """What of the credits left moved on from grants that ended to new ones: of no other total."""
    lines: tuple[StatementLine, ...]

    @property
    def granted(self) -> Decimal:
        return credits_of(self.granted_micros)

    @property
    def used(self) -> Decimal:
        return credits_of(self.used_micros)

    @property
    def expired(self) -> Decimal:
        return credits_of(self.expired_micros)

    @property
    def voided(self) -> Decimal:
        return credits_of(self.voided_micros)

    @property
    def refunded(self) -> Decimal:
        return credits_of(self.refunded_micros)


def transaction_of(message: wallet.Transaction) -> Transaction:
    return Transaction(
        TransactionType(_TYPES.get(message.type, TransactionType.UNKNOWN)),
        instant_of(message.effective_at),
        message.available_change_micros,
        message.held_change_micros,
        message.debt_change_micros,
        message.consumed_micros,
        balance_of(message.balance_after),
        message.reservation_id,
        message.charge_id,
        message.grant_id,
        labels_of(message.labels),
    )


def statement_of(message: wallet.GetStatementResponse, lines: Iterable[wallet.StatementLine]) -> Statement:
    return Statement(
        message.zone,
        instant_of(message.begins_at),
        instant_of(message.ends_at),
        instant_of(message.as_of) if message.HasField("as_of") else None,
        balance_of(message.opening),
        balance_of(message.closing),
        message.granted_micros,
        message.used_micros,
        message.expired_micros,
        message.voided_micros,
        message.refunded_micros,
        message.rolled_over_micros,
        tuple(map(_statement_line, lines)),
    )


def _statement_line(message: wallet.StatementLine) -> StatementLine:
    return StatementLine(
        StatementLineType(_LINES.get(message.type, StatementLineType.UNKNOWN)),
        labels_of(message.labels),
        kind_of(message.grant_kind) if message.grant_kind else None,
        message.kind,
        message.name,
        message.title,
        message.unit,
        *figures(message),
    )
