"""Which credits pay for what: the burn order, and how needs are covered by lots.

Lots burn in this order: priority ascending; scoped before unscoped; earliest expiry, never last; value 0
before others; lower value per credit; earlier effective; key.

A need is an amount of credits under a kind of usage, or under None where it is stated in credits. A lot
with a scope pays only for its kind, one without for any. The sources are used in the order given. A lot
without a scope pays first for what no later source with a scope can pay, then for the kinds in the order
in which they are needed; so as much is covered as any order could cover.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cmp_to_key
from typing import TypeAlias

from ledger.books.billing import Bill
from ledger.books.model.lots import Lot, LotKey, LotStatus
from ledger.books.model.reservations import Pin

NEVER = datetime.max.replace(tzinfo=UTC)

_ACTIVE = LotStatus.ACTIVE  # To look a member up in its enumeration costs as much as a call.


Source: TypeAlias = tuple[Lot, int, bool]
"""A lot, some of its micro-credits, and whether those are held (by a pin of the reservation at hand) or free.
A plain tuple, because one is made for each lot that is looked at."""


def _compare(a: Lot, b: Lot) -> int:
    """Compares by burn order: negative where `a` burns first."""
    if a.priority != b.priority:
        return a.priority - b.priority
    if (a.scope is None) is not (b.scope is None):
        return -1 if b.scope is None else 1
    if a.expires_at != b.expires_at:
        return -1 if (a.expires_at or NEVER) < (b.expires_at or NEVER) else 1
    # Value per credit, exactly: a.value / a.remaining against b.value / b.remaining. Value 0 is lowest.
    a_value, b_value = a.value_nanousd * b.remaining_micros, b.value_nanousd * a.remaining_micros
    if a_value != b_value:
        return -1 if a_value < b_value else 1
    return -1 if (a.effective_at, a.key) < (b.effective_at, b.key) else 1


burn_order = cmp_to_key(_compare)
"""Sort key of lots with remaining credits."""


def free_sources(lots: Iterable[Lot]) -> Iterator[Source]:
    """What is available in lots that stand in burn order."""
    for lot in lots:
        micros = lot.remaining_micros - lot.held_micros
        if micros > 0 and lot.status is _ACTIVE:
            yield lot, micros, False


def pinned_sources(lots: Mapping[LotKey, Lot], pins: Iterable[Pin]) -> list[Source]:
    """What the pins hold, in the order of the pins."""
    return [(lots[key], micros, True) for key, micros in pins]


def cover(bill: Bill, sources: Iterator[Source]) -> tuple[list[Source], int]:
    """Covers a bill from sources: what is taken of each, and what stays uncovered (micro-credits).

    Lots without a scope that come first are used up whatever the needs are for. No source is looked at that
    is not needed.
    """
    left = bill.micros
    taken: list[Source] = []
    if left == 0:
        return taken, 0
    for lot, micros, held in sources:
        if lot.scope is not None:
            return _cover_by_kind(bill.needs(), [*taken, (lot, micros, held), *sources])
        if micros >= left:
            taken.append((lot, left, held))
            return taken, 0
        taken.append((lot, micros, held))
        left -= micros
    return taken, left


def _cover_by_kind(open_needs: dict[str | None, int], sources: Sequence[Source]) -> tuple[list[Source], int]:
    """Covers needs where some sources pay for one kind only."""
    later: dict[str, int] = {}
    for lot, micros, _ in sources:
        if lot.scope is not None:
            later[lot.scope] = later.get(lot.scope, 0) + micros
    taken: list[Source] = []
    for lot, micros, held in sources:
        scope = lot.scope
        if scope is None:
            paid = _pay_any(open_needs, later, micros)
        else:
            later[scope] -= micros
            paid = min(micros, open_needs.get(scope, 0))
            if paid:
                open_needs[scope] -= paid
        if paid:
            taken.append((lot, paid, held))
    return taken, sum(open_needs.values())


def _pay_any(open_needs: dict[str | None, int], later: Mapping[str, int], micros: int) -> int:
    """Pays needs of any kind from `micros`, those first that `later` cannot pay; gives what was paid."""
    left = micros
    for leave_to_later in (True, False):
        for kind, need in open_needs.items():
            spared = min(need, later.get(kind, 0)) if leave_to_later and kind is not None else 0
            paid = min(left, need - spared)
            open_needs[kind] = need - paid
            left -= paid
    return micros - left
