"""Grants: credits issued, their start and their expiry, and the debt that they pay first."""

from __future__ import annotations

import re
from datetime import datetime

from ledger.books import refusals
from ledger.books.commands import IssueGrant
from ledger.books.limits import LOTS_MAX
from ledger.books.model import (
    POOL_SCOPE,
    Decision,
    EntryKind,
    GrantKind,
    Lot,
    LotKey,
    LotStatus,
    Plan,
    Refusal,
    Wallet,
)
from ledger.books.posting import Draft
from ledger.books.rounding import MAX_AMOUNT

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
    """Issues a grant of one lot, whose value is the total paid; it is pending until it starts."""
    effective_at = command.effective_at or now
    refusal = _refuse_amounts(wallet, command) or _refuse_window(command, effective_at, now)
    if refusal:
        return refusal
    if len(wallet.lots) >= LOTS_MAX:
        return refusals.TOO_MANY_GRANTS

    # The grant is issued.
    draft = Draft(wallet, now)
    key = LotKey(draft.sequence, 0)
    pending = effective_at > now
    lot = Lot(
        key=key,
        kind=command.kind,
        amount_micros=command.amount_micros,
        remaining_micros=command.amount_micros,
        held_micros=0,
        value_nanousd=command.paid_total_nanousd,
        priority=command.priority,
        scope=command.scope,
        effective_at=effective_at,
        expires_at=command.expires_at,
        status=LotStatus.PENDING_START if pending else LotStatus.ACTIVE,
    )
    draft.issue(lot)
    if not pending:
        draft.repay(key)
    return draft.finish(EntryKind.GRANT, plan.name, command=command, subject=key)


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


def _refuse_amounts(wallet: Wallet, command: IssueGrant) -> Refusal | None:
    if not 0 < command.amount_micros <= MAX_AMOUNT:
        return refusals.invalid(
            "amount_micros", f"must be 1 to {MAX_AMOUNT} micro-credits, got {command.amount_micros}"
        )
    if command.amount_micros - wallet.balances.issued > MAX_AMOUNT:
        return refusals.invalid(
            "amount_micros", f"all that a customer is ever granted must not exceed {MAX_AMOUNT} micro-credits"
        )
    if not 0 <= command.paid_total_nanousd <= MAX_AMOUNT:
        return refusals.invalid("paid_total_usd", f"must be $0 to ${MAX_AMOUNT // 10**9}")
    if command.paid_total_nanousd and command.kind is GrantKind.PROMO:
        return refusals.invalid("paid_total_usd", "must be 0 for a promotional grant")
    if sum(lot.value_nanousd for lot in wallet.lots) + command.paid_total_nanousd > MAX_AMOUNT:
        return refusals.invalid(
            "paid_total_usd", f"all grants of a customer must not be worth more than ${MAX_AMOUNT // 10**9}"
        )
    return None


def _refuse_window(command: IssueGrant, effective_at: datetime, now: datetime) -> Refusal | None:
    if command.scope is not None and not is_scope(command.scope):
        return refusals.invalid("scope", f"must be one of {SCOPES_ALLOWED}, or empty")
    if not PRIORITY_MIN <= command.priority <= PRIORITY_MAX:
        return refusals.invalid("priority", "must fit 32 bits")
    if command.expires_at is None:
        return None
    if command.expires_at <= effective_at:
        return refusals.invalid("expires_at", "must be after effective_at")
    if command.expires_at <= now:
        return refusals.invalid("expires_at", "must be in the future")
    return None
