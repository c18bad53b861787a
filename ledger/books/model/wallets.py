"""The wallet: what the engine keeps in memory of one customer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from fractions import Fraction
from types import MappingProxyType
from typing import NamedTuple

from ledger.books.model.amounts import NO_AMOUNT, Credits, Ratio
from ledger.books.model.lots import Lot


class Tally(NamedTuple):
    """What usage amounts to exactly under one card (or from one pool), and what was billed of it.

    Both less the same multiple of two quanta: their difference is what rounding has left over (negative: has
    charged ahead), and half-even rounding asks whether what was billed is an even number of quanta.
    """

    exact: Ratio = NO_AMOUNT
    """Micro-credits, reduced."""
    billed_micros: int = 0

    @property
    def exact_micros(self) -> Fraction:
        return Fraction(*self.exact)


NO_TALLY = Tally()
NO_TALLIES: Mapping[str, Tally] = MappingProxyType({})
NO_REMAINDERS: Mapping[str, Ratio] = MappingProxyType({})


class Wallet(NamedTuple):
    """What the engine keeps in memory of one customer: it decides with it, and answers no read from it."""

    customer: int
    sequence: int
    display_name: str
    plan: str
    card: str | None
    """The card that replaces the plan's, if the customer names one."""
    zone: str
    """IANA name of the customer's time zone: calendar windows only."""
    multiplier_nanos: int
    """What the customer has negotiated: its prices are multiplied by it, in billionths."""
    balances: Credits
    lots: tuple[Lot, ...]
    """Lots that are pending, active, disputed, or held by a reservation after their expiry; in burn order."""
    unbilled_nanousd: int
    """The price of the debt."""
    next_due_at: datetime | None
    """Nothing is due by the clock before this instant (a lower bound); None: nothing will be."""
    last_instant: datetime
    """The instant of the newest entry: instants of a customer never go back."""
    tallies: Mapping[str, Tally] = NO_TALLIES
    """What rounding has left over, by card and by pool (`tallies` says how); the longest unused first."""
    plan_overrides: str | None = None
    """JSON: the fields of its plan that the customer has its own of, as `plans.yaml` writes them."""
