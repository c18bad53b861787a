"""Lots: credits that were granted together, what is left of them, and what is known of their payment."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple


class GrantKind(StrEnum):
    PAID = "PAID"
    PROMO = "PROMO"
    SUBSCRIPTION = "SUBSCRIPTION"
    ADJUSTMENT = "ADJUSTMENT"


class LotStatus(StrEnum):
    PENDING_PAYMENT = "PENDING_PAYMENT"
    """Stated, and not issued: it has no credits until its payment is confirmed."""
    PENDING_START = "PENDING_START"
    ACTIVE = "ACTIVE"
    DEPLETED = "DEPLETED"
    EXPIRED = "EXPIRED"
    VOIDED = "VOIDED"
    DISPUTED = "DISPUTED"
    """Its payment is disputed: until that is decided what nobody holds is pending, for no clock."""


class LotKey(NamedTuple):
    """The entry that made the lot, and the lot's number in it (from 0)."""

    sequence: int
    n: int


class Lot(NamedTuple):
    """Credits of one grant: valid in [effective_at, expires_at).

    `remaining_micros` counts what is neither consumed nor expired, held credits included; `held_micros`
    is the part of it that open reservations have pinned. A draw of d takes value x d / remaining,
    rounded down; the last draw takes all.
    """

    key: LotKey
    kind: GrantKind
    amount_micros: int
    remaining_micros: int
    held_micros: int
    value_nanousd: int
    priority: int
    scope: str | None
    """A kind of usage (tokens, compute, units, outcome), `pool:<name>`, or None for any usage."""
    effective_at: datetime
    expires_at: datetime | None
    status: LotStatus


class GrantRecord(NamedTuple):
    """What is known of a lot beside what is left of it, or what an entry adds to that: no draw changes it."""

    paid_nanousd: int | None = None
    """The total paid for it, or stated before it is paid. None: no more is known of that than before."""
    external_reference: str | None = None
    """The caller's own, an invoice's number say; shown to the customer."""
    note: str | None = None
    """For the back office alone."""
    ended_micros: int = 0
    """What expired of it, was voided, or was refunded in money."""
    refunded_micros: int = 0
    """What of that was refunded."""
    taken_off_nanousd: int = 0
    """What of the total paid was credited with what was voided, was paid back, or was written off."""
    given_up_micros: int = 0
    """What of it was used, and is not to be paid any more: the price was given up, or was paid back beyond
    the worth of what was taken back for it."""
    rolled_over_micros: int = 0
    """What of it was moved to another lot at a renewal."""
    recurring: str | None = None
    """The recurring grant of a plan that it is of, by the plan's name for it."""

    def plus(self, more: GrantRecord) -> GrantRecord:
        """What is known with what an entry adds to it."""
        return GrantRecord(
            self.paid_nanousd if more.paid_nanousd is None else more.paid_nanousd,
            self.external_reference or more.external_reference,
            self.note or more.note,
            self.ended_micros + more.ended_micros,
            self.refunded_micros + more.refunded_micros,
            self.taken_off_nanousd + more.taken_off_nanousd,
            self.given_up_micros + more.given_up_micros,
            self.rolled_over_micros + more.rolled_over_micros,
            self.recurring or more.recurring,
        )


NO_RECORD = GrantRecord()
NO_RECORDS: Mapping[LotKey, GrantRecord] = MappingProxyType({})

POOL_SCOPE = "pool:"
"""What the scope of a pool's lots begins with; its name follows."""
