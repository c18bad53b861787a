"""Entries of the journal, each with its money: what happened to a customer, and what was posted for it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from ledger.books.model.amounts import Credits, Dollars, Ratio
from ledger.books.model.budgets import EntryBudgets
from ledger.books.model.labels import NOTHING
from ledger.books.model.lots import LotKey
from ledger.books.model.priced import Effect, Terms, Treatment
from ledger.books.model.reservations import ReservationImage
from ledger.books.model.wallets import NO_REMAINDERS


class EntryKind(StrEnum):
    CUSTOMER_CREATED = "CUSTOMER_CREATED"
    CUSTOMER_UPDATED = "CUSTOMER_UPDATED"
    GRANT = "GRANT"
    """A lot is issued: one of the entry's own, or one whose payment is confirmed (its `subject`). Without a
    request it recurs."""
    GRANT_PENDING_PAYMENT = "GRANT_PENDING_PAYMENT"
    """A grant is stated that is issued once it is paid."""
    GRANT_STARTED = "GRANT_STARTED"
    GRANT_EXPIRED = "GRANT_EXPIRED"
    GRANT_VOIDED = "GRANT_VOIDED"
    GRANT_EXTENDED = "GRANT_EXTENDED"
    GRANT_DISPUTED = "GRANT_DISPUTED"
    GRANT_DISPUTE_WON = "GRANT_DISPUTE_WON"
    """Its payment stands. One that is lost is GRANT_VOIDED."""
    GRANT_REFUNDED = "GRANT_REFUNDED"
    """Credits of it are taken back for money, which is to be paid back."""
    GRANT_WRITTEN_OFF = "GRANT_WRITTEN_OFF"
    """What it was sold for, or a part of that, will never be paid. No credits move."""
    ROLLOVER = "ROLLOVER"
    """Unused credits of lots that end move on to a new one, with their value: no posting."""
    RESERVE = "RESERVE"
    EXTEND = "EXTEND"
    COMMIT = "COMMIT"
    RELEASE = "RELEASE"
    RESERVATION_EXPIRED = "RESERVATION_EXPIRED"
    CHARGE = "CHARGE"
    REVERSAL = "REVERSAL"
    REFUND = "REFUND"
    PERIOD_CLOSED = "PERIOD_CLOSED"


class Draw(NamedTuple):
    """Credits that left a lot (or came back to it), and the value that went with them."""

    lot: LotKey
    micros: int
    value_nanousd: int


class EntryLine(NamedTuple):
    """One usage item of a booked charge, as its customer sees it."""

    treatment: Treatment
    public: Mapping[str, object]
    credits_micros: int
    """Its share of the entry's rounded price (collected or not); the shares add up."""
    pool: str | None = None
    pool_micros: int = 0
    """What of `credits_micros` was drawn from the pool."""


class MoneyLine(NamedTuple):
    """The same item as finance sees it; the amounts of all lines add up to the entry's."""

    kind: str
    treatment: Treatment
    internal: Mapping[str, object]
    credits_micros: int
    revenue_nanousd: int
    cost_nanousd: int
    effects: tuple[Effect, ...] = ()
    saved_nanousd: int = 0
    """Memo: what a lever saved. With the cost it makes the baseline, the cost of what was asked for."""
    own_key_nanousd: int = 0
    """Memo: what the customer paid the provider, on its own key."""
    pool: str | None = None
    pool_micros: int = 0


class Money(NamedTuple):
    """The dollar side of an entry, and all that tells cost: in a table of its own."""

    dollars: Dollars
    lines: tuple[MoneyLine, ...] = ()
    draws: tuple[Draw, ...] = ()
    debt_value_nanousd: int = 0
    """What moved between `unbilled` and revenue (or was paid of it), signed like `unbilled`."""
    absorbed_failed_outcome_nanousd: int = 0
    absorbed_uncollected_nanousd: int = 0
    absorbed_unpriced_nanousd: int = 0
    remainders: Mapping[str, Ratio] = NO_REMAINDERS
    """Memo, in micro-credits, reduced, by key of the wallet's tallies: how much more is carried since it."""


class Entry(NamedTuple):
    """One event of one customer: its postings sum to 0 in each commodity.

    It is the idempotency record (`request_id`, `fingerprint`) and the statement line too: `after` are the
    customer's balances after it.
    """

    customer: int
    sequence: int
    kind: EntryKind
    request_id: str | None
    """None for what is due by the clock."""
    fingerprint: bytes | None
    credits: Credits
    after: Credits
    effective_at: datetime
    booked_at: datetime
    occurred_at: datetime | None = None
    reservation: ReservationImage | None = None
    subject: int | None = None
    """REVERSAL: the sequence of the charge or reservation undone. REFUND: of the charge. Lot events: the
    lot's sequence."""
    subject_n: int | None = None
    terms: Terms | None = None
    plan: str = ""
    priced_micros: int = 0
    """COMMIT, CHARGE: the rounded price. REVERSAL, REFUND, PERIOD_CLOSED: what is taken back, negative."""
    uncollected_micros: int = 0
    late: bool = False
    final: bool = False
    """COMMIT: the last of its reservation. REFUND: nothing is left of the charge."""
    reason: str | None = None
    labels: Mapping[str, str] = NOTHING
    lines: tuple[EntryLine, ...] = ()
    money: Money | None = None
    """None where no dollars move and there is no memo."""
    budgets: EntryBudgets | None = None
    """None where that would say nothing."""

    @property
    def charged_micros(self) -> int:
        """What a commit or a charge collected, by draw or by debt; negative: what was given back."""
        return self.priced_micros - self.uncollected_micros
