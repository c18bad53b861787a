"""Renewals: what a plan grants again and again, and what of it rolls over.

A customer who begins with a plan is granted what recurs, at once and whole, if the plan names no day of the
month or it is that day. Otherwise, and where grants of the plan before it recur as often (their days stay),
it comes within a period: then the grant is prorated, or waits for the next day. Who comes back to a plan
before the period of its grant has ended is granted no more for it.

A renewal is due by the clock, at the beginning of its day in the customer's zone, under the plan as it is
then. It is up to two entries: unused credits move on to a new lot, and the next grant is issued. What is left
of the period's credits ends by its own expiry, at the same instant and after them. Where the plan does not
name the grant any more, or the customer is on another one, nothing recurs.

What would be granted or be worth more than the books hold is not granted.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ledger.books.calendar import last_recurrence, next_recurrence, recurrence
from ledger.books.grants import issue_recurring
from ledger.books.model.decisions import Decision
from ledger.books.model.entries import EntryKind
from ledger.books.model.lots import GrantRecord, Lot, LotKey, LotStatus
from ledger.books.model.plans import Plan
from ledger.books.model.renewals import Every, RecurringGrant, Renewal, RenewalKey, Rollover
from ledger.books.model.wallets import Wallet
from ledger.books.posting import Draft

PLAN_AWAITED = timedelta(minutes=1)
"""After so long it is looked again whether a customer's plan is known."""

_APART = {
    Every.DAY: timedelta(hours=12),
    Every.WEEK: timedelta(days=3),
    Every.MONTH: timedelta(days=14),
    Every.QUARTER: timedelta(days=45),
    Every.YEAR: timedelta(days=182),
}
"""No two renewals are nearer to each other: where zone or day are others since the last one, the period
is longer, and never of some hours."""

_MICROSECOND = timedelta(microseconds=1)
_LONG_MONTH = 1
"""A month that has all days."""


class Renewed(NamedTuple):
    """What has come of a renewal."""

    decisions: list[Decision]
    wallet: Wallet
    renewals: Mapping[RenewalKey, Renewal]
    """Those that changed."""


def comes_to(plan: str, at: datetime) -> Mapping[RenewalKey, Renewal]:
    """That a customer comes to a plan: what recurs by it begins, by the clock, at once."""
    return {RenewalKey(plan, ""): Renewal(at, anchor=at.date())}


def renew(
    wallet: Wallet,
    key: RenewalKey,
    renewals: Mapping[RenewalKey, Renewal],
    *,
    now: datetime,
    plan: Plan | None,
) -> Renewed:
    """Writes a renewal that is due, or begins those of a plan; `renewals` are all of the customer's.

    `plan` is the customer's at that instant. One that is not known (None) is awaited: nothing ends for that.
    """
    renewal = renewals[key]
    at = renewal.next_at
    if at is None:
        raise AssertionError("a renewal that is due has an instant")
    if plan is None:
        return Renewed([], wallet, {key: renewal._replace(next_at=now + PLAN_AWAITED)})
    ended = {key: renewal._replace(next_at=None, lots=())}
    if key.plan != plan.name:
        return Renewed([], wallet, ended)
    if not key.grant:
        return _begin(wallet, at, renewals, now=now, plan=plan, ended=ended)
    terms = next((grant for grant in plan.grants if grant.name == key.grant), None)
    if terms is None:
        return Renewed([], wallet, ended)
    zone = ZoneInfo(wallet.zone)
    anchor = _anchor(terms, at.astimezone(zone).date()) if terms.day else renewal.anchor
    next_at, _ = next_recurrence(terms.every, anchor, at + _APART[terms.every], zone)
    decisions: list[Decision] = []
    lots: list[LotKey] = []
    if terms.rollover is not None:
        rolled = _roll_over(wallet, renewal, terms.rollover, at, next_at, now=now, plan=plan, name=terms.name)
        decisions += rolled
        if rolled and terms.rollover.life is None:
            lots += [lot.key for lot in rolled[0].lots if lot.key.sequence == rolled[0].entry.sequence]
    wallet = decisions[-1].wallet if decisions else wallet
    granted = issue_recurring(wallet, terms, at, next_at, now=now, plan=plan)
    decisions += granted
    if terms.life is None:
        lots += [_made_by(decision) for decision in granted]
    after = Renewal(next_at, terms.every, anchor, tuple(lots))
    return Renewed(decisions, decisions[-1].wallet if decisions else wallet, {key: after})


def _begin(
    wallet: Wallet,
    at: datetime,
    renewals: Mapping[RenewalKey, Renewal],
    *,
    now: datetime,
    plan: Plan,
    ended: Mapping[RenewalKey, Renewal],
) -> Renewed:
    """Begins what recurs by a plan, but for what goes on from a former stay."""
    changed, decisions = dict(ended), []
    for terms in plan.grants:
        key = RenewalKey(plan.name, terms.name)
        if key in renewals and renewals[key].next_at is not None:
            continue
        zone = ZoneInfo(wallet.zone)
        today = at.astimezone(zone).date()
        anchor = _anchor(terms, today) if terms.day else _running(terms.every, renewals) or today
        next_at, since = next_recurrence(terms.every, anchor, at, zone)
        first = terms
        if recurrence(terms.every, anchor, last_recurrence(terms.every, anchor, today)) != today:
            first = _prorated(terms, (next_at - at) // _MICROSECOND, (next_at - since) // _MICROSECOND)
        granted = issue_recurring(wallet, first, at, next_at, now=now, plan=plan)
        if granted:
            decisions += granted
            wallet = granted[-1].wallet
        lots = tuple(_made_by(decision) for decision in granted) if terms.life is None else ()
        changed[key] = Renewal(next_at, terms.every, anchor, lots)
    return Renewed(decisions, wallet, changed)


def _anchor(terms: RecurringGrant, today: date) -> date:
    """The day from which months are counted that all have one day of the month, or their last."""
    return date(today.year, _LONG_MONTH, terms.day or today.day)


def _running(every: Every, renewals: Mapping[RenewalKey, Renewal]) -> date | None:
    """The day from which a grant is counted that recurs as often already, of the plan before."""
    running = (
        (renewal.next_at, renewal.anchor)
        for key, renewal in renewals.items()
        if key.grant and renewal.next_at is not None and renewal.every is every
    )
    return min(running, default=(None, None))[1]


def _prorated(terms: RecurringGrant, rest: int, period: int) -> RecurringGrant:
    """What is granted for the rest of a period: both amounts rounded down; nothing, if it is not prorated."""
    if not terms.prorated:
        return terms._replace(amount_micros=0)
    return terms._replace(
        amount_micros=terms.amount_micros * rest // period,
        paid_total_nanousd=terms.paid_total_nanousd * rest // period,
    )


def _roll_over(
    wallet: Wallet,
    renewal: Renewal,
    rollover: Rollover,
    at: datetime,
    next_at: datetime,
    *,
    now: datetime,
    plan: Plan,
    name: str,
) -> list[Decision]:
    """Moves on what nobody holds of the lots that end now: what would have burned last moves first.

    What burns alike moves to one lot: one for each of the old ones would be as many as there were renewals.
    """
    draft = Draft(wallet, now, effective_at=at)
    ending = {lot.key: lot for lot in wallet.lots if lot.key in renewal.lots and _ends(lot, at)}
    left = sum(_free(lot) for lot in ending.values())
    if left < max(rollover.min_micros, 1):
        return []
    if rollover.max_micros is not None:
        left = min(left, rollover.max_micros)
    expires_at = next_at if rollover.life is None else at + rollover.life
    moves: dict[LotKey, list[tuple[LotKey, int]]] = {}
    made: dict[tuple[object, ...], Lot] = {}
    for old in reversed(ending.values()):
        micros = min(_free(old), left)
        if not micros:
            continue
        left -= micros
        alike = (old.kind, old.priority, old.scope)
        new = made.get(alike) or _successor(old, LotKey(draft.sequence, len(made)), at, expires_at)
        made[alike] = new._replace(amount_micros=new.amount_micros + micros)
        moves.setdefault(new.key, []).append((old.key, micros))
    for new in made.values():
        draft.place(new)
        draft.due(new.expires_at)
        for key, micros in moves[new.key]:
            draft.roll_over(key, micros, new.key)
        draft.record(new.key, GrantRecord(draft.lots[new.key].value_nanousd, recurring=name))
    return [draft.finish(EntryKind.ROLLOVER, plan.name, subject=LotKey(draft.sequence, 0))]


def _successor(old: Lot, key: LotKey, at: datetime, expires_at: datetime) -> Lot:
    """What takes credits of a lot over, still empty."""
    return old._replace(
        key=key,
        amount_micros=0,
        remaining_micros=0,
        held_micros=0,
        value_nanousd=0,
        effective_at=at,
        expires_at=expires_at,
        status=LotStatus.ACTIVE,
    )


def _ends(lot: Lot, at: datetime) -> bool:
    """Whether a lot ends now: somebody may have extended it, or taken it back."""
    return lot.status is LotStatus.ACTIVE and lot.expires_at is not None and lot.expires_at <= at


def _free(lot: Lot) -> int:
    return lot.remaining_micros - lot.held_micros


def _made_by(decision: Decision) -> LotKey:
    return LotKey(decision.entry.sequence, 0)
