"""Reservations: what holds credits for work, and what its parts have charged so far."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from ledger.books.model.amounts import NO_AMOUNT, Ratio
from ledger.books.model.lots import LotKey
from ledger.books.model.priced import Terms


class Pin(NamedTuple):
    """Credits of one lot that a reservation holds."""

    lot: LotKey
    micros: int


class ReservationState(StrEnum):
    OPEN = "OPEN"
    COMMITTED = "COMMITTED"
    RELEASED = "RELEASED"
    EXPIRED = "EXPIRED"
    """Its hold went back by the clock; commits are still taken, as late ones."""
    REVERSED = "REVERSED"


class ReservationCosts(NamedTuple):
    """What a reservation's parts have cost so far (secret: stored in a table of its own).

    Exact amounts are nano-dollars not rounded yet, reduced; the posted and absorbed ones are sums of entries.
    """

    cost_exact: Ratio = NO_AMOUNT
    included_exact: Ratio = NO_AMOUNT
    """The part of it on rules that charge nothing themselves."""
    unpriced_exact: Ratio = NO_AMOUNT
    """The part of it on items that could not be priced, beyond what these were charged."""
    posted_nanousd: int = 0
    absorbed_failed_outcome_nanousd: int = 0
    absorbed_uncollected_nanousd: int = 0
    absorbed_unpriced_nanousd: int = 0
    saved_exact: Ratio = NO_AMOUNT
    own_key_exact: Ratio = NO_AMOUNT
    """Memos, as `PricedLine` names them."""


NO_COSTS = ReservationCosts()


class Reservation(NamedTuple):
    """A hold on credits, and what its parts have charged so far."""

    sequence: int
    state: ReservationState
    terms: Terms
    created_at: datetime
    expires_at: datetime
    pins: tuple[Pin, ...]
    """In burn order; their sum is what is held."""
    labels: Mapping[str, str]
    priced_micros: int = 0
    """Sum of its parts' rounded prices, collected or not."""
    charged_micros: int = 0
    """Sum of what was collected, by draw or by debt."""
    has_outcome_rule: bool = False
    outcome_charged: bool = False
    own_run: str | None = None
    """State of the run of its usage that names no run of its own (opaque: pricing's)."""
    costs: ReservationCosts = NO_COSTS
    lapsed_micros: int = 0
    """What it held when it expired, less what late commits have been charged; never below 0."""
    counters: tuple[str, ...] = ()
    """The keys of the budgets' counters in which all its work counts."""

    @property
    def held_micros(self) -> int:
        held = 0
        for pin in self.pins:
            held += pin.micros
        return held


class ReservationImage(NamedTuple):
    """A reservation as an entry left it: what the stored answer to a repeat is made of."""

    sequence: int
    state: ReservationState
    held_micros: int
    charged_micros: int
    expires_at: datetime
