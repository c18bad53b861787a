"""Grants: credits issued, their start and their expiry, the debt that they pay first, and their changes.

A grant may be stated before it is paid: it has no credits, and posts nothing, until its payment is confirmed.
Then it is issued as any other, at what was really paid. What nobody holds of a grant can be taken back; what
is held can still be used, and goes the same way once it is released.
"""

from __future__ import annotations

import re
from datetime import datetime

from ledger.books import refusals
from ledger.books.commands import ConfirmGrant, ExtendGrant, IssueGrant, VoidGrant
from ledger.books.limits import LOTS_MAX
from ledger.books.model.decisions import Decision, Facts
from ledger.books.model.entries import EntryKind
from ledger.books.model.lots import POOL_SCOPE, GrantKind, GrantRecord, Lot, LotKey, LotStatus
from ledger.books.model.plans import Plan, UsedCredits
from ledger.books.model.refusals import Refusal
from ledger.books.model.renewals import RecurringGrant
from ledger.books.model.wallets import Wallet
from ledger.books.posting import Draft, worth_nanousd
from ledger.books.rounding import MAX_AMOUNT, share

SCOPES = ("tokens", "compute", "units", "outcome")
"""Kinds of usage that a grant may be for alone."""

_POOL_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
SCOPES_ALLOWED = f"{', '.join(SCOPES)}, pool:<name> (1 to 63 letters, digits, '.', '_', '-')"

PRIORITY_MIN, PRIORITY_MAX = -(2**31), 2**31 - 1


def is_scope(scope: str) -> bool:
    """Whether a grant may be for this alone: a kind of usage, or a pool."""
    if scope.startswith(POOL_SCOPE):
        return _POOL_NAME.fullmatch(scope.removeprefix(POOL_SCOPE)) is not None
    return scope in SCOPES


def issue(wallet: Wallet, command: IssueGrant, *, now: datetime, plan: Plan) -> Decision | Refusal:
    """Issues a grant of one lot, whose value is the total paid; it is pending until it starts.

    One that is pending payment is stated only: nothing is posted, and no clock looks at it.
    """
    effective_at = command.effective_at or now
    refusal = (
        refuse_amounts(wallet, command.amount_micros, command.paid_total_nanousd)
        or _refuse_promo(command)
        or _refuse_window(command, effective_at, now)
    )
    if refusal:
        return refusal
    if len(wallet.lots) >= LOTS_MAX:
        return refusals.TOO_MANY_GRANTS

    # The grant is issued, or stated.
    draft = Draft(wallet, now)
    key = LotKey(draft.sequence, 0)
    lot = _stated(key, command, effective_at, command.expires_at)
    record = GrantRecord(command.paid_total_nanousd, command.external_reference, command.note)
    draft.record(key, record)
    if command.pending_payment:
        draft.place(lot)
        return draft.finish(EntryKind.GRANT_PENDING_PAYMENT, plan.name, command=command, subject=key)
    _issue(draft, lot, command.paid_total_nanousd)
    return draft.finish(EntryKind.GRANT, plan.name, command=command, subject=key)


def issue_recurring(
    wallet: Wallet, terms: RecurringGrant, at: datetime, next_at: datetime, *, now: datetime, plan: Plan
) -> list[Decision]:
    """Issues what a plan grants at an instant that is due, until the next; nothing, if it amounts to nothing.

    Nor what the books cannot hold beside what the customer has.
    """
    if refuse_amounts(wallet, terms.amount_micros, terms.paid_total_nanousd):
        return []
    draft = Draft(wallet, now, effective_at=at)
    key = LotKey(draft.sequence, 0)
    expires_at = next_at if terms.life is None else at + terms.life
    draft.record(key, GrantRecord(terms.paid_total_nanousd, recurring=terms.name))
    _issue(draft, _stated(key, terms, at, expires_at), terms.paid_total_nanousd)
    return [draft.finish(EntryKind.GRANT, plan.name, subject=key)]


def confirm(
    wallet: Wallet, command: ConfirmGrant, *, now: datetime, plan: Plan, facts: Facts
) -> Decision | Refusal:
    """Issues a grant whose payment was pending, at what was really paid."""
    lot = named(wallet, command.lot, facts)
    if lot is None:
        return refusals.GRANT_NOT_FOUND
    if lot.status is not LotStatus.PENDING_PAYMENT:
        return refusals.not_pending_payment(lot.status)
    if lot.expires_at is not None and lot.expires_at <= now:
        return refusals.grant_closed(LotStatus.EXPIRED)
    paid_nanousd = command.paid_total_nanousd
    if paid_nanousd is None:
        paid_nanousd = facts.record.paid_nanousd
    refusal = refuse_amounts(wallet, lot.amount_micros, paid_nanousd or 0)
    if refusal:
        return refusal
    if len(wallet.lots) >= LOTS_MAX:
        return refusals.TOO_MANY_GRANTS

    # The grant is paid.
    draft = Draft(wallet, now)
    draft.record(lot.key, GrantRecord(paid_nanousd or 0))
    _issue(draft, lot, paid_nanousd or 0)
    return draft.finish(EntryKind.GRANT, plan.name, command=command, subject=lot.key)


def void(
    wallet: Wallet, command: VoidGrant, *, now: datetime, plan: Plan, facts: Facts
) -> Decision | Refusal:
    """Takes back what nobody holds of a grant; its used credits stay paid, or are owed from now on."""
    lot = named(wallet, command.lot, facts)
    if lot is None:
        return refusals.GRANT_NOT_FOUND
    becomes_debt = (command.used or plan.used_when_voided) is UsedCredits.BECOME_DEBT
    is_issued = lot.status is not LotStatus.PENDING_PAYMENT
    used_micros, used_nanousd = _owed_of(wallet, lot, facts) if becomes_debt and is_issued else (0, 0)
    if lot.status in _ENDED or (lot.status is LotStatus.DEPLETED and not used_micros):
        return refusals.grant_closed(lot.status)
    if is_issued and command.only_pending_payment:
        return refusals.not_pending_payment(lot.status)
    refusal = _refuse_debt(wallet, used_micros, used_nanousd, facts) if used_micros else None
    if refusal:
        return refusal

    # The grant is voided.
    draft = Draft(wallet, now)
    draft.place(lot)
    draft.void(lot.key)
    if used_micros:
        draft.owe(lot.key, used_micros, used_nanousd)
    if not is_issued:
        draft.record(lot.key, GrantRecord(ended_micros=lot.amount_micros))
    return draft.finish(
        EntryKind.GRANT_VOIDED, plan.name, command=command, subject=lot.key, reason=command.reason
    )


def extend(
    wallet: Wallet, command: ExtendGrant, *, now: datetime, plan: Plan, facts: Facts
) -> Decision | Refusal:
    """Gives a grant that has not ended another expiry, which is to come, or another priority."""
    lot = named(wallet, command.lot, facts)
    if lot is None:
        return refusals.GRANT_NOT_FOUND
    if lot.status in _ENDED:
        return refusals.grant_closed(lot.status)
    expires_at = None if command.never_expires else command.expires_at or lot.expires_at
    priority = lot.priority if command.priority is None else command.priority
    refusal = _refuse_priority(priority)
    if command.expires_at is not None:
        refusal = refusal or _refuse_expiry(command.expires_at, lot.effective_at, now)
    if refusal:
        return refusal

    # The grant is extended.
    draft = Draft(wallet, now)
    draft.place(lot._replace(expires_at=expires_at, priority=priority))
    if lot.remaining_micros:
        draft.due(expires_at)
    return draft.finish(EntryKind.GRANT_EXTENDED, plan.name, command=command, subject=lot.key)


def start(wallet: Wallet, lot: Lot, *, now: datetime, plan: Plan) -> Decision:
    """Makes a pending lot active by the clock, at the instant of its start; it pays debt first."""
    draft = Draft(wallet, now, effective_at=lot.effective_at)
    draft.start(lot.key)
    draft.repay(lot.key)
    return draft.finish(EntryKind.GRANT_STARTED, plan.name, subject=lot.key)


def expire(wallet: Wallet, lot: Lot, *, now: datetime, plan: Plan) -> Decision:
    """Expires what is not held of a lot by the clock, at the instant of its expiry.

    The entry is written also where all of it is held and nothing moves: from then on what is released
    of the lot expires at once.
    """
    draft = Draft(wallet, now, effective_at=lot.expires_at)
    draft.expire(lot.key)
    return draft.finish(EntryKind.GRANT_EXPIRED, plan.name, subject=lot.key)


_ENDED = (LotStatus.EXPIRED, LotStatus.VOIDED)
"""What is in no order to be changed: it may still have credits that are held."""


def named(wallet: Wallet, key: LotKey, facts: Facts) -> Lot | None:
    """The lot that a command names, as it stands now."""
    return next((lot for lot in (*wallet.lots, *facts.lots) if lot.key == key), None)


def used_of(lot: Lot, record: GrantRecord) -> int:
    """What of a lot was used, and is not owed since: in micro-credits."""
    return lot.amount_micros - lot.remaining_micros - record.ended_micros


def claimable_of(lot: Lot, record: GrantRecord) -> int:
    """What of that has not been given up either: in micro-credits."""
    return max(0, used_of(lot, record) - record.given_up_micros)


def earned_of(lot: Lot, record: GrantRecord) -> int:
    """What of the total paid is that of credits which are used or expired, in nano-dollars.

    That is what nothing has been taken off for yet, less the value of what is left.
    """
    return (record.paid_nanousd or 0) - record.taken_off_nanousd - lot.value_nanousd


def claim_of(wallet: Wallet, lot: Lot, facts: Facts) -> int:
    """The same of the lot that a command names, as far as it does not back other credits of the customer.

    Credits that came back of no lot are worth something too, which was paid with some grant.
    """
    return min(earned_of(lot, facts.record), facts.claimed_nanousd - worth_nanousd(wallet))


def _owed_of(wallet: Wallet, lot: Lot, facts: Facts) -> tuple[int, int]:
    """What is owed of a lot whose payment is taken back: micro-credits, and their price in nano-dollars.

    What was given up is not owed again; nor is what other credits of the customer stand for by now.
    """
    micros, earned = claimable_of(lot, facts.record), max(0, earned_of(lot, facts.record))
    claim = max(0, claim_of(wallet, lot, facts))
    if not micros or earned == 0:
        return micros, 0
    return share(micros, claim, earned), claim


def _stated(
    key: LotKey, terms: IssueGrant | RecurringGrant, effective_at: datetime, expires_at: datetime | None
) -> Lot:
    """A lot as it is stated, before it is issued."""
    return Lot(
        key=key,
        kind=terms.kind,
        amount_micros=terms.amount_micros,
        remaining_micros=0,
        held_micros=0,
        value_nanousd=0,
        priority=terms.priority,
        scope=terms.scope,
        effective_at=effective_at,
        expires_at=expires_at,
        status=LotStatus.PENDING_PAYMENT,
    )


def _issue(draft: Draft, stated: Lot, paid_nanousd: int) -> None:
    """Books a grant as it was stated; one that has started pays debt first."""
    pending = stated.effective_at > draft.booked_at
    lot = stated._replace(
        remaining_micros=stated.amount_micros,
        value_nanousd=paid_nanousd,
        status=LotStatus.PENDING_START if pending else LotStatus.ACTIVE,
    )
    draft.issue(lot)
    if not pending:
        draft.repay(lot.key)


def refuse_amounts(wallet: Wallet, amount_micros: int, paid_nanousd: int) -> Refusal | None:
    """Refuses a grant that the books cannot hold, by itself or with all others of the customer."""
    if not 0 < amount_micros <= MAX_AMOUNT:
        return refusals.invalid(
            "amount_micros", f"must be 1 to {MAX_AMOUNT} micro-credits, got {amount_micros}"
        )
    if amount_micros - wallet.balances.issued > MAX_AMOUNT:
        return refusals.invalid(
            "amount_micros", f"all that a customer is ever granted must not exceed {MAX_AMOUNT} micro-credits"
        )
    if not 0 <= paid_nanousd <= MAX_AMOUNT:
        return refusals.invalid("paid_total_usd", f"must be $0 to ${MAX_AMOUNT // 10**9}")
    if worth_nanousd(wallet) + paid_nanousd > MAX_AMOUNT:
        return refusals.invalid(
            "paid_total_usd", f"all grants of a customer must not be worth more than ${MAX_AMOUNT // 10**9}"
        )
    return None


def _refuse_promo(command: IssueGrant) -> Refusal | None:
    if command.kind is not GrantKind.PROMO:
        return None
    if command.paid_total_nanousd:
        return refusals.invalid("paid_total_usd", "must be 0 for a promotional grant")
    if command.pending_payment:
        return refusals.invalid("pending_payment", "nobody pays for a promotional grant")
    return None


def _refuse_debt(wallet: Wallet, micros: int, value_nanousd: int, facts: Facts) -> Refusal | None:
    """Refuses what cannot be owed: credits that were not granted, amounts that the books cannot hold."""
    if facts.record.paid_nanousd is None:
        return refusals.invalid("used", "these credits came back: void the grant that they came from")
    if max(micros - wallet.balances.debt, value_nanousd - wallet.unbilled_nanousd) > MAX_AMOUNT:
        return refusals.invalid("used", f"the customer would owe more than {MAX_AMOUNT} micro-credits")
    return None


def _refuse_window(command: IssueGrant, effective_at: datetime, now: datetime) -> Refusal | None:
    if command.scope is not None and not is_scope(command.scope):
        return refusals.invalid("scope", f"must be one of {SCOPES_ALLOWED}, or empty")
    refusal = _refuse_priority(command.priority)
    if refusal or command.expires_at is None:
        return refusal
    return _refuse_expiry(command.expires_at, effective_at, now)


def _refuse_priority(priority: int) -> Refusal | None:
    if PRIORITY_MIN <= priority <= PRIORITY_MAX:
        return None
    return refusals.invalid("priority", "must fit 32 bits")


def _refuse_expiry(expires_at: datetime, effective_at: datetime, now: datetime) -> Refusal | None:
    if expires_at <= effective_at:
        return refusals.invalid("expires_at", "must be after effective_at")
    if expires_at <= now:
        return refusals.invalid("expires_at", "must be in the future")
    return None
