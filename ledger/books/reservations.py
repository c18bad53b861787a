"""Reservations: credits held for work that is going on.

A reserve pins the credits that it will draw, in burn order, and nobody else draws them; they do not
expire under the hold. The pins of a reservation are one list in burn order, also after an extension: a
commit draws from its front, a release frees it from its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from ledger.books import budgets, refusals
from ledger.books.absorbed_cost import Absorbed, settle
from ledger.books.billing import (
    make_bill,
    make_hold,
    refuse_amount,
    refuse_unpriced,
    without_carried,
)
from ledger.books.burn_down import Source, burn_order, cover, free_sources
from ledger.books.commands import Extend, Fill, Release, Reserve
from ledger.books.making import make
from ledger.books.model.budgets import BudgetCounter
from ledger.books.model.decisions import Decision, Facts
from ledger.books.model.entries import EntryKind
from ledger.books.model.lots import Lot, LotKey
from ledger.books.model.plans import Plan
from ledger.books.model.priced import STATELESS, Priced, State, Terms
from ledger.books.model.refusals import Refusal
from ledger.books.model.reservations import NO_COSTS, Pin, Reservation, ReservationCosts, ReservationState
from ledger.books.model.wallets import NO_TALLY, Wallet
from ledger.books.posting import Draft
from ledger.books.rounding import MAX_AMOUNT, BooksError

MIN_TTL = timedelta(seconds=1)
MAX_LIFE = timedelta(hours=24)
"""From the reserve to the last expiry that any extension may reach."""

# To look a member up in its enumeration costs as much as a call.
_RESERVE = EntryKind.RESERVE
_OPEN = ReservationState.OPEN
_ALL_OR_NOTHING = Fill.ALL_OR_NOTHING


def reserve(
    wallet: Wallet,
    command: Reserve,
    *,
    now: datetime,
    plan: Plan,
    priced: Priced | None,
    terms: Terms | None,
    facts: Facts,
) -> Decision | Refusal:
    """Holds credits: a stated amount from lots without scope, usage also from lots that admit its kinds.

    `UP_TO` holds what there is of what was asked, and what budgets leave of that, refused below
    min(`minimum_micros`, what was asked).
    """
    if terms is None:
        raise BooksError("a reserve pins terms: none were given")
    refusal = _refuse_shape(command, plan, priced)
    if refusal:
        return refusal
    bill = make_hold(command.amount_micros, priced, wallet.tallies.get(terms.card, NO_TALLY))
    if bill.micros > MAX_AMOUNT:
        return refusals.price_too_large("usage")
    counters = facts.counters
    least = budgets.tightest(counters) if counters else None
    taken, uncovered = cover(bill, free_sources(wallet.lots))
    if uncovered or (least and budgets.refuse_beyond(least, bill.micros)):
        bill = without_carried(bill)
        taken, uncovered = cover(bill, free_sources(wallet.lots))
    asked = bill.micros
    required = asked if command.fill is _ALL_OR_NOTHING else min(command.minimum_micros, asked)
    if counters and (refusal := budgets.refuse_hold(counters, least, asked, required)):
        return refusal
    held = asked - uncovered
    if held < required:
        return refusals.insufficient(held, required)

    # The hold is granted.
    draft = Draft(wallet, now)
    if least is not None and least.left_micros < held:
        taken, _, cut = budgets.within(least, taken)
        held -= cut
    if counters:
        draft.count(counters, held, begins=True)
    draft.pin(taken)
    expires_at = now + (command.ttl or plan.default_ttl)
    draft.due(expires_at)
    has_outcome_rule = priced is not None and priced.has_outcome_rule
    return draft.finish(
        _RESERVE,
        plan.name,
        command=command,
        reservation=_opened(
            draft, command, terms, taken, expires_at, facts, has_outcome_rule=has_outcome_rule
        ),
        terms=terms,
        labels=command.labels,
    )


def _refuse_shape(command: Reserve, plan: Plan, priced: Priced | None) -> Refusal | None:
    """Refuses fields out of bounds, then usage without a price."""
    if command.ttl is not None and (refusal := _refuse_ttl(command.ttl, plan)):
        return refusal
    if command.amount_micros is not None and (refusal := refuse_amount(command.amount_micros, least=1)):
        return refusal
    if command.minimum_micros < 1:
        return refusals.invalid("minimum_micros", f"must be 1 or more, got {command.minimum_micros}")
    return refuse_unpriced(priced) if priced is not None else None


def _opened(
    draft: Draft,
    command: Reserve,
    terms: Terms,
    taken: Iterable[Source],
    expires_at: datetime,
    facts: Facts,
    *,
    has_outcome_rule: bool,
) -> Reservation:
    """Makes a reservation that has been charged nothing yet."""
    pins = tuple([make(Pin, (lot.key, micros)) for lot, micros, _ in taken])
    return make(
        Reservation,
        (
            draft.sequence,
            _OPEN,
            terms,
            draft.booked_at,
            expires_at,
            pins,
            command.labels,
            0,
            0,
            has_outcome_rule,
            False,
            None,
            NO_COSTS,
            0,
            tuple([counter.key for counter in facts.counters]) if facts.counters else (),
        ),
    )


def extend(wallet: Wallet, command: Extend, *, now: datetime, plan: Plan, facts: Facts) -> Decision | Refusal:
    """Adds credits (all or nothing, from lots without scope), time, both or neither to an open hold.

    The new expiry is the later of the old one and now + ttl, at most 24 hours after the reserve.
    """
    refusal = _refuse_ttl(command.ttl, plan) if command.ttl is not None else None
    refusal = refusal or refuse_amount(command.amount_micros, least=0)
    if refusal:
        return refusal
    before = facts.reservation
    refusal = refuse_not_open(before)
    if refusal or before is None:
        return refusal or refusals.RESERVATION_NOT_FOUND
    if refusal := budgets.refuse_beyond(budgets.tightest(facts.counters), command.amount_micros):
        return refusal
    taken, uncovered = cover(make_bill(command.amount_micros, None), free_sources(wallet.lots))
    if uncovered:
        return refusals.insufficient(command.amount_micros - uncovered, command.amount_micros)

    # The hold is extended.
    draft = Draft(wallet, now)
    draft.pin(taken)
    draft.count(facts.counters, command.amount_micros)
    expires_at = before.expires_at
    if command.ttl is not None:
        expires_at = min(max(expires_at, now + command.ttl), before.created_at + MAX_LIFE)
    pins = _merge(before.pins, (Pin(lot.key, micros) for lot, micros, _ in taken), draft.lots)
    after = with_changes(before, before.state, pins, expires_at=expires_at)
    draft.due(expires_at)
    return draft.finish(
        EntryKind.EXTEND,
        plan.name,
        command=command,
        reservation=after,
        terms=before.terms,
        labels=before.labels,
    )


def release(
    wallet: Wallet, command: Release, *, now: datetime, plan: Plan, facts: Facts
) -> Decision | Refusal:
    """Gives the whole hold back; no commit is taken after it."""
    before = facts.reservation
    refusal = refuse_not_open(before)
    if refusal or before is None:
        return refusal or refusals.RESERVATION_NOT_FOUND
    draft = Draft(wallet, now)
    after = _close(draft, before, ReservationState.RELEASED, facts.counters)
    return draft.finish(
        EntryKind.RELEASE,
        plan.name,
        command=command,
        reservation=after,
        terms=before.terms,
        labels=before.labels,
    )


def expire_hold(
    wallet: Wallet,
    before: Reservation,
    states: Mapping[str, State | None] = STATELESS,
    *,
    now: datetime,
    plan: Plan,
) -> Decision:
    """Gives a hold back by the clock, at the instant when it expired; late commits are still taken.

    `states` are those of the budgets' counters that it counts in.
    """
    draft = Draft(wallet, now, effective_at=before.expires_at)
    counters = budgets.read(budgets.places_of_reservation(before, plan.budgets), states)
    after = _close(draft, before, ReservationState.EXPIRED, counters)
    after = after._replace(lapsed_micros=before.held_micros)
    return draft.finish(
        EntryKind.RESERVATION_EXPIRED,
        plan.name,
        reservation=after,
        terms=before.terms,
        labels=before.labels,
    )


def refuse_not_open(reservation: Reservation | None) -> Refusal | None:
    """Refuses what needs an open hold."""
    if reservation is None:
        return refusals.RESERVATION_NOT_FOUND
    if reservation.state is ReservationState.EXPIRED:
        return refusals.RESERVATION_EXPIRED
    if reservation.state is not ReservationState.OPEN:
        return refusals.RESERVATION_CLOSED
    return None


def settle_reservation(reservation: Reservation) -> tuple[ReservationCosts, Absorbed]:
    """Decides what a closing (or closed) reservation absorbs."""
    return settle(
        reservation.costs,
        reservation.priced_micros,
        reservation.charged_micros,
        outcome_missing=reservation.has_outcome_rule and not reservation.outcome_charged,
    )


def with_changes(
    before: Reservation,
    state: ReservationState,
    pins: tuple[Pin, ...],
    *,
    expires_at: datetime | None = None,
    costs: ReservationCosts | None = None,
) -> Reservation:
    """Copies a reservation with another state and other pins, and what else is given."""
    return before._replace(
        state=state, pins=pins, expires_at=expires_at or before.expires_at, costs=costs or before.costs
    )


def _close(
    draft: Draft, before: Reservation, state: ReservationState, counters: Sequence[BudgetCounter]
) -> Reservation:
    draft.unpin(before.pins)
    if counters:
        draft.count(counters, -before.held_micros)
    costs, absorbed = settle_reservation(before)
    draft.absorb(*absorbed)
    return with_changes(before, state, (), costs=costs)


def _refuse_ttl(ttl: timedelta, plan: Plan) -> Refusal | None:
    longest = min(plan.max_ttl, MAX_LIFE)
    if MIN_TTL <= ttl <= longest:
        return None
    return refusals.invalid("ttl", f"must be 1 s to {_seconds(longest)} s, got {_seconds(ttl)} s")


def _seconds(length: timedelta) -> str:
    """A length of time as a decimal string, to the microsecond that it is stored with."""
    whole, rest = divmod(length, timedelta(seconds=1))
    return f"{whole}.{rest.microseconds:06d}".rstrip("0").rstrip(".")


def _merge(pins: tuple[Pin, ...], more: Iterable[Pin], lots: dict[LotKey, Lot]) -> tuple[Pin, ...]:
    """Makes one list of pins, a pin a lot, in the burn order of the lots as they are now."""
    micros = {pin.lot: pin.micros for pin in pins}
    for key, added in more:
        micros[key] = micros.get(key, 0) + added
    return tuple(Pin(key, micros[key]) for key in sorted(micros, key=lambda key: burn_order(lots[key])))
