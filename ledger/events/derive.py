"""What an entry of the journal is an event of.

Nothing here knows a dollar: `BookedFact` has no field for one, and whoever fills it reads with a role that
may not see any.

A customer's credits are *left* while they are available or held. A hold takes none of them away, for it may
give them back: an alarm that each `Reserve` raises and each commit ends would be no alarm.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

from ledger.books.model.amounts import Credits
from ledger.books.model.budgets import BudgetCrossing
from ledger.books.model.entries import EntryKind
from ledger.books.model.lots import LotKey
from ledger.books.top_ups import Announce, Fail, ReportCap, Step, Succeed, TopUp, TopUpCustomer, TopUpFailure


class EventType(StrEnum):
    """What is reported; `schema.json` says what each carries."""

    BALANCE_LOW = "credit.balance.low"
    """What is left has fallen below the threshold of the customer's plan."""
    BALANCE_DEPLETED = "credit.balance.depleted"
    """Nothing is left."""
    BALANCE_RECOVERED = "credit.balance.recovered"
    """What is left has reached the threshold again; where the plan has none, something is."""
    RESERVATION_EXPIRED = "reservation.expired"
    RESERVATION_LATE_COMMIT = "reservation.late_commit"
    """Work was reported after its hold had expired."""
    RESERVATION_OVER_CAPTURED = "reservation.over_captured"
    """A commit amounted to more than its hold."""
    GRANT_ISSUED = "grant.issued"
    GRANT_EXPIRING = "grant.expiring"
    """What is left of it will expire, as long ahead as the customer's plan has it: once for each expiry."""
    GRANT_EXPIRED = "grant.expired"
    GRANT_VOIDED = "grant.voided"
    """What nobody held of it was taken back; what was used may be owed from now on."""
    GRANT_REFUNDED = "grant.refunded"
    """Credits of it were taken back for money."""
    TOPUP_REQUESTED = "topup.requested"
    """Credits are to be bought anew: whoever collects payments is asked to."""
    TOPUP_SUCCEEDED = "topup.succeeded"
    TOPUP_FAILED = "topup.failed"
    """It was not paid, or not requested for the cap of the month."""
    BUDGET_CROSSED = "budget.threshold_crossed"
    """What a budget counts has reached a threshold of it."""
    BUDGET_RECOVERED = "budget.threshold_recovered"
    """It has fallen below that again within its window."""
    RATE_CARD_PUBLISHED = "rate_card.published"
    MARGIN_FLOOR_BREACHED = "margin.floor_breached"
    """The work of a day on a card has left less of its revenue than the card's floor."""


OF_THE_HOUSE: Final = frozenset({EventType.RATE_CARD_PUBLISHED, EventType.MARGIN_FLOOR_BREACHED})
"""Reported to the back office alone."""

OF_CUSTOMERS: Final = frozenset(EventType) - OF_THE_HOUSE


class IssuedGrant(NamedTuple):
    """What was granted, without what was paid for it."""

    kind: str
    amount_micros: int
    effective_at: datetime
    expires_at: datetime | None
    priority: int
    scope: str
    recurring: str | None = None
    """The plan's name for what recurs, of which it is one."""


class BookedFact(NamedTuple):
    """An entry, as far as events go by it. Amounts are micro-credits."""

    customer: int
    customer_id: str
    sequence: int
    kind: str
    at: datetime
    posted: Credits
    after: Credits
    threshold_micros: int
    """Of the customer's plan: below it the balance is low; 0: never."""
    reservation: int | None = None
    reservation_charged_micros: int = 0
    reservation_expires_at: datetime | None = None
    charged_micros: int = 0
    uncollected_micros: int = 0
    late: bool = False
    lot: LotKey | None = None
    granted: IssuedGrant | None = None
    crossings: tuple[BudgetCrossing, ...] = ()


class ExpiringGrant(NamedTuple):
    """A grant that will expire, and when that is reported."""

    customer: int
    customer_id: str
    lot: LotKey
    remaining_micros: int
    held_micros: int
    expires_at: datetime
    at: datetime


class Event(NamedTuple):
    """What is reported, as it is stored."""

    customer: int
    customer_id: str
    type: EventType
    at: datetime
    data: Mapping[str, str]
    """Amounts are decimal integers in strings, as protobuf writes 64 bits in JSON; instants RFC 3339."""


class PublicIds(NamedTuple):
    """How callers name what an entry concerns: each makes an id of the customer's own and of a key."""

    reservation: Callable[[str, int], str]
    charge: Callable[[str, int], str]
    grant: Callable[[str, LotKey], str]


def events_of(fact: BookedFact, ids: PublicIds) -> Iterator[Event]:
    """The events of an entry: what happened, then what it did to the balance."""
    happened = _HAPPENED.get(fact.kind)
    if happened is not None:
        yield from happened(fact, ids)
    yield from _of_balance(fact)
    yield from _of_budgets(fact)


def of_expiring(grant: ExpiringGrant, ids: PublicIds) -> Event:
    """What is reported of a grant before it expires."""
    data: dict[str, str | int | datetime | None] = {
        "grant_id": ids.grant(grant.customer_id, grant.lot),
        "remaining_micros": grant.remaining_micros,
        "held_micros": grant.held_micros,
        "expires_at": grant.expires_at,
    }
    return Event(grant.customer, grant.customer_id, EventType.GRANT_EXPIRING, grant.at, _data(data))


def of_top_up(whose: TopUpCustomer, top_up: TopUp, step: Step, at: datetime, ids: PublicIds) -> Event:
    """What a step of a top-up is reported as: one that asks for it, or that ends it."""
    event_type = _OF_TOP_UPS[type(step)]
    data: dict[str, str | int | datetime | None] = {
        "amount_micros": top_up.amount_micros,
        "attempt": top_up.attempt,
    }
    if top_up.grant_sequence is not None:
        data["grant_id"] = ids.grant(whose.customer_id, LotKey(top_up.grant_sequence, 0))
    match step:
        case Announce():
            data["answer_by"] = top_up.answer_by
        case Fail():
            data |= {"reason": step.failure, "next_attempt_at": step.next_attempt_at}
        case ReportCap():
            data["reason"] = TopUpFailure.MONTHLY_CAP
    return Event(whose.customer, whose.customer_id, event_type, at, _data(data))


_OF_TOP_UPS: Final[Mapping[type, EventType]] = {
    Announce: EventType.TOPUP_REQUESTED,
    Succeed: EventType.TOPUP_SUCCEEDED,
    Fail: EventType.TOPUP_FAILED,
    ReportCap: EventType.TOPUP_FAILED,
}


def _of_balance(fact: BookedFact) -> Iterator[Event]:
    """A threshold is crossed by the entry that has it between its balances."""
    after = fact.after.available + fact.after.held
    before = after - fact.posted.available - fact.posted.held
    enough = max(fact.threshold_micros, 1)
    crossed = []
    if after < fact.threshold_micros <= before:
        crossed.append(EventType.BALANCE_LOW)
    if after <= 0 < before:
        crossed.append(EventType.BALANCE_DEPLETED)
    if before < enough <= after:
        crossed.append(EventType.BALANCE_RECOVERED)
    for each in crossed:
        yield _event(
            fact,
            each,
            available_micros=fact.after.available,
            held_micros=fact.after.held,
            debt_micros=-fact.after.debt,
            threshold_micros=fact.threshold_micros,
        )


def _of_budgets(fact: BookedFact) -> Iterator[Event]:
    """What was crossed was decided with the entry, under its wallet's lock."""
    for crossing in fact.crossings:
        yield _event(
            fact,
            EventType.BUDGET_RECOVERED if crossing.is_recovery else EventType.BUDGET_CROSSED,
            budget=crossing.budget,
            labels=json.dumps({**crossing.labels}, ensure_ascii=False, separators=(",", ":")),
            percent=crossing.percent,
            used_micros=crossing.used_micros,
            limit_micros=crossing.limit_micros,
            window_ends_at=crossing.ends_at,
        )


def _of_grant(fact: BookedFact, ids: PublicIds) -> Iterator[Event]:
    if fact.granted is not None and fact.lot is not None:
        granted = fact.granted
        yield _event(
            fact,
            EventType.GRANT_ISSUED,
            grant_id=ids.grant(fact.customer_id, fact.lot),
            kind=granted.kind,
            amount_micros=granted.amount_micros,
            effective_at=granted.effective_at,
            expires_at=granted.expires_at,
            priority=granted.priority,
            scope=granted.scope,
            recurring=granted.recurring,
        )


def _of_grant_expired(fact: BookedFact, ids: PublicIds) -> Iterator[Event]:
    if fact.lot is not None:
        grant_id = ids.grant(fact.customer_id, fact.lot)
        yield _event(fact, EventType.GRANT_EXPIRED, grant_id=grant_id, expired_micros=fact.posted.expired)


def _of_grant_voided(fact: BookedFact, ids: PublicIds) -> Iterator[Event]:
    if fact.lot is not None:
        yield _event(
            fact,
            EventType.GRANT_VOIDED,
            grant_id=ids.grant(fact.customer_id, fact.lot),
            taken_back_micros=fact.posted.voided + fact.posted.debt,
            owed_micros=-fact.posted.debt,
        )


def _of_grant_refunded(fact: BookedFact, ids: PublicIds) -> Iterator[Event]:
    if fact.lot is not None:
        grant_id = ids.grant(fact.customer_id, fact.lot)
        yield _event(fact, EventType.GRANT_REFUNDED, grant_id=grant_id, refunded_micros=fact.posted.refunded)


def _of_reservation_expired(fact: BookedFact, ids: PublicIds) -> Iterator[Event]:
    if fact.reservation is not None:
        yield _event(
            fact,
            EventType.RESERVATION_EXPIRED,
            reservation_id=ids.reservation(fact.customer_id, fact.reservation),
            released_micros=-fact.posted.held,
            charged_micros=fact.reservation_charged_micros,
        )


def _of_commit(fact: BookedFact, ids: PublicIds) -> Iterator[Event]:
    if fact.reservation is None:
        return
    committed: dict[str, str | int] = {
        "reservation_id": ids.reservation(fact.customer_id, fact.reservation),
        "charge_id": ids.charge(fact.customer_id, fact.sequence),
        "charged_micros": fact.charged_micros,
        "uncollected_micros": fact.uncollected_micros,
    }
    if fact.late:
        yield _event(
            fact,
            EventType.RESERVATION_LATE_COMMIT,
            **committed,
            hold_expired_at=fact.reservation_expires_at,
        )
        return
    # What is left of the hold raises what is available; only what it did not cover lowers it, or makes debt.
    beyond_micros = -min(fact.posted.available, 0) - min(fact.posted.debt, 0)
    if beyond_micros or fact.uncollected_micros:
        yield _event(fact, EventType.RESERVATION_OVER_CAPTURED, **committed, beyond_hold_micros=beyond_micros)


_HAPPENED: Final[Mapping[str, Callable[[BookedFact, PublicIds], Iterator[Event]]]] = {
    EntryKind.GRANT: _of_grant,
    EntryKind.GRANT_EXPIRED: _of_grant_expired,
    EntryKind.GRANT_VOIDED: _of_grant_voided,
    EntryKind.GRANT_REFUNDED: _of_grant_refunded,
    EntryKind.RESERVATION_EXPIRED: _of_reservation_expired,
    EntryKind.COMMIT: _of_commit,
}


def _event(fact: BookedFact, event_type: EventType, **data: str | int | datetime | None) -> Event:
    return Event(fact.customer, fact.customer_id, event_type, fact.at, _data(data))


def _data(stated: Mapping[str, str | int | datetime | None]) -> Mapping[str, str]:
    return {name: _shown(value) for name, value in stated.items() if value is not None}


def _shown(value: str | int | datetime) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
