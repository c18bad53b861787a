"""Top-ups: when credits are bought anew for a customer, how many at what price, and what comes of each.

A customer *needs* one from the usage that leaves fewer credits than its plan's threshold until as many are
left again. Meanwhile one at a time is requested: its grant is stated, pending payment, and the product's
payment system confirms or gives it up. One that is not paid is tried again after a pause that doubles, up to
the attempts of the plan; then nothing more is requested until credits come from elsewhere, or somebody asks.

Credits are *left* while they are available or held, as in events: a hold may give them back, and nobody's
card is charged for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

from ledger.books.calendar import day_begins, recurrence
from ledger.books.model.renewals import Every
from ledger.books.top_up_rules import TopUpRules

LOOKED_BACK: Final = timedelta(days=62)
"""How far back top-ups count: the longest wait for an answer and the longest cool-down, and so a month."""
LOOK_EVERY: Final = timedelta(days=1)
"""A need that waits is looked at this often in any case: its plan may be another one by then."""
IN_HAND: Final = timedelta(seconds=30)
"""After it another process takes up what one has begun at the books, and not ended."""


class TopUpState(StrEnum):
    """What has become of a top-up."""

    REQUESTED = "REQUESTED"
    """It is to be paid; a customer has one at a time."""
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


class TopUpFailure(StrEnum):
    """Why a top-up has failed."""

    DECLINED = "DECLINED"
    """Its grant was taken back while its payment was pending."""
    TIMED_OUT = "TIMED_OUT"
    """Nobody has confirmed it or given it up in time."""
    REFUSED = "REFUSED"
    """The books do not take its grant."""
    MONTHLY_CAP = "MONTHLY_CAP"
    """It was not requested: it would be more than the plan allows in a month."""


class TopUpCustomer(NamedTuple):
    """Whose top-up it is."""

    customer: int
    customer_id: str


class TopUp(NamedTuple):
    """A top-up as it stands."""

    number: int
    """1, 2, 3 … of the customer."""
    state: TopUpState
    failure: TopUpFailure | None
    """Why it has failed; of one that is requested: why it is being given up."""
    attempt: int
    """1, 2, 3 … of those that follow one that failed."""
    amount_micros: int
    price_nanousd: int
    expires_at: datetime | None
    """Of its grant."""
    requested_at: datetime
    answer_by: datetime
    request_id: str
    """Of the command that states its grant."""
    grant_sequence: int | None = None
    """The lot, once it was reported as requested."""
    ended_at: datetime | None = None


class Payment(StrEnum):
    """How the grant of a top-up stands."""

    NOT_STATED = "NOT_STATED"
    REFUSED = "REFUSED"
    """The books did not take it."""
    PENDING = "PENDING"
    PAID = "PAID"
    GIVEN_UP = "GIVEN_UP"


class TopUpStanding(NamedTuple):
    """All that the next step of a customer goes by."""

    rules: TopUpRules | None
    """None: its plan has no top-ups."""
    left_micros: int
    debt_micros: int
    zone: str
    failed_attempts: int
    """Since credits came last."""
    not_before: datetime | None
    """The next attempt after one that failed."""
    top_ups: Sequence[TopUp]
    """Those of `LOOKED_BACK`, the newest first."""
    payment: Payment = Payment.NOT_STATED
    """Of the newest, while that is requested."""


class RequestTopUp(NamedTuple):
    """A top-up is requested: its grant is stated next."""

    attempt: int
    amount_micros: int
    price_nanousd: int
    expires_at: datetime | None
    answer_by: datetime


class StateGrant(NamedTuple):
    """The grant of a top-up is to be stated in the books."""

    top_up: TopUp


class Announce(NamedTuple):
    """The grant of a top-up is stated: whoever collects payments hears of it."""

    top_up: TopUp


class TakeBack(NamedTuple):
    """The grant of a top-up that nobody answers is to be taken back in the books."""

    top_up: TopUp


class Succeed(NamedTuple):
    """A top-up was paid."""

    top_up: TopUp


class Fail(NamedTuple):
    """A top-up was not paid."""

    top_up: TopUp
    failure: TopUpFailure
    next_attempt_at: datetime | None
    """None: none follows by itself."""


class ReportCap(NamedTuple):
    """What is needed would exceed the month's cap: it is noted as failed, once in a month."""

    request: RequestTopUp


class Wait(NamedTuple):
    """Nothing is to be done before an instant, unless something is booked."""

    until: datetime


class Recovered(NamedTuple):
    """No top-up is needed any more."""


Step: TypeAlias = (
    RequestTopUp | StateGrant | Announce | TakeBack | Succeed | Fail | ReportCap | Wait | Recovered
)


def next_step(standing: TopUpStanding, now: datetime) -> Step:
    """What is to be done next for a customer that needs a top-up, or has one on its way."""
    newest = standing.top_ups[0] if standing.top_ups else None
    if newest is not None and newest.state is TopUpState.REQUESTED:
        return _of_requested(standing, newest, now)
    rules = standing.rules
    if rules is None or standing.left_micros >= rules.below_micros:
        return Recovered()
    earliest = _earliest(standing, rules, now)
    return _within_cap(standing, rules, now) if earliest <= now else _wait(earliest, now)


def _earliest(standing: TopUpStanding, rules: TopUpRules, now: datetime) -> datetime:
    """When the next request may be: after one that failed, and after one that succeeded."""
    if standing.failed_attempts >= rules.attempts_max:
        return now + LOOK_EVERY
    succeeded = (each for each in standing.top_ups if each.state is TopUpState.SUCCEEDED)
    last = next((each.ended_at for each in succeeded if each.ended_at is not None), None)
    cooled = now if last is None else last + rules.cool_down
    return max(standing.not_before or now, cooled)


def _within_cap(standing: TopUpStanding, rules: TopUpRules, now: datetime) -> RequestTopUp | ReportCap | Wait:
    """What is requested; what the month has no room for is reported once."""
    amount_micros = rules.amount_micros(standing.left_micros, standing.debt_micros)
    request = RequestTopUp(
        attempt=standing.failed_attempts + 1,
        amount_micros=amount_micros,
        price_nanousd=rules.price_nanousd(amount_micros),
        expires_at=None if rules.expires_after is None else now + rules.expires_after,
        answer_by=now + rules.answer_within,
    )
    begun_at, next_month = _month_of(now, standing.zone)
    this_month = [each for each in standing.top_ups if each.requested_at >= begun_at]
    used_micros = sum(each.amount_micros for each in this_month if each.state is not TopUpState.FAILED)
    if used_micros + amount_micros <= rules.monthly_cap_micros:
        return request
    if any(each.failure is TopUpFailure.MONTHLY_CAP for each in this_month):
        return _wait(next_month, now)
    return ReportCap(request)


def _of_requested(standing: TopUpStanding, top_up: TopUp, now: datetime) -> Step:
    """What is to be done for a top-up that is on its way; one that was paid has succeeded however late."""
    step: Step = TakeBack(top_up) if top_up.answer_by <= now else _wait(top_up.answer_by, now)
    match standing.payment:
        case Payment.NOT_STATED:
            step = StateGrant(top_up)
        case Payment.REFUSED:
            step = _fail(standing, top_up, TopUpFailure.REFUSED, now)
        case _ if top_up.grant_sequence is None:
            step = Announce(top_up)
        case Payment.PAID:
            step = Succeed(top_up)
        case Payment.GIVEN_UP:
            step = _fail(standing, top_up, top_up.failure or TopUpFailure.DECLINED, now)
    return step


def _wait(until: datetime, now: datetime) -> Wait:
    return Wait(min(until, now + LOOK_EVERY))


def _fail(standing: TopUpStanding, top_up: TopUp, failure: TopUpFailure, now: datetime) -> Fail:
    pause = standing.rules.pause(standing.failed_attempts + 1) if standing.rules is not None else None
    return Fail(top_up, failure, None if pause is None else now + pause)


def _month_of(now: datetime, zone: str) -> tuple[datetime, datetime]:
    """When the month of an instant began in a zone, and when the next one does."""
    here = ZoneInfo(zone)
    first = now.astimezone(here).date().replace(day=1)
    return day_begins(first, here), day_begins(recurrence(Every.MONTH, first, 1), here)
