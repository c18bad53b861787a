"""What is due by the clock: holds expire, lots start and expire, grants recur, periods close.

Each is an entry with `effective_at` = the instant when it was due, written in the order in which they were
due. At one instant holds expire first, then lots start, then grants recur, then lots expire, then periods
close: what a hold gives back to a lot that ends at that instant rolls over or expires with it. Within one
kind the order is that of the keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import IntEnum
from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple

from ledger.books.grants import expire, start
from ledger.books.limits import DUE_ENTRIES_MAX
from ledger.books.model.decisions import Decision
from ledger.books.model.lots import Lot, LotKey, LotStatus
from ledger.books.model.plans import Plan
from ledger.books.model.priced import STATELESS, State
from ledger.books.model.renewals import NO_RENEWALS, Renewal, RenewalKey
from ledger.books.model.reservations import Reservation
from ledger.books.model.wallets import Wallet
from ledger.books.period_close import close
from ledger.books.renewals import renew
from ledger.books.reservations import expire_hold


class _Event(IntEnum):
    """The order at one instant."""

    HOLD_EXPIRES = 0
    LOT_STARTS = 1
    GRANT_RECURS = 2
    LOT_EXPIRES = 3
    PERIOD_CLOSES = 4


_OF_LOTS: Final = (_Event.LOT_STARTS, _Event.LOT_EXPIRES)
"""What the wallet's lots say of themselves, as they are by then."""

_Due = tuple[datetime, _Event, LotKey, tuple[str, ...]]
"""A reservation's key is written as that of a lot: its sequence, and 0. The last is the key of a state, or of
what recurs."""

_NO_LOT = LotKey(0, 0)


class Closings(NamedTuple):
    """States with a surplus that are due, by key, the earliest; and when the next of the others is."""

    states: Mapping[str, State] = STATELESS
    next_at: datetime | None = None
    claimed_nanousd: int = 0
    """As in `Facts`; where no period is due nobody asks."""


NO_CLOSINGS = Closings()


class Due(NamedTuple):
    """What was due, decided."""

    decisions: list[Decision]
    wallet: Wallet
    renewals: Mapping[RenewalKey, Renewal]
    """Those that changed, with an entry or without."""


def due(
    wallet: Wallet,
    reservations: Sequence[Reservation],
    next_reservation_due_at: datetime | None,
    closings: Closings = NO_CLOSINGS,
    states: Mapping[str, State | None] = STATELESS,
    renewals: Mapping[RenewalKey, Renewal] = NO_RENEWALS,
    *,
    now: datetime,
    plan: Plan,
    plan_at: Callable[[datetime], Plan | None],
) -> Due:
    """Decides all that is due up to `now`, and recomputes the wallet's `next_due_at` exactly.

    `reservations` are open ones that are due, the earliest; `next_reservation_due_at` is the earliest
    expiry among the other open ones; `closings` tells the same of periods; `states` has those of the budgets'
    counters that the reservations count in; `renewals` are all that recur, by the customer's plan as it is at
    their instants (`plan_at`; None where it is not known). Where what is not at hand is not after `now`, or
    there are more than `DUE_ENTRIES_MAX` entries, there is more to come: nothing of a later place in the
    order is written, and `next_due_at` says when to call again (at once).
    """
    walk = _Walk(wallet, reservations, closings, states, renewals, now, plan, plan_at)
    missing = [
        (at, event)
        for at, event in (
            (next_reservation_due_at, _Event.HOLD_EXPIRES),
            (closings.next_at, _Event.PERIOD_CLOSES),
        )
        if at is not None
    ]
    while walk.events and len(walk.decisions) < DUE_ENTRIES_MAX:
        at, event, _, _ = walk.events[0]
        if at > now or any(first < (at, event) for first in missing):
            break
        walk.write(heappop(walk.events))
    instants = [at for at, _ in missing]
    instants += [at for at, event, _, _ in walk.events if event not in _OF_LOTS]
    instants += [at for lot in walk.wallet.lots for at, _, _, _ in _events_of(lot)]
    wallet = walk.wallet._replace(next_due_at=min(instants, default=None))
    if walk.decisions:
        walk.decisions[-1] = walk.decisions[-1]._replace(wallet=wallet)
    return Due(walk.decisions, wallet, walk.changed)


class _Walk:
    """Goes through what the clock does to a customer, in order; what it makes may be due itself."""

    def __init__(
        self,
        wallet: Wallet,
        reservations: Sequence[Reservation],
        closings: Closings,
        states: Mapping[str, State | None],
        renewals: Mapping[RenewalKey, Renewal],
        now: datetime,
        plan: Plan,
        plan_at: Callable[[datetime], Plan | None],
    ) -> None:
        self.wallet = wallet
        self.decisions: list[Decision] = []
        self.changed: dict[RenewalKey, Renewal] = {}
        self._reservations = {reservation.sequence: reservation for reservation in reservations}
        self._closings = closings.states
        self._claimed_nanousd = closings.claimed_nanousd
        self._states = {**states}
        self._renewals = dict(renewals)
        self._now = now
        self._plan = plan
        self._plan_at = plan_at
        self.events = list(_events(wallet, reservations, closings, self._renewals))
        """What is still to come, as a heap."""
        heapify(self.events)

    def write(self, due: _Due) -> None:
        """Writes what is due."""
        at, event, lot, key = due
        if event is _Event.GRANT_RECURS:
            self._renew(at, RenewalKey(*key))
            return
        decision = self._decide(event, lot, key)
        if decision is not None:
            self._keep(decision)

    def _renew(self, at: datetime, key: RenewalKey) -> None:
        renewed = renew(self.wallet, key, self._renewals, now=self._now, plan=self._plan_at(at))
        for decision in renewed.decisions:
            self._keep(decision)
            for lot in decision.lots:
                if lot.key.sequence == decision.entry.sequence:
                    self._push(_events_of(lot))
        self._renewals.update(renewed.renewals)
        self.changed.update(renewed.renewals)
        self._push(_recurs(renewed.renewals))

    def _decide(self, event: _Event, key: LotKey, state: tuple[str, ...]) -> Decision | None:
        wallet, now, plan = self.wallet, self._now, self._plan
        if event is _Event.HOLD_EXPIRES:
            return expire_hold(wallet, self._reservations[key.sequence], self._states, now=now, plan=plan)
        if event is _Event.PERIOD_CLOSES:
            name = state[0]
            return close(wallet, name, self._closings[name], self._claimed_nanousd, now=now, plan=plan)
        lot = next((lot for lot in wallet.lots if lot.key == key), None)
        if lot is None:
            return None  # Emptied by what was due before it.
        return (start if event is _Event.LOT_STARTS else expire)(wallet, lot, now=now, plan=plan)

    def _keep(self, decision: Decision) -> None:
        self.decisions.append(decision)
        self._states.update(decision.states)
        for record in decision.records.values():
            self._claimed_nanousd += (record.paid_nanousd or 0) - record.taken_off_nanousd
        self.wallet = decision.wallet

    def _push(self, events: Iterable[_Due]) -> None:
        for event in events:
            heappush(self.events, event)


def _events(
    wallet: Wallet,
    reservations: Sequence[Reservation],
    closings: Closings,
    renewals: Mapping[RenewalKey, Renewal],
) -> Iterator[_Due]:
    """What the clock will do to what is at hand."""
    for reservation in reservations:
        yield reservation.expires_at, _Event.HOLD_EXPIRES, LotKey(reservation.sequence, 0), ()
    for name, state in closings.states.items():
        if state.closes_at is not None:
            yield state.closes_at, _Event.PERIOD_CLOSES, _NO_LOT, (name,)
    for lot in wallet.lots:
        yield from _events_of(lot)
    yield from _recurs(renewals)


def _recurs(renewals: Mapping[RenewalKey, Renewal]) -> Iterator[_Due]:
    for key, renewal in renewals.items():
        if renewal.next_at is not None:
            yield renewal.next_at, _Event.GRANT_RECURS, _NO_LOT, key


def _events_of(lot: Lot) -> Iterable[_Due]:
    """What the clock will do to a lot."""
    if lot.status is LotStatus.PENDING_START:
        yield lot.effective_at, _Event.LOT_STARTS, lot.key, ()
    if lot.expires_at is not None and lot.status in (LotStatus.PENDING_START, LotStatus.ACTIVE):
        yield lot.expires_at, _Event.LOT_EXPIRES, lot.key, ()
