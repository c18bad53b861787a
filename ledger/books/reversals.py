"""Reversals: a charge, or all charges of a closed reservation, did not happen.

The credits that were collected come back, first against what the customer owes now, whichever charge made
that debt. What is left goes to lots, the last drawn first:

1. What was collected as debt, and has been paid since: to the lots that paid debt after the charge, the
   newest first, each with the value that it gave. A lot to which a reversal has returned anything since is
   passed over, so that no payment comes back twice. What no such lot has paid (other credits that came back
   did) makes a new lot, with the value that the charge booked for it.
2. What was drawn from lots: to those lots, with the value drawn.

For a lot that has expired or was voided since, a new lot of its kind, priority and scope is made, with the
value refunded and a life of 30 days.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from ledger.books import refusals
from ledger.books.commands import Reverse
from ledger.books.draft import Draft
from ledger.books.exact import apportion, share
from ledger.books.model import (
    NO_COSTS,
    ZERO,
    Decision,
    Draw,
    Entry,
    EntryKind,
    Facts,
    GrantKind,
    Lot,
    LotKey,
    LotStatus,
    MoneyLine,
    Plan,
    Refusal,
    Reservation,
    ReservationState,
    Wallet,
)

NEW_LIFE = timedelta(days=30)


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
    _return_credits(draft, facts)
    for money in (entry.money for entry in undone if entry.money):
        draft.cost(money.dollars.cost)
        draft.absorb(
            -money.absorbed_failed_outcome_nanousd,
            -money.absorbed_uncollected_nanousd,
            -money.absorbed_unpriced_nanousd,
        )
    return draft.finish(
        EntryKind.REVERSAL,
        plan.name,
        command=command,
        reservation=_undo(reservation) if reservation else None,
        subject=(command.reservation if command.charge is None else command.charge, None),
        terms=reservation.terms if reservation else undone[0].terms,
        labels=reservation.labels if reservation else undone[0].labels,
        priced_micros=-sum(entry.priced_micros for entry in undone),
        uncollected_micros=-sum(entry.uncollected_micros for entry in undone),
        reason=command.reason,
        money_lines=_negated_lines(undone, draft.revenue_nanousd),
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


def _return_credits(draft: Draft, facts: Facts) -> None:
    undone = facts.charges
    collected = sum(entry.charged_micros for entry in undone)
    borrowed = -sum(entry.credits.debt for entry in undone)
    drawn = collected - borrowed
    forgiven = min(collected, -draft.wallet.balances.debt)
    if forgiven:
        draft.forgive(forgiven)
    left = collected - forgiven
    paid_since = max(0, left - drawn)
    own = _take(_draws(undone), left - paid_since)
    payments = _take(_payments(facts.later), paid_since)
    unknown = paid_since - sum(micros for micros, _ in payments.values())
    born = 0
    if unknown:
        booked = -sum(entry.money.debt_value_nanousd for entry in undone if entry.money)
        draft.give_back(_new_lot(draft, born, None, unknown), unknown, share(booked, unknown, borrowed))
        born += 1
    known = {lot.key: lot for lot in facts.lots}
    for key in {**payments, **own}:
        parts = [returned[key] for returned in (payments, own) if key in returned]
        micros, value = sum(part[0] for part in parts), sum(part[1] for part in parts)
        lot = draft.lots.get(key) or _emptied(known[key])
        if _takes_back(lot, draft.booked_at):
            draft.give_back(lot, micros, value)
        else:
            draft.give_back(_new_lot(draft, born, lot, micros), micros, value, moved_from=key)
            born += 1


def _draws(entries: Sequence[Entry]) -> Iterable[Draw]:
    """Give the draws of entries, the last drawn first."""
    return (draw for e in reversed(entries) for draw in reversed(e.money.draws if e.money else ()))


def _payments(later: Sequence[Entry]) -> Iterable[Draw]:
    """Give what lots have paid of debt, the newest first, but for lots that got anything back."""
    reversals = [entry for entry in later if entry.kind is EntryKind.REVERSAL]
    payers = [entry for entry in later if entry.kind is not EntryKind.REVERSAL]
    returned = {draw.lot for draw in _draws(reversals) if draw.micros < 0}
    return (draw for draw in _draws(payers) if draw.lot not in returned)


def _take(draws: Iterable[Draw], micros: int) -> dict[LotKey, tuple[int, int]]:
    """Say how much of `micros`, and what value, goes back to each lot; of a part its share of the value."""
    returned: dict[LotKey, tuple[int, int]] = {}
    for key, drawn, value in draws:
        part = min(micros, drawn)
        if part == 0:
            break
        before = returned.get(key, (0, 0))
        returned[key] = (before[0] + part, before[1] + share(value, part, drawn))
        micros -= part
    return returned


def _takes_back(lot: Lot, now: datetime) -> bool:
    if lot.status not in (LotStatus.ACTIVE, LotStatus.DEPLETED):
        return False
    return lot.expires_at is None or lot.expires_at > now


def _emptied(lot: Lot) -> Lot:
    """Give a lot that the wallet does not hold: it is empty by now, whatever it was when it was read."""
    return lot._replace(remaining_micros=0, held_micros=0, value_nanousd=0)


def _new_lot(draft: Draft, n: int, old: Lot | None, micros: int) -> Lot:
    """Make an empty lot for `micros` credits that have no lot to go back to."""
    return Lot(
        key=LotKey(draft.sequence, n),
        kind=old.kind if old else GrantKind.ADJUSTMENT,
        amount_micros=micros,
        remaining_micros=0,
        held_micros=0,
        value_nanousd=0,
        priority=old.priority if old else 0,
        scope=old.scope if old else None,
        effective_at=draft.booked_at,
        expires_at=draft.booked_at + NEW_LIFE,
        status=LotStatus.ACTIVE,
    )


def _negated_lines(undone: Sequence[Entry], revenue_nanousd: int) -> tuple[MoneyLine, ...]:
    """Negate the lines of what is undone.

    Where the revenue taken back is another than was booked (debt was paid in between), the lines share the
    difference by their credits.
    """
    lines = [line for entry in undone if entry.money for line in entry.money.lines]
    booked = sum(entry.money.dollars.revenue for entry in undone if entry.money)
    difference = revenue_nanousd + booked
    weights = [line.credits_micros for line in lines]
    corrections = apportion(difference, weights) if any(weights) else (0,) * len(lines)
    return tuple(
        MoneyLine(
            kind=line.kind,
            treatment=line.treatment,
            internal=line.internal,
            credits_micros=-line.credits_micros,
            revenue_nanousd=correction - line.revenue_nanousd,
            cost_nanousd=-line.cost_nanousd,
        )
        for line, correction in zip(lines, corrections, strict=True)
    )


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
