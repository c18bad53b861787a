"""What the client answers of a customer's wallet: grants, the statement, usage by day, prices.

Amounts and instants are as those of `ledger.client.models`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, NamedTuple

from ledger.client.amounts import credits_of
from ledger.client.models import Balance, balance_of, instant_of, labels_of
from ledger.v1 import credit_service_pb2 as pb
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


class BudgetWindow(StrEnum):
    """How long a budget counts, by the clock of the customer's zone."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"
    UNKNOWN = "unknown"
    """A window that this version of the client does not know."""


def _members(known: type[StrEnum], numbers: Mapping[str, int], prefix: str) -> dict[int, str]:
    """Values by the numbers that the service has for them."""
    return {
        number: name.removeprefix(prefix).lower()
        for name, number in numbers.items()
        if name.removeprefix(prefix) in known.__members__
    }


_KINDS: Final = _members(GrantKind, dict(wallet.GrantKind.items()), "GRANT_KIND_")
_STATUSES: Final = _members(GrantStatus, dict(wallet.GrantStatus.items()), "GRANT_STATUS_")
_LINES: Final = _members(StatementLineType, dict(wallet.StatementLineType.items()), "STATEMENT_LINE_TYPE_")
_WINDOWS: Final = _members(BudgetWindow, dict(pb.BudgetWindow.items()), "BUDGET_WINDOW_")
_TYPES: Final = _members(TransactionType, dict(wallet.TransactionType.items()), "TRANSACTION_TYPE_")


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


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to a customer's credits."""

    event_id: str
    """The same in a webhook: whoever has met it before need do nothing."""
    number: int
    """1, 2, 3 … of the customer's, in the order in which they happened."""
    type: str
    """`credit.balance.low` and others (docs/events.md). There may be more one day: pass over them."""
    customer_id: str
    occurred_at: datetime
    data: Mapping[str, Any]
    """By the type. Amounts are micro-credits: integers, as texts."""


class EventPage(NamedTuple):
    """Some events."""

    events: tuple[Event, ...]
    cursor: str
    """Leads to what comes after them, now or later: whoever stores it misses none and meets none twice."""
    is_last: bool
    """There are no more for now."""


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
    """The customer's time zone, by which the month is told."""
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


class PriceRate(NamedTuple):
    """What one measure of something costs."""

    per: str
    """As people say it: "1M input tokens", "hour", "each", "DBU"."""
    price: Decimal
    """In credits, or in what `unit` says."""
    note: str
    """What else holds: "minimum 60 s, increment 1 s"; empty if nothing."""
    unit: str
    """A measured unit with a rate of its own, or a pool; empty for credits."""


@dataclass(frozen=True, slots=True)
class PriceListItem:
    """One price of a list."""

    title: str
    kind: str
    """tokens, compute, units or outcome."""
    names: tuple[str, ...]
    """Names or globs that it applies to."""
    conditions: Mapping[str, str]
    rates: tuple[PriceRate, ...]
    varies: bool
    """The price follows the public price of what was asked for."""
    included: bool
    """Another line pays for it."""


@dataclass(frozen=True, slots=True)
class PriceList:
    """What a credit buys a customer."""

    rate_card: str
    credit_name: str
    """What the card calls a credit."""
    items: tuple[PriceListItem, ...]
    """In the order in which they apply."""


@dataclass(frozen=True, slots=True)
class CustomerToken:
    """Lets a front end read one customer's wallet, sent as a key is."""

    token: str = field(repr=False)
    expires_at: datetime


# -- from messages ---------------------------------------------------------------------------------


def wallet_balance_of(message: wallet.GetBalanceResponse) -> WalletBalance:
    balance, expiry = message.balance, message.next_expiry
    return WalletBalance(
        balance.available_micros,
        balance.held_micros,
        balance.pending_micros,
        balance.debt_micros,
        instant_of(message.as_of),
        tuple(
            KindBalance(_kind(each.kind), each.available_micros, each.held_micros) for each in message.by_kind
        ),
        NextExpiry(instant_of(expiry.expires_at), expiry.amount_micros)
        if message.HasField("next_expiry")
        else None,
    )


def grant_of(message: wallet.Grant) -> Grant:
    return Grant(
        message.grant_id,
        _kind(message.kind),
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


def event_page_of(answer: wallet.ListEventsResponse) -> EventPage:
    return EventPage(tuple(map(_event_of, answer.events)), answer.cursor, not answer.next_page_token)


def _event_of(event: wallet.Event) -> Event:
    return Event(
        event.event_id,
        event.number,
        event.type,
        event.customer_id,
        instant_of(event.occurred_at),
        json.loads(event.data),
    )


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


def usage_row_of(message: wallet.UsageRow) -> UsageRow:
    return UsageRow(
        date.fromisoformat(message.day),
        labels_of(message.labels),
        message.kind,
        message.unit,
        *_figures(message),
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


def price_list_of(message: wallet.GetPriceListResponse) -> PriceList:
    return PriceList(message.rate_card, message.credit_name, tuple(map(_price_list_item, message.items)))


def customer_token_of(message: pb.CreateCustomerTokenResponse) -> CustomerToken:
    return CustomerToken(message.token, instant_of(message.expires_at))


def _statement_line(message: wallet.StatementLine) -> StatementLine:
    return StatementLine(
        StatementLineType(_LINES.get(message.type, StatementLineType.UNKNOWN)),
        labels_of(message.labels),
        _kind(message.grant_kind) if message.grant_kind else None,
        message.kind,
        message.name,
        message.title,
        message.unit,
        *_figures(message),
    )


def _figures(
    message: wallet.UsageRow | wallet.StatementLine,
) -> tuple[Decimal | None, dict[str, Decimal], int, int]:
    """What was measured, the quantities, the items, and micro-credits."""
    return (
        Decimal(message.measured) if message.measured else None,
        {name: Decimal(quantity) for name, quantity in message.quantities.items()},
        message.items,
        message.credits_micros,
    )


def _kind(number: int) -> GrantKind:
    return GrantKind(_KINDS.get(number, GrantKind.UNKNOWN))


def price_rate_of(message: wallet.Rate | pb.UnitPrice) -> PriceRate:
    return PriceRate(message.per, Decimal(message.credits), message.note, message.unit)


def _price_list_item(message: wallet.PriceListItem) -> PriceListItem:
    return PriceListItem(
        message.title,
        message.kind,
        tuple(message.names),
        dict(message.conditions),
        tuple(map(price_rate_of, message.rates)),
        message.varies,
        message.included,
    )
