"""Reversals: a charge, or all charges of a closed reservation, did not happen.

All that was collected comes back, but for what was refunded before, and for what a period that has closed
since gave back of it; revenue and cost are negated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from ledger.books import refusals
from ledger.books.budgets import counted_micros
from ledger.books.commands import Reverse
from ledger.books.model.amounts import NO_AMOUNT, Ratio
from ledger.books.model.decisions import Decision, Facts
from ledger.books.model.entries import Entry, EntryKind
from ledger.books.model.plans import Plan
from ledger.books.model.refusals import Refusal
from ledger.books.model.reservations import NO_COSTS, Reservation, ReservationState
from ledger.books.model.wallets import NO_TALLY, Wallet
from ledger.books.period_close import reopen, take_off
from ledger.books.posting import Draft
from ledger.books.returns.credit_return import give_back, left_of, lines_left, take_back
from ledger.books.rounding import exact_sum
from ledger.books.tallies import uncarry


def reverse(
    wallet: Wallet, command: Reverse, *, now: datetime, plan: Plan, facts: Facts
) -> Decision | Refusal:
    """Undoes a charge made by `Charge`, or all charges of a closed reservation: whole, and once."""
    refusal = _refuse_charge(facts) if command.charge is not None else _refuse_reservation(facts)
    if refusal:
        return refusal
    undone = facts.charges
    reservation = facts.reservation if command.charge is None else None

    # The charge is undone.
    draft = Draft(wallet, now)
    left_micros = left_of(facts)
    give_back(draft, facts, left_micros)
    for money in (entry.money for entry in undone if entry.money):
        draft.cost(money.dollars.cost)
        draft.absorb(
            -money.absorbed_failed_outcome_nanousd,
            -money.absorbed_uncollected_nanousd,
            -money.absorbed_unpriced_nanousd,
        )
    for key, more in _carried_by(undone).items():
        draft.carry(key, *uncarry(wallet.tallies.get(key, NO_TALLY), more))
    rests = lines_left(facts)
    parts = [rest.micros for rest in rests]
    lines, money_lines = take_back(rests, parts, draft.revenue_nanousd, cost=True)
    uncollected_micros = sum(entry.uncollected_micros for entry in undone)
    if facts.counters:
        draft.count(facts.counters, -sum([counted_micros(entry) for entry in undone]))
    given_micros, states = take_off(facts.states, undone, facts.refunds)
    return draft.finish(
        EntryKind.REVERSAL,
        plan.name,
        command=command,
        reservation=_undo(reservation, given_micros) if reservation else None,
        subject=(command.reservation if command.charge is None else command.charge, None),
        terms=reservation.terms if reservation else undone[0].terms,
        labels=reservation.labels if reservation else undone[0].labels,
        priced_micros=-left_micros - uncollected_micros,
        uncollected_micros=-uncollected_micros,
        reason=command.reason,
        lines=lines,
        money_lines=money_lines,
        states=reopen(states, now),
    )


def _carried_by(undone: Sequence[Entry]) -> Mapping[str, Ratio]:
    """How much more is carried since charges, by key: what others left over is due again."""
    carried: dict[str, Ratio] = {}
    for money in (entry.money for entry in undone if entry.money):
        for key, more in money.remainders.items():
            carried[key] = exact_sum((more,), carried.get(key, NO_AMOUNT))
    return carried


def _refuse_charge(facts: Facts) -> Refusal | None:
    if not facts.charges or facts.charges[0].kind not in (EntryKind.CHARGE, EntryKind.COMMIT):
        return refusals.CHARGE_NOT_FOUND
    if facts.reversed or facts.charges[0].kind is EntryKind.COMMIT:
        return refusals.CHARGE_NOT_REVERSIBLE
    return None if facts.is_exact else refusals.REVERSAL_NOT_EXACT


def _refuse_reservation(facts: Facts) -> Refusal | None:
    if facts.reservation is None:
        return refusals.RESERVATION_NOT_FOUND
    if facts.reservation.state is ReservationState.OPEN:
        return refusals.RESERVATION_OPEN
    if facts.reversed or facts.reservation.state is ReservationState.REVERSED:
        return refusals.CHARGE_NOT_REVERSIBLE
    if facts.is_beyond_limit:
        return refusals.REVERSAL_TOO_LARGE
    return None if facts.is_exact else refusals.REVERSAL_NOT_EXACT


def _undo(before: Reservation, given_micros: int) -> Reservation:
    """The reservation as if nothing had been charged, but for what periods have given back of it."""
    return Reservation(
        sequence=before.sequence,
        state=ReservationState.REVERSED,
        terms=before.terms,
        created_at=before.created_at,
        expires_at=before.expires_at,
        pins=(),
        labels=before.labels,
        priced_micros=given_micros,
        charged_micros=given_micros,
        has_outcome_rule=before.has_outcome_rule,
        outcome_charged=False,
        own_run=None,
        costs=NO_COSTS,
        counters=before.counters,
    )
