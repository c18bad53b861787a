"""Credits that were granted together, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final

from ledger.client.amounts import credits_of
from ledger.client.answers.fields import instant_of, members
from ledger.v1 import wallet_service_pb2 as wallet


class GrantKind(StrEnum):
    """What credits were granted for."""

    PAID = "paid"
    PROMO = "promo"
    SUBSCRIPTION = "subscription"
    ADJUSTMENT = "adjustment"
    UNKNOWN = "unknown"
    """A kind that this version of the client does not know."""


class GrantStatus(StrEnum):
    """Where a grant stands."""

    PENDING_START = "pending_start"
    ACTIVE = "active"
    DEPLETED = "depleted"
    EXPIRED = "expired"
    VOIDED = "voided"
    PENDING_PAYMENT = "pending_payment"
    """Stated, and not paid yet: nobody can draw it."""
    DISPUTED = "disputed"
    """Its payment is disputed: what nobody holds of it is pending until that is decided."""
    UNKNOWN = "unknown"
    """A status that this version of the client does not know."""


_KINDS: Final = members(GrantKind, dict(wallet.GrantKind.items()), "GRANT_KIND_")
_STATUSES: Final = members(GrantStatus, dict(wallet.GrantStatus.items()), "GRANT_STATUS_")


@dataclass(frozen=True, slots=True)
class Grant:
    """Credits that were granted together."""

    grant_id: str
    kind: GrantKind
    status: GrantStatus
    amount_micros: int
    remaining_micros: int
    """Neither used, expired, voided, refunded nor rolled over; held credits included."""
    held_micros: int
    consumed_micros: int
    """What it has paid of use and of debt, less what came back to it."""
    expired_micros: int
    voided_micros: int
    """What was taken back, used credits that became debt included."""
    refunded_micros: int
    """What was taken back for money."""
    effective_at: datetime
    expires_at: datetime | None
    """None: never."""
    priority: int
    """Lower burns first."""
    scope: str
    """All that it pays for: a kind of usage, or a pool as pool:NAME; any usage, if empty."""
    external_reference: str
    """The seller's own, an invoice's number say."""
    recurring: str
    """The plan's name for what recurs, of which this is one, or has rolled over from one; else empty."""
    rolled_over_micros: int
    """What moved on to another grant at a renewal."""

    @property
    def amount(self) -> Decimal:
        return credits_of(self.amount_micros)

    @property
    def remaining(self) -> Decimal:
        return credits_of(self.remaining_micros)

    @property
    def held(self) -> Decimal:
        return credits_of(self.held_micros)

    @property
    def consumed(self) -> Decimal:
        return credits_of(self.consumed_micros)

    @property
    def expired(self) -> Decimal:
        return credits_of(self.expired_micros)

    @property
    def voided(self) -> Decimal:
        return credits_of(self.voided_micros)

    @property
    def refunded(self) -> Decimal:
        return credits_of(self.refunded_micros)


def grant_of(message: wallet.Grant) -> Grant:
    return Grant(
        message.grant_id,
        kind_of(message.kind),
        GrantStatus(_STATUSES.get(message.status, GrantStatus.UNKNOWN)),
        message.amount_micros,
        message.remaining_micros,
        message.held_micros,
        message.consumed_micros,
        message.expired_micros,
        message.voided_micros,
        message.refunded_micros,
        instant_of(message.effective_at),
        instant_of(message.expires_at) if message.HasField("expires_at") else None,
        message.priority,
        message.scope,
        message.external_reference,
        message.recurring,
        message.rolled_over_micros,
    )


def kind_of(number: int) -> GrantKind:
    return GrantKind(_KINDS.get(number, GrantKind.UNKNOWN))
