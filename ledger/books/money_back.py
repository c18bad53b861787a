"""Money that goes back, and money that never comes: refunds of grants, and what is given up.

A refund takes credits of a grant back that nobody holds, and says what is to be paid back for them. It may
come in parts, up to the whole. All parts, and what else was taken off the total paid, leave no less of that
than what is left of the grant is worth: nobody is paid back for credits that stay.

What is given up never was paid. Of a grant that is a part of what it was sold for, as far as its credits are
used or expired; what is left of them is taken back instead. A debt is given up by a lot that nobody pays for,
and that pays the debt at once: what is refunded later of the usage that made it goes to that lot, and is
worth nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.books import refusals
from ledger.books.grants import claim_of, claimable_of, named, refuse_amounts
from ledger.books.model.decisions import Decision, Facts
from ledger.books.model.entries import EntryKind
from ledger.books.model.lots import GrantKind, GrantRecord, Lot, LotKey, LotStatus
from ledger.books.model.plans import Plan
from ledger.books.model.refusals import Refusal
from ledger.books.model.wallets import Wallet
from ledger.books.posting import Draft
from ledger.books.rounding import share

if TYPE_CHECKING:
    from datetime import datetime

    from ledger.books.commands import RefundGrant, WriteOffDebt, WriteOffGrant

_ISSUED = (LotStatus.PENDING_START, LotStatus.ACTIVE)


def refund(
    wallet: Wallet, command: RefundGrant, *, now: datetime, plan: Plan, facts: Facts
) -> Decision | Refusal:
    """Takes credits of a grant back for money, which is to be paid back: their value, or what is stated."""
    lot = named(wallet, command.lot, facts)
    if lot is None:
        return refusals.GRANT_NOT_FOUND
    if lot.status not in _ISSUED:
        return refusals.grant_closed(lot.status)
    free_micros = lot.remaining_micros - lot.held_micros
    micros = free_micros if command.amount_micros is None else command.amount_micros
    value_nanousd = share(lot.value_nanousd, min(micros, free_micros), lot.remaining_micros)
    most_nanousd = _payable(wallet, lot, value_nanousd, facts)
    nanousd = value_nanousd if command.paid_back_nanousd is None else command.paid_back_nanousd
    if not (0 < micros <= free_micros and 0 < nanousd <= most_nanousd):
        return refusals.refund_exceeds_grant(free_micros, most_nanousd)

    # The refund is owed.
    draft = Draft(wallet, now)
    draft.refund(lot.key, micros, nanousd, _given_up(wallet, lot, nanousd - value_nanousd, facts))
    return draft.finish(
        EntryKind.GRANT_REFUNDED, plan.name, command=command, subject=lot.key, reason=command.reason
    )


def write_off(
    wallet: Wallet, command: WriteOffGrant, *, now: datetime, plan: Plan, facts: Facts
) -> Decision | Refusal:
    """Gives up what a grant was sold for, as far as its credits are used or expired."""
    lot = named(wallet, command.lot, facts)
    if lot is None:
        return refusals.GRANT_NOT_FOUND
    if lot.status is LotStatus.PENDING_PAYMENT:
        return refusals.grant_closed(lot.status)
    owed_nanousd = max(0, claim_of(wallet, lot, facts))
    nanousd = owed_nanousd if command.amount_nanousd is None else command.amount_nanousd
    if not 0 < nanousd <= owed_nanousd:
        return refusals.write_off_exceeds_claim(owed_nanousd=owed_nanousd)

    # The payment is given up.
    draft = Draft(wallet, now)
    draft.place(lot)
    draft.write_off(lot.key, nanousd, _given_up(wallet, lot, nanousd, facts))
    return draft.finish(
        EntryKind.GRANT_WRITTEN_OFF, plan.name, command=command, subject=lot.key, reason=command.reason
    )


def write_off_debt(wallet: Wallet, command: WriteOffDebt, *, now: datetime, plan: Plan) -> Decision | Refusal:
    """Gives up what the customer owes, by a lot that nobody pays for and that is used up by it."""
    owed_micros = -wallet.balances.debt
    micros = owed_micros if command.amount_micros is None else command.amount_micros
    if not 0 < micros <= owed_micros:
        return refusals.write_off_exceeds_claim(owed_micros=owed_micros)
    refusal = refuse_amounts(wallet, micros, 0)
    if refusal:
        return refusal

    # The debt is given up.
    draft = Draft(wallet, now)
    key = LotKey(draft.sequence, 0)
    draft.record(key, GrantRecord(paid_nanousd=0))
    draft.write_off_debt(
        Lot(
            key=key,
            kind=GrantKind.ADJUSTMENT,
            amount_micros=micros,
            remaining_micros=0,
            held_micros=0,
            value_nanousd=0,
            priority=0,
            scope=None,
            effective_at=draft.effective_at,
            expires_at=None,
            status=LotStatus.DEPLETED,
        )
    )
    return draft.finish(EntryKind.GRANT, plan.name, command=command, subject=key, reason=command.reason)


def _given_up(wallet: Wallet, lot: Lot, nanousd: int, facts: Facts) -> int:
    """How many used credits of a lot so much of its claim stands for, in micro-credits: all of it for all."""
    if nanousd <= 0:
        return 0
    return share(claimable_of(lot, facts.record), nanousd, claim_of(wallet, lot, facts))


def _payable(wallet: Wallet, lot: Lot, value_nanousd: int, facts: Facts) -> int:
    """What may be paid back for credits of this value, at most, in nano-dollars.

    Credits that came back of no lot are known by their value alone.
    """
    if facts.record.paid_nanousd is None:
        return value_nanousd
    return max(0, claim_of(wallet, lot, facts) + value_nanousd)
