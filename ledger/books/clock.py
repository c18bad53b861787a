"""What is due by the clock: holds that expire, lots that start and expire.

Each is an entry with `effective_at` = the instant when it was due, written in the order in which they were
due. At one instant holds expire first, then lots start, then lots expire: what a hold gives back to a lot
that ends at that instant expires with it. Within one kind the order is that of the keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import IntEnum

from ledger.books.grants import expire, start
from ledger.books.holds import expire_hold
from ledger.books.model import Decision, Lot, LotKey, LotStatus, Plan, Reservation, Wallet


class _Event(IntEnum):
    """The order at one instant."""

    HOLD_EXPIRES = 0
    LOT_STARTS = 1
    LOT_EXPIRES = 2


_Due = tuple[datetime, _Event, LotKey]
"""A reservation's key is written as that of a lot: its sequence, and 0."""


def due(
    wallet: Wallet,
    reservations: Sequence[Reservation],
    next_reservation_due_at: datetime | None,
    *,
    now: datetime,
    plan: Plan,
) -> tuple[list[Decision], Wallet]:
    """Decide all that is due up to `now`, and recompute the wallet's `next_due_at` exactly.

    `reservations` are open ones that are due, the earliest; `next_reservation_due_at` is the earliest
    expiry among the other open ones. Where that is not after `now` there is more to come: nothing of a
    later place in the order is written, and `next_due_at` says when to call again (at once).
    """
    by_sequence = {reservation.sequence: reservation for reservation in reservations}
    events: list[_Due] = [
        (reservation.expires_at, _Event.HOLD_EXPIRES, LotKey(reservation.sequence, 0))
        for reservation in reservations
    ]
    for lot in wallet.lots:
        events.extend(_events_of(lot))
    decisions: list[Decision] = []
    for at, event, key in sorted(events):
        if at > now or _is_after(next_reservation_due_at, at, event):
            break
        decision = _decide(wallet, event, key, by_sequence, now=now, plan=plan)
        if decision is not None:
            decisions.append(decision)
            wallet = decision.wallet
    wallet = wallet._replace(next_due_at=_next_due_at(wallet.lots, next_reservation_due_at))
    if decisions:
        decisions[-1] = decisions[-1]._replace(wallet=wallet)
    return decisions, wallet


def _is_after(next_reservation_due_at: datetime | None, at: datetime, event: _Event) -> bool:
    """Tell whether a hold that is not at hand expires before this event."""
    if next_reservation_due_at is None:
        return False
    return (next_reservation_due_at, _Event.HOLD_EXPIRES) < (at, event)


def _decide(
    wallet: Wallet,
    event: _Event,
    key: LotKey,
    reservations: dict[int, Reservation],
    *,
    now: datetime,
    plan: Plan,
) -> Decision | None:
    if event is _Event.HOLD_EXPIRES:
        return expire_hold(wallet, reservations[key.sequence], now=now, plan=plan)
    lot = next((lot for lot in wallet.lots if lot.key == key), None)
    if lot is None:
        return None  # Emptied by what was due before it.
    decide = start if event is _Event.LOT_STARTS else expire
    return decide(wallet, lot, now=now, plan=plan)


def _events_of(lot: Lot) -> Iterable[_Due]:
    """Give what the clock will do to a lot."""
    if lot.status is LotStatus.PENDING_START:
        yield lot.effective_at, _Event.LOT_STARTS, lot.key
    if lot.expires_at is not None and lot.status in (LotStatus.PENDING_START, LotStatus.ACTIVE):
        yield lot.expires_at, _Event.LOT_EXPIRES, lot.key


def _next_due_at(lots: Iterable[Lot], next_reservation_due_at: datetime | None) -> datetime | None:
    instants = [at for lot in lots for at, _, _ in _events_of(lot)]
    if next_reservation_due_at is not None:
        instants.append(next_reservation_due_at)
    return min(instants, default=None)
