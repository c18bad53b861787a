"""One side of a simulation: what a customer's entries amount to under its terms, and what it remembers.

Rounding, and the cost that is posted, are the books' own, so that under the terms that the entries were
charged by a side amounts to what the ledger holds, to the micro-credit and the nano-dollar.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from math import ceil, trunc
from operator import add
from types import MappingProxyType
from typing import NamedTuple, Protocol

import pricing
from ledger.books.absorbed_cost import accrue
from ledger.books.billing import make_bill
from ledger.books.credit_pools import NO_DRAWS, PoolDraws, draw_on_pools
from ledger.books.model.amounts import ZERO, Ratio
from ledger.books.model.entries import EntryKind
from ledger.books.model.lots import GrantKind, Lot, LotKey, LotStatus
from ledger.books.model.plans import Unpriced
from ledger.books.model.priced import PoolPart, Priced, PricedLine, Rounding, Treatment
from ledger.books.model.reservations import NO_COSTS, ReservationCosts
from ledger.books.model.wallets import NO_REMAINDERS, NO_TALLY, Tally
from ledger.books.rounding import apportion_ratios
from ledger.books.tallies import beside, carry, due_micros, pool_key, uncarry
from ledger.simulation.figures import FigureLine

_NO_FACTS: Mapping[str, object] = {}
_UNPRICED = pricing.Treatment.UNPRICED
_TREATMENTS = {treatment: Treatment(treatment) for treatment in pricing.Treatment}


class BookedCharge(NamedTuple):
    """A charge, or the reversal of one, as the journal holds it."""

    customer: int
    sequence: int
    kind: EntryKind
    """COMMIT, CHARGE, REVERSAL, PERIOD_CLOSED."""
    reservation: int | None
    subject: int | None
    """Of a reversal: the sequence of the charge, or of the reservation, that it takes back."""
    undone: bool
    """A reversal takes it back, then or later."""
    booked_at: datetime
    plan: str
    own_card: str | None
    """The card that the customer has now in place of its plan's."""
    plan_overrides: str | None
    """The fields of a plan that the customer has its own of now (JSON)."""
    card: str
    card_version: str
    cost_version: str
    credit_price_nanousd: int
    multiplier_nanos: int
    priced_micros: int
    revenue_nanousd: int
    cost_nanousd: int
    labels: Mapping[str, str]
    items: tuple[pricing.Item, ...]
    """None where credits were committed without usage."""
    pools: Mapping[str, int] = MappingProxyType({})
    """Micro-credits that it drew from each pool."""
    held_micros: tuple[int, ...] = ()
    """Micro-credits that each item took of its hold, for want of a price; empty where no usage is."""


class Window(NamedTuple):
    """The time that counts."""

    since: datetime | None
    until: datetime

    def has_begun(self, instant: datetime) -> bool:
        """Whether an entry of an instant counts: from `since` on.

        The journal's own end is the other: the clock that booked an entry may be ahead of the one that asks.
        """
        return self.since is None or instant >= self.since

    def holds(self, instant: datetime) -> bool:
        """Whether what nothing is booked of counts at an instant: from `since` on, up to `until`."""
        return self.has_begun(instant) and instant <= self.until


class Scenario(Protocol):
    """How one side prices."""

    def terms_of(self, booked: BookedCharge) -> pricing.Terms:
        """What an entry is priced by, the customer's multiplier included."""

    def unpriced(self, booked: BookedCharge) -> Unpriced:
        """What the customer's plan has what has no price cost."""

    def costs_at(self, instant: datetime) -> pricing.CostBook:
        """The cost book of an instant."""

    def usage_of(self, items: Sequence[pricing.Item]) -> Sequence[pricing.Item]:
        """The usage as it is on this side."""


class SimulatedCharge(NamedTuple):
    """A charge as one side prices it."""

    micros: int
    cost_nanousd: int
    credit_price_nanousd: int
    lines: tuple[FigureLine, ...] = ()
    effects: tuple[pricing.Effect, ...] = ()
    remainders: Mapping[str, Ratio] = NO_REMAINDERS
    """How much more is carried since, by key of the tallies."""

    @property
    def list_value(self) -> int:
        return self.micros * self.credit_price_nanousd


class _Parts(NamedTuple):
    """What the parts of a reservation amount to so far."""

    costs: ReservationCosts = NO_COSTS
    own_run: str | None = None


_NO_PARTS = _Parts()


class _Surplus(NamedTuple):
    closes_at: datetime
    micros: int
    credit_price_nanousd: int


class Side:
    """What one side remembers of a customer."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._states: dict[str, str] = {}
        self._surpluses: dict[str, _Surplus] = {}
        """Of each period as its usage left it when it closed, or has by now."""
        self._settled: list[_Surplus] = []
        """What reversals in periods that had closed left, given back or charged at once."""
        self._reservations: dict[int, _Parts] = {}
        self._tallies: dict[str, Tally] = {}
        self.unvalued_micros = 0
        """Credits that no lot was drawn for."""
        self.credit_price_nanousd = 0
        """Of the last charge."""

    def charge(self, booked: BookedCharge) -> SimulatedCharge:
        """Prices an entry, and remembers what it leaves behind."""
        if not booked.items:
            return SimulatedCharge(booked.priced_micros, 0, booked.credit_price_nanousd)
        scenario = self._scenario
        terms, items = scenario.terms_of(booked), scenario.usage_of(booked.items)
        parts = _NO_PARTS
        if booked.reservation is not None:
            parts = self._reservations.get(booked.reservation, _NO_PARTS)
        keys = pricing.memory_keys(items, booked.labels, terms, booked.booked_at)
        states = {key: self._states[key] for key in keys if key in self._states} if keys else {}
        memory = pricing.Memory(states, parts.own_run)
        unpriced = scenario.unpriced(booked)
        quote = pricing.price(
            items,
            booked.labels,
            terms,
            memory,
            now=booked.booked_at,
            costs_at=scenario.costs_at,
            falls_back=unpriced is Unpriced.FALLBACK,
        )
        self._keep(quote.states, terms, booked.booked_at)
        priced, pools = _priced(quote), NO_DRAWS
        if any(line.pool is not None for line in priced.lines):
            priced, pools = _draw_on_pools(priced, booked, self._tallies)
        bill = make_bill(None, priced, self._tallies.get(terms.card.name, NO_TALLY))
        if unpriced is Unpriced.CHARGE_HOLD:
            bill = bill.with_hold(_taken_of_hold(quote, booked))
        carried = carry(bill.usage, bill.usage_micros, bill.rounding.quantum_micros)
        remainders = self._carry({**pools.carried, terms.card.name: carried})
        costs = accrue(parts.costs, priced.lines)
        if booked.reservation is not None:
            self._reservations[booked.reservation] = _Parts(costs, quote.own_run)
        self.credit_price_nanousd = terms.card.credit_price_nanousd
        cost_nanousd = costs.posted_nanousd - parts.costs.posted_nanousd
        shares = bill.shares()
        if pools.micros:
            shares = tuple(map(add, shares, pools.micros))
        return SimulatedCharge(
            bill.micros + pools.total_micros,
            cost_nanousd,
            terms.card.credit_price_nanousd,
            _lines(quote, priced, shares, cost_nanousd),
            tuple([effect for line in quote.lines for effect in line.effects]) if quote.states else (),
            remainders,
        )

    def _carry(self, carried: Mapping[str, tuple[Tally, Ratio]]) -> Mapping[str, Ratio]:
        """Remembers tallies, and gives how much more is carried under each."""
        self._tallies |= {key: after for key, (after, _) in carried.items()}
        return {key: more for key, (_, more) in carried.items()}

    def unwind(self, charge: SimulatedCharge, now: datetime) -> None:
        """Takes what a charge added to the states, and to what is carried, away again."""
        for key, more in charge.remainders.items():
            self._tallies[key], _ = uncarry(self._tallies[key], more)
        if not charge.effects:
            return
        closed = [key for key, surplus in self._surpluses.items() if surplus.closes_at <= now]
        undone = pricing.unwind(charge.effects, self._states, closed)
        self._keep(undone, None, now)
        for key in undone.keys() & set(closed):
            settled = self._surpluses[key]._replace(closes_at=now, micros=trunc(undone[key].surplus_micros))
            self._settled.append(settled)

    def given_back(self, time: Window) -> Iterable[tuple[int, int]]:
        """The surplus of each period that closed within a time, and the list price of a credit of it.

        Below 0: what was due then.
        """
        for surplus in (*self._surpluses.values(), *self._settled):
            if time.holds(surplus.closes_at) and surplus.micros:
                yield surplus.micros, surplus.credit_price_nanousd

    def _keep(self, states: Mapping[str, pricing.State], terms: pricing.Terms | None, now: datetime) -> None:
        for key, state in states.items():
            self._states[key] = state.text
            if terms is not None:
                price = terms.card.credit_price_nanousd
            else:
                price = self._surpluses[key].credit_price_nanousd if key in self._surpluses else 0
            if state.closes_at is not None and state.closes_at > now:
                self._surpluses[key] = _Surplus(state.closes_at, trunc(state.surplus_micros), price)


def _priced(quote: pricing.Quote) -> Priced:
    """A quote in the books' words, as far as amounts go."""
    lines = [
        PricedLine(
            line.kind,
            _TREATMENTS[line.treatment],
            line.price_micros,
            line.costs.posted,
            _NO_FACTS,
            _NO_FACTS,
            pool=PoolPart(line.pool.pool, Fraction(*line.pool.exact_micros)) if line.pool else None,
        )
        for line in quote.lines
    ]
    return Priced(
        tuple(lines), Rounding(*quote.rounding), quote.has_outcome_rule, quote.outcome_charged, None
    )


def _taken_of_hold(quote: pricing.Quote, booked: BookedCharge) -> Sequence[int]:
    """What lines that have no price here either took of their hold; nobody knows what others would have."""
    if not any(booked.held_micros):
        return ()
    return [
        micros if line.treatment is _UNPRICED and not line.fallback else 0
        for line, micros in zip(quote.lines, booked.held_micros, strict=True)
    ]


def _draw_on_pools(
    priced: Priced, booked: BookedCharge, tallies: Mapping[str, Tally]
) -> tuple[Priced, PoolDraws]:
    """The usage at what pools leave of its price: of each there is what the entry drew, and no more."""
    needs: dict[str, Fraction] = {}
    for line in priced.lines:
        if line.pool is not None:
            needs[line.pool.pool] = needs.get(line.pool.pool, ZERO) + line.pool.exact_micros
    lots = []
    for number, (name, need) in enumerate(needs.items()):
        drawn, tally = booked.pools.get(name, 0), tallies.get(pool_key(name), NO_TALLY)
        suffices = due_micros(beside(tally, need.as_integer_ratio())) <= drawn
        # What rounding left out was there, too.
        enough = ceil(need + tally.exact_micros - tally.billed_micros) + 1
        lots.append(_lot_of(name, number, enough if suffices else drawn, booked.booked_at))
    rest, draws = draw_on_pools(lots, priced, tallies)
    return rest or priced, draws


def _lot_of(pool: str, number: int, micros: int, now: datetime) -> Lot:
    key, scope = LotKey(0, number), pool_key(pool)
    return Lot(key, GrantKind.PAID, micros, micros, 0, 0, 0, scope, now, None, LotStatus.ACTIVE)


def _lines(
    quote: pricing.Quote, priced: Priced, shares: Sequence[int], cost_nanousd: int
) -> tuple[FigureLine, ...]:
    costs = apportion_ratios(cost_nanousd, [line.cost_exact_nanousd for line in priced.lines])
    return tuple(
        [
            FigureLine(
                (line.kind, pricing.name_of(line.item)), shares[n], costs[n], line.treatment is _UNPRICED
            )
            for n, line in enumerate(quote.lines)
        ]
    )
