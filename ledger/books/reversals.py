"""Reversals: a charge, or all charges of a closed reservation, did not happen.

All that was collected and has not been refunded comes back, revenue and cost are negated.
"""

from __future__ import annotations

from datetime import datetime

from ledger.books import refusals
from ledger.books.commands import Reverse
from ledger.books.draft import Draft
from ledger.books.model import (
    NO_COSTS,
    ZERO,
    Decision,
    EntryKind,
    Facts,
    Plan,
    Refusal,
    Reservation,
    ReservationState,
    Wallet,
)
from ledger.books.returns import give_back, left_of, lines_left, take_back


def reverse(
    wallet: Wallet, command: Reverse, *, now: datetime, plan: Plan, facts: Facts
) -> Decision | Refusal:
    """Undo a charge made by `Charge`, or all charges of a closed reservation: whole, and once."""
    refusal = _refuse_charge(facts) if command.charge is not None else _refuse_reservation(facts)
    if refusal:
        return refusal
    undone = facts.charges
    reservation = facts.reservation if command.charge is None else None

    # The charge is undone.
    draft = Draft(wallet, now)
    give_back(draft, facts, left_of(facts))
    for money in (entry.money for entry in undone if entry.money):
        draft.cost(money.dollars.cost)
        draft.absorb(
            -money.absorbed_failed_outcome_nanousd,
            -money.absorbed_uncollected_nanousd,
            -money.absorbed_unpriced_nanousd,
        )
    rests = lines_left(facts)
    parts = [rest.micros for rest in rests]
    lines, money_lines = take_back(rests, parts, draft.revenue_nanousd, cost=True)
    refunded = sum(entry.charged_micros for entry in facts.refunds)
    return draft.finish(
        EntryKind.REVERSAL,
        plan.name,
        command=command,
        reservation=_undo(reservation) if reservation else None,
        subject=(command.reservation if command.charge is None else command.charge, None),
        terms=reservation.terms if reservation else undone[0].terms,
        labels=reservation.labels if reservation else undone[0].labels,
        priced_micros=-refunded - sum(entry.priced_micros for entry in undone),
        uncollected_micros=-sum(entry.uncollected_micros for entry in undone),
        reason=command.reason,
        lines=lines,
        money_lines=money_lines,
        states=facts.states,
    )


def _refuse_charge(facts: Facts) -> Refusal | None:
    if not facts.charges or facts.charges[0].kind not in (EntryKind.CHARGE, EntryKind.COMMIT):
        return refusals.CHARGE_NOT_FOUND
    if facts.reversed or facts.charges[0].kind is EntryKind.COMMIT:
        return refusals.CHARGE_NOT_REVERSIBLE
    return None


def _refuse_reservation(facts: Facts) -> Refusal | None:
    if facts.reservation is None:
        return refusals.RESERVATION_NOT_FOUND
    if facts.reservation.state is ReservationState.OPEN:
        return refusals.RESERVATION_OPEN
    if facts.reversed or facts.reservation.state is ReservationState.REVERSED:
        return refusals.CHARGE_NOT_REVERSIBLE
    return None


def _undo(before: Reservation) -> Reservation:
    """Give the reservation as if nothing had been charged."""
    return Reservation(
        sequence=before.sequence,
        state=ReservationState.REVERSED,
        terms=before.terms,
        created_at=before.created_at,
        expires_at=before.expires_at,
        pins=(),
        labels=before.labels,
        exact_micros=ZERO,
        priced_micros=0,
        charged_micros=0,
        has_outcome_rule=before.has_outcome_rule,
        outcome_charged=False,
        own_run=None,
        costs=NO_COSTS,
    )
