"""Disputes: the payment of a grant is contested, and stands or is taken back once that is decided.

Until then what nobody holds of the grant is pending again: nobody draws it, it pays no debt, and it neither
starts nor expires. What is held can still be used; what is released, or refunded of its usage, waits with the
rest. A dispute that is won gives the grant back as it would be by now; one that is lost voids it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.books import refusals
from ledger.books.commands import DisputeGrant, ResolveDispute, VoidGrant
from ledger.books.grants import named, void
from ledger.books.model.decisions import Decision, Facts
from ledger.books.model.entries import EntryKind
from ledger.books.model.lots import GrantRecord, LotStatus
from ledger.books.model.plans import Plan
from ledger.books.model.refusals import Refusal
from ledger.books.model.wallets import Wallet
from ledger.books.posting import Draft

if TYPE_CHECKING:
    from datetime import datetime

_PAID = (LotStatus.PENDING_START, LotStatus.ACTIVE, LotStatus.DEPLETED)


def dispute(
    wallet: Wallet, command: DisputeGrant, *, now: datetime, plan: Plan, facts: Facts
) -> Decision | Refusal:
    """Sets aside what nobody holds of a grant; one that is used up is noted as disputed."""
    lot = named(wallet, command.lot, facts)
    if lot is None:
        return refusals.GRANT_NOT_FOUND
    if lot.status not in _PAID or _is_taken_back(facts.record):
        return refusals.grant_closed(lot.status)

    # The grant is disputed.
    draft = Draft(wallet, now)
    draft.place(lot)
    draft.dispute(lot.key)
    return draft.finish(
        EntryKind.GRANT_DISPUTED, plan.name, command=command, subject=lot.key, reason=command.reason
    )


def resolve(
    wallet: Wallet, command: ResolveDispute, *, now: datetime, plan: Plan, facts: Facts
) -> Decision | Refusal:
    """Gives a disputed grant back, or voids it as after a chargeback."""
    lot = named(wallet, command.lot, facts)
    if lot is None:
        return refusals.GRANT_NOT_FOUND
    if lot.status is not LotStatus.DISPUTED:
        return refusals.not_disputed(lot.status)
    if not command.is_won:
        lost = VoidGrant(command.request_id, command.fingerprint, command.lot, command.reason, command.used)
        return void(wallet, lost, now=now, plan=plan, facts=facts)

    # The payment stands.
    draft = Draft(wallet, now)
    draft.place(lot)
    draft.win(lot.key)
    return draft.finish(
        EntryKind.GRANT_DISPUTE_WON, plan.name, command=command, subject=lot.key, reason=command.reason
    )


def _is_taken_back(record: GrantRecord) -> bool:
    """Whether nothing is left of a payment: all of it was paid back, or given up."""
    return record.paid_nanousd is not None and 0 < record.paid_nanousd <= record.taken_off_nanousd
