"""What is due by the clock: holds that expire, lots that start and expire, periods that close.

Each is an entry with `effective_at` = the instant when it was due, written in the order in which they were
due. At one instant holds expire first, then lots start, then lots expire, then periods close: what a hold
gives back to a lot that ends at that instant expires with it. Within one kind the order is that of the keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple

from ledger.books.grants import expire, start
from ledger.books.model import STATELESS, Decision, Lot, LotKey, LotStatus, Plan, Reservation, State, Wallet
from ledger.books.period_close import close
from ledger.books.reservations import expire_hold


class _Event(IntEnum):
    """The order at one instant."""

    HOLD_EXPIRES = 0
    LOT_STARTS = 1
    LOT_EXPIRES = 2
    PERIOD_CLOSES = 3


_Due = tuple[datetime, _Event, LotKey, str]
"""A reservation's key is written as that of a lot: its sequence, and 0. The last is that of a state."""

_NO_LOT = LotKey(0, 0)


class Closings(NamedTuple):
    """States with a surplus that are due, by key, the earliest; and when the next of the others is."""

    states: Mapping[str, State] = STATELESS
    next_at: datetime | None = None


NO_CLOSINGS = Closings()


def due(
    wallet: Wallet,
    reservations: Sequence[Reservation],
    next_reservation_due_at: datetime | None,
    closings: Closings = NO_CLOSINGS,
    states: Mapping[str, State | None] = STATELESS,
    *,
    now: datetime,
    plan: Plan,
) -> tuple[list[Decision], Wallet]:
    """Decides all that is due up to `now`, and recomputes the wallet's `next_due_at` exactly.

    `reservations` are open ones that are due, the earliest; `next_reservation_due_at` is the earliest
    expiry among the other open ones; `closings` tells the same of periods; `states` has those of the budgets'
    counters that the reservations count in. Where what is not at hand is not
    after `now` there is more to come: nothing of a later place in the order is written, and `next_due_at`
    says when to call again (at once).
    """
    by_sequence = {reservation.sequence: reservation for reservation in reservations}
    decisions: list[Decision] = []
    decision: Decision | None
    missing = [
        (at, event)
        for at, event in (
            (next_reservation_due_at, _Event.HOLD_EXPIRES),
            (closings.next_at, _Event.PERIOD_CLOSES),
        )
        if at is not None
    ]
    left, counted = dict(closings.states), {**states}
    for at, event, key, name in sorted(_events(wallet, reservations, closings)):
        if at > now or any(first < (at, event) for first in missing):
            break
        if event is _Event.PERIOD_CLOSES:
            decision = close(wallet, name, left.pop(name), now=now, plan=plan)
        else:
            decision = _decide(wallet, event, key, by_sequence, counted, now=now, plan=plan)
        if decision is not None:
            decisions.append(decision)
            wallet = decision.wallet
            counted.update(decision.states)
    instants = [at for at, _ in missing]
    instants += [state.closes_at for state in left.values() if state.closes_at is not None]
    instants += [at for lot in wallet.lots for at, _, _, _ in _events_of(lot)]
    wallet = wallet._replace(next_due_at=min(instants, default=None))
    if decisions:
        decisions[-1] = decisions[-1]._replace(wallet=wallet)
    return decisions, wallet


def _decide(
    wallet: Wallet,
    event: _Event,
    key: LotKey,
    reservations: dict[int, Reservation],
    states: Mapping[str, State | None],
    *,
    now: datetime,
    plan: Plan,
) -> Decision | None:
    if event is _Event.HOLD_EXPIRES:
        return expire_hold(wallet, reservations[key.sequence], states, now=now, plan=plan)
    lot = next((lot for lot in wallet.lots if lot.key == key), None)
    if lot is None:
        return None  # Emptied by what was due before it.
    decide = start if event is _Event.LOT_STARTS else expire
    return decide(wallet, lot, now=now, plan=plan)


def _events(wallet: Wallet, reservations: Sequence[Reservation], closings: Closings) -> Iterator[_Due]:
    """What the clock will do to what is at hand."""
    for reservation in reservations:
        yield reservation.expires_at, _Event.HOLD_EXPIRES, LotKey(reservation.sequence, 0), ""
    for name, state in closings.states.items():
        if state.closes_at is not None:
            yield state.closes_at, _Event.PERIOD_CLOSES, _NO_LOT, name
    for lot in wallet.lots:
        yield from _events_of(lot)


def _events_of(lot: Lot) -> Iterable[_Due]:
    """What the clock will do to a lot."""
    if lot.status is LotStatus.PENDING_START:
        yield lot.effective_at, _Event.LOT_STARTS, lot.key, ""
    if lot.expires_at is not None and lot.status in (LotStatus.PENDING_START, LotStatus.ACTIVE):
        yield lot.expires_at, _Event.LOT_EXPIRES, lot.key, ""
