"""A customer's credits at an instant, and what they are of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from ledger.client.amounts import credits_of
from ledger.client.answers.fields import instant_of
from ledger.client.answers.grants import GrantKind, kind_of
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import wallet_service_pb2 as wallet


@dataclass(frozen=True, slots=True)
class Balance:
    """A customer's credits at an instant."""

    available_micros: int
    held_micros: int
    pending_micros: int
    """Granted, not started."""
    debt_micros: int
    """Owed; positive."""

    @property
    def available(self) -> Decimal:
        return credits_of(self.available_micros)

    @property
    def held(self) -> Decimal:
        return credits_of(self.held_micros)

    @property
    def pending(self) -> Decimal:
        return credits_of(self.pending_micros)

    @property
    def debt(self) -> Decimal:
        return credits_of(self.debt_micros)


def balance_of(message: pb.Balance) -> Balance:
    return Balance(message.available_micros, message.held_micros, message.pending_micros, message.debt_micros)


@dataclass(frozen=True, slots=True)
class KindBalance:
    """What of a balance was granted as one kind."""

    kind: GrantKind
    available_micros: int
    held_micros: int

    @property
    def available(self) -> Decimal:
        return credits_of(self.available_micros)

    @property
    def held(self) -> Decimal:
        return credits_of(self.held_micros)


@dataclass(frozen=True, slots=True)
class NextExpiry:
    """The next credits to expire."""

    expires_at: datetime
    amount_micros: int

    @property
    def amount(self) -> Decimal:
        return credits_of(self.amount_micros)


@dataclass(frozen=True, slots=True)
class WalletBalance(Balance):
    """A customer's credits, and what they are of."""

    as_of: datetime
    """What is written up to this instant is in it."""
    by_kind: tuple[KindBalance, ...]
    """Empty for a balance of the past."""
    next_expiry: NextExpiry | None
    """None if no credits will expire, or for a balance of the past."""


def wallet_balance_of(message: wallet.GetBalanceResponse) -> WalletBalance:
    balance, expiry = message.balance, message.next_expiry
    return WalletBalance(
        balance.available_micros,
        balance.held_micros,
        balance.pending_micros,
        balance.debt_micros,
        instant_of(message.as_of),
        tuple(
            KindBalance(kind_of(each.kind), each.available_micros, each.held_micros)
            for each in message.by_kind
        ),
        NextExpiry(instant_of(expiry.expires_at), expiry.amount_micros)
        if message.HasField("next_expiry")
        else None,
    )
