"""Periods: what lines book under the states that prices remember, and what is settled at the close.

A price that counts over a period may turn out to have charged more than the period's usage amounts to. What
it charged stays until the period closes; then the surplus goes back, in an entry of its own: first against
what the customer owes, then as a new lot with a life of 30 days. What was not collected is not given back:
the surplus covers that first. The revenue that goes back is the part surplus / collected of what the
period's lines have earned, rounded down.

Where charges were reversed, the others may have paid less than they amount to: a surplus below 0. What
nothing has been charged for by the close is charged then, as a late commit is: from what is available, then
as debt where the plan has it; the rest is not collected.

A state keeps the sums of its lines: what they collected, what they did not, their revenue; of a line that
counts in several states each keeps the part that was charged for it. Refunds and reversals take theirs off
again, so that of no line more comes back than was collected. A reversal in a period that has closed opens it
again, to be closed at once: what was paid of it is then what the rest amounts to. A surplus that refunds have
left nothing of to give back stays with the period: it is set off where a reversal makes something due.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from ledger.books.billing import Bill
from ledger.books.burn_down import cover, free_sources
from ledger.books.debts import borrow, overdraft_left
from ledger.books.model.decisions import Decision
from ledger.books.model.entries import Entry, EntryKind, MoneyLine
from ledger.books.model.lots import GrantKind, Lot, LotKey, LotStatus
from ledger.books.model.plans import Plan
from ledger.books.model.priced import State
from ledger.books.model.wallets import Wallet
from ledger.books.posting import Draft
from ledger.books.rounding import MAX_AMOUNT, BooksError, apportion, share

SURPLUS_LIFE = timedelta(days=30)
"""Of the lot that a surplus makes."""

Booked = tuple[str, int, int, int]
"""A state's key, and what one line booked under it: collected and uncollected micro-credits, nano-dollars."""


def count(
    states: Mapping[str, State], lines: Sequence[MoneyLine], uncollected_micros: int
) -> Mapping[str, State]:
    """Adds what lines have booked to the states that may have a surplus when they close."""
    if all(state.closes_at is None for state in states.values()):
        return states
    counted = dict(states)
    for key, collected, uncollected, revenue in _booked(lines, uncollected_micros):
        state = counted.get(key)
        if state is not None and state.closes_at is not None:
            counted[key] = _add(state, collected, uncollected, revenue)
    return counted


def uncount(
    states: Mapping[str, State], entry: Entry, *, back_before_micros: int, back_micros: int
) -> Mapping[str, State]:
    """Takes off the states' sums what comes back of a charge, of which some may have come back before.

    Both are micro-credits of what the entry collected. With the last of it goes what was not collected.
    """
    charged = entry.charged_micros
    changed = dict(states)
    for key, collected, uncollected, revenue in _booked_by(entry):
        state = changed.get(key)
        if state is None:
            continue
        is_last = back_before_micros + back_micros == charged
        changed[key] = _add(
            state,
            -min(state.collected_micros, _growth(collected, back_before_micros, back_micros, charged)),
            -min(state.uncollected_micros, uncollected) if is_last else 0,
            -min(state.revenue_nanousd, _growth(revenue, back_before_micros, back_micros, charged)),
        )
    return changed


def take_off(
    states: Mapping[str, State], charges: Sequence[Entry], refunds: Sequence[Entry]
) -> tuple[int, Mapping[str, State]]:
    """Takes what refunds have left of charges off the states' sums.

    Gives also how much of that (micro-credits) periods which have closed since gave back: in their surplus it
    does not count as charged.
    """
    if not states:
        return 0, states
    given_back = 0
    for charge in charges:
        refunded = -sum(refund.charged_micros for refund in refunds if refund.subject == charge.sequence)
        left = charge.charged_micros - refunded
        settled = _settled(states, charge, refunded)
        states = uncount(states, charge, back_before_micros=refunded, back_micros=left)
        for key, (collected, uncollected) in settled.items():
            back = min(left, collected)
            left -= back
            given_back += back
            surplus_micros = states[key].surplus_micros + back + uncollected
            states = {**states, key: states[key]._replace(surplus_micros=surplus_micros)}
    return given_back, states


def reopen(states: Mapping[str, State], now: datetime) -> Mapping[str, State]:
    """Open periods that have closed and that a reversal has left with a surplus, or with something due."""
    return {
        key: state._replace(closes_at=now) if _has_closed(state) and _can_settle(state) else state
        for key, state in states.items()
    }


def close(
    wallet: Wallet, key: str, state: State, claimed_nanousd: int, *, now: datetime, plan: Plan
) -> Decision:
    """Closes a period by the clock, at its instant: its surplus goes back, or what is due is charged.

    `claimed_nanousd` as in `Facts`.
    """
    draft = Draft(wallet, now, effective_at=state.closes_at)
    settled = state._replace(closes_at=None, surplus_micros=0)
    if state.surplus_micros < 0:
        return _charge_due(draft, key, settled, -state.surplus_micros, plan)
    covered = min(state.surplus_micros, state.uncollected_micros)
    micros = min(state.surplus_micros - covered, state.collected_micros)
    settled = settled._replace(surplus_micros=state.surplus_micros - covered - micros)
    forgiven = min(micros, -wallet.balances.debt)
    if forgiven:
        draft.forgive(forgiven)
    left = micros - forgiven
    if left:
        value = share(state.revenue_nanousd, left, state.collected_micros)
        value = min(value, draft.returnable_nanousd(claimed_nanousd))
        draft.give_back(_new_lot(draft, left), left, value)
    revenue = share(state.revenue_nanousd, micros, state.collected_micros) if micros else 0
    after = _add(settled, -micros, -covered, -revenue)
    return draft.finish(
        EntryKind.PERIOD_CLOSED, plan.name, terms=state.terms, priced_micros=-micros, states={key: after}
    )


def _charge_due(draft: Draft, key: str, state: State, micros: int, plan: Plan) -> Decision:
    """Charges what a period amounts to beyond what its lines were charged: of no line, so from any lot."""
    terms = state.terms
    if terms is None:
        raise BooksError(f"state {key}: {micros} micro-credits are due, under no terms")
    taken, uncovered = cover(Bill(micros, ()), free_sources(draft.wallet.lots))
    debt = min(uncovered, overdraft_left(draft.wallet, plan, terms)) if uncovered else 0
    draft.draw(taken)
    borrow(draft, debt, terms)
    uncollected = uncovered - debt
    after = _add(state, micros - uncollected, uncollected, draft.revenue_nanousd)
    return draft.finish(
        EntryKind.PERIOD_CLOSED,
        plan.name,
        terms=terms,
        priced_micros=micros,
        uncollected_micros=uncollected,
        states={key: after},
    )


def _settled(
    states: Mapping[str, State], charge: Entry, refunded_micros: int
) -> Mapping[str, tuple[int, int]]:
    """What is missing of a charge in the sums of closed periods.

    Of what it collected, as far as refunds have left that, and of what it did not.
    """
    left = {
        key: (collected - _growth(collected, 0, refunded_micros, charge.charged_micros), uncollected)
        for key, collected, uncollected, _ in _booked_by(charge)
    }
    return {
        key: (
            max(0, collected - states[key].collected_micros),
            max(0, uncollected - states[key].uncollected_micros),
        )
        for key, (collected, uncollected) in left.items()
        if key in states and _has_closed(states[key])
    }


def _has_closed(state: State) -> bool:
    return state.closes_at is None and state.terms is not None


def _can_settle(state: State) -> bool:
    """Whether there is something to charge, or to give back or cover of what there is."""
    if state.surplus_micros > 0:
        return state.collected_micros > 0 or state.uncollected_micros > 0
    return state.surplus_micros < 0


def _booked_by(entry: Entry) -> Iterator[Booked]:
    """What all lines of an entry have booked under each state: one by one their rests would add up."""
    if entry.money is None:
        return
    sums: dict[str, tuple[int, int, int]] = {}
    for key, *more in _booked(entry.money.lines, entry.uncollected_micros):
        before = sums.get(key, (0, 0, 0))
        sums[key] = (before[0] + more[0], before[1] + more[1], before[2] + more[2])
    for key, booked in sums.items():
        yield key, *booked


def _booked(lines: Sequence[MoneyLine], uncollected_micros: int) -> Iterator[Booked]:
    """What each line has booked under each state that it counts in: in several, of each its part."""
    if not any(line.effects for line in lines):
        return
    uncollected = apportion(uncollected_micros, [line.credits_micros - line.pool_micros for line in lines])
    for line, missing in zip(lines, uncollected, strict=True):
        amounts = (line.credits_micros - missing, missing, line.revenue_nanousd)
        if len(line.effects) == 1:
            yield line.effects[0].key, *amounts
        elif any(effect.weight for effect in line.effects):
            weights = [effect.weight for effect in line.effects]
            parts = zip(*[apportion(amount, weights) for amount in amounts], strict=True)
            for effect, part in zip(line.effects, parts, strict=True):
                yield effect.key, *part


def _add(state: State, collected_micros: int, uncollected_micros: int, revenue_nanousd: int) -> State:
    """Adds to a state's sums: each stays at `MAX_AMOUNT`, for work that is done is never refused for them."""
    return state._replace(
        collected_micros=min(state.collected_micros + collected_micros, MAX_AMOUNT),
        uncollected_micros=min(state.uncollected_micros + uncollected_micros, MAX_AMOUNT),
        revenue_nanousd=min(state.revenue_nanousd + revenue_nanousd, MAX_AMOUNT),
    )


def _growth(amount: int, before: int, more: int, whole: int) -> int:
    """What goes back of an amount with `more` of a whole of which `before` has: no rest is left.

    What stays is rounded down, so that a period never has more to give back than its lines have collected.
    """
    if whole == 0:
        return 0
    return share(amount, whole - before, whole) - share(amount, whole - before - more, whole)


def _new_lot(draft: Draft, micros: int) -> Lot:
    return Lot(
        key=LotKey(draft.sequence, 0),
        kind=GrantKind.ADJUSTMENT,
        amount_micros=micros,
        remaining_micros=0,
        held_micros=0,
        value_nanousd=0,
        priority=0,
        scope=None,
        effective_at=draft.effective_at,
        expires_at=draft.booked_at + SURPLUS_LIFE,
        status=LotStatus.ACTIVE,
    )
