"""Simulation: usage that was charged, priced anew under two sets of terms, side by side.

Pure: entries of the journal in, figures out. A customer's entries are replayed in the order of its sequence,
each side with a past of its own: the states of runs and periods, and what a reservation's parts have come to
so far. Rounding, and the cost that is posted, are the books' own, so that under the terms that the entries
were charged by a side comes to what the ledger holds, to the micro-credit and the nano-dollar.

A reversal takes back what its charge came to. Credits committed without usage stay what they are. A period
that closes gives its surplus back on each side. Refunds are nobody's price: they are on neither side.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from heapq import nlargest
from math import ceil
from operator import add
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

import pricing
from ledger.books.absorbed import accrue
from ledger.books.bills import make_bill
from ledger.books.exact import MICROS_PER_CREDIT, apportion, round_exact
from ledger.books.model import (
    NO_COSTS,
    NO_POOLS,
    POOL_SCOPE,
    UNSCALED,
    ZERO,
    EntryKind,
    GrantKind,
    Lot,
    LotKey,
    LotStatus,
    PoolPart,
    Priced,
    PricedLine,
    ReservationCosts,
    Rounding,
    Treatment,
)
from ledger.books.pools import PoolDraws, draw_on_pools

CHANGE_BOUNDS_PERCENT: Final = (-50, -25, -10, -5, -1, 1, 5, 10, 25, 50, 100)
"""Where a histogram's buckets end: each without its upper bound. Two more: what is beyond the last, and what
was free before and is not any more."""

BUCKETS: Final = len(CHANGE_BOUNDS_PERCENT) + 2

_NO_FACTS: Mapping[str, object] = {}
_NO_DRAWS = PoolDraws()
_UNPRICED = pricing.Treatment.UNPRICED
_TREATMENTS = {treatment: Treatment(treatment) for treatment in pricing.Treatment}


class Booked(NamedTuple):
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


class Window(NamedTuple):
    """The time that counts."""

    since: datetime | None
    until: datetime

    def holds(self, instant: datetime) -> bool:
        """Whether something of an instant counts: from `since` on, up to `until`."""
        return (self.since is None or instant >= self.since) and instant <= self.until


class Scenario(Protocol):
    """How one side prices."""

    def terms_of(self, booked: Booked) -> pricing.Terms:
        """What an entry is priced by, the customer's multiplier included."""

    def costs_at(self, instant: datetime) -> pricing.CostBook:
        """The cost book of an instant."""

    def usage_of(self, items: Sequence[pricing.Item]) -> Sequence[pricing.Item]:
        """The usage as it is on this side."""


Name = tuple[str, str]
"""Kind of usage, and what was asked for."""


class Line(NamedTuple):
    """A line of a charge, as one side prices it."""

    name: Name
    micros: int
    cost_nanousd: int
    unpriced: bool


@dataclass(slots=True)
class Figures:
    """Sums of charges."""

    lines: int = 0
    unpriced_lines: int = 0
    credits_micros: int = 0
    list_value: int = 0
    """Credits at their list price: micro-credits times nano-dollars."""
    lots_nanousd: int = 0
    """Credits at the value of the lots that were drawn for them."""
    cost_nanousd: int = 0

    @property
    def list_nanousd(self) -> int:
        """Revenue at the list price, half even."""
        return round_exact(Fraction(self.list_value, MICROS_PER_CREDIT))

    def add_line(self, line: Line, credit_price_nanousd: int, sign: int) -> None:
        """Add a line of a charge, or take it away (-1)."""
        micros = sign * line.micros
        self.lines += sign
        self.unpriced_lines += sign * line.unpriced
        self.credits_micros += micros
        self.list_value += micros * credit_price_nanousd
        self.cost_nanousd += sign * line.cost_nanousd

    def add(self, other: Figures) -> None:
        """Add figures to these."""
        self.lines += other.lines
        self.unpriced_lines += other.unpriced_lines
        self.credits_micros += other.credits_micros
        self.list_value += other.list_value
        self.lots_nanousd += other.lots_nanousd
        self.cost_nanousd += other.cost_nanousd


class Sides(NamedTuple):
    """The same work on both sides."""

    before: Figures
    after: Figures


@dataclass(slots=True)
class Report:
    """What a simulation has found."""

    charges: int = 0
    """Entries that count, but for reversals."""
    booked: Figures = field(default_factory=Figures)
    """What the ledger holds of them, at the list prices that they were charged at."""
    all: Sides = field(default_factory=lambda: Sides(Figures(), Figures()))
    customers: dict[int, Sides] = field(default_factory=dict)
    names: dict[Name, Sides] = field(default_factory=dict)
    """Without the value of lots, which are drawn for a charge as a whole."""
    charge_changes: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    """How many charges change by how much, at the list price."""
    unmatched_reversals: int = 0
    """Reversals of charges that were not replayed: counted nowhere."""

    def largest_changes(self, most: int) -> list[int]:
        """The customers whose bill at the list price changes most, the largest change first."""
        return nlargest(most, self.customers, key=lambda number: (_change(self.customers[number]), -number))


class Simulation:
    """Replays entries, customer by customer, each in the order of its sequence."""

    def __init__(self, before: Scenario, after: Scenario, time: Window) -> None:
        self._scenarios = (before, after)
        self._time = time
        self._found = Report()
        self._customer: _Customer | None = None

    def add(self, booked: Booked) -> None:
        """Replay the next entry; one from before the time only leaves its traces in the states."""
        customer, counts = self._customer, self._time.holds(booked.booked_at)
        if customer is None or customer.number != booked.customer:
            self._close()
            customer = self._customer = _Customer(booked.customer, self._scenarios)
        if booked.kind is EntryKind.PERIOD_CLOSED:
            self._take_closing(customer, booked, counts=counts)
        elif booked.kind is EntryKind.REVERSAL:
            self._reverse(customer, booked, counts=counts)
        else:
            self._charge(customer, booked, counts=counts)

    def report(self) -> Report:
        """Close the last customer, and tell what was found."""
        self._close()
        return self._found

    def _charge(self, customer: _Customer, booked: Booked, *, counts: bool) -> None:
        charges = [past.charge(booked) for past in customer.pasts]
        if booked.undone:
            key = booked.sequence if booked.reservation is None else booked.reservation
            customer.undone.setdefault(key, []).append(charges)
        if counts:
            self._found.charges += 1
            self._found.charge_changes[bucket_of(*(charge.list_value for charge in charges))] += 1
            self._count(customer, booked, [charges], 1)

    def _reverse(self, customer: _Customer, booked: Booked, *, counts: bool) -> None:
        undone = customer.undone.pop(booked.subject or 0, [])
        for charges in undone:
            for past, charge in zip(customer.pasts, charges, strict=True):
                past.unwind(charge, booked.booked_at)
        if counts and undone:
            self._count(customer, booked, undone, -1)
        elif counts:
            self._found.unmatched_reversals += 1

    def _take_closing(self, customer: _Customer, booked: Booked, *, counts: bool) -> None:
        """What a closed period gave back is booked; what each side gives back is its own."""
        if counts:
            customer.returned_micros += booked.priced_micros
            customer.returned_nanousd += booked.revenue_nanousd
            self._found.booked.add(_figures_of(booked, 1))

    def _count(
        self, customer: _Customer, booked: Booked, found: Sequence[Sequence[_Charge]], sign: int
    ) -> None:
        """Add what an entry comes to on both sides, or take away what a reversal takes back."""
        customer.priced_micros += booked.priced_micros
        customer.revenue_nanousd += booked.revenue_nanousd
        self._found.booked.add(_figures_of(booked, sign))
        for n, past in enumerate(customer.pasts):
            side, micros = customer.sides[n], 0
            for charges in found:
                charge = charges[n]
                micros += sign * charge.micros
                side.credits_micros += sign * charge.micros
                side.list_value += sign * charge.list_value
                side.cost_nanousd += sign * charge.cost_nanousd
                for line in charge.lines:
                    side.lines += sign
                    side.unpriced_lines += sign * line.unpriced
                    self._of(line.name)[n].add_line(line, charge.credit_price_nanousd, sign)
            if booked.priced_micros:
                value = Fraction(booked.revenue_nanousd * micros, booked.priced_micros)
                side.lots_nanousd += round_exact(value)
            else:
                past.unvalued_micros += micros

    def _of(self, name: Name) -> Sides:
        sides = self._found.names.get(name)
        if sides is None:
            sides = self._found.names[name] = Sides(Figures(), Figures())
        return sides

    def _close(self) -> None:
        """Give back the surplus of closed periods, and value what no lot was drawn for."""
        customer = self._customer
        if customer is None:
            return
        self._customer = None
        for n, past in enumerate(customer.pasts):
            figures = customer.sides[n]
            for surplus_micros, credit_price_nanousd in past.given_back(self._time):
                figures.lots_nanousd -= customer.value_returned(surplus_micros, credit_price_nanousd)
                figures.credits_micros -= surplus_micros
                figures.list_value -= surplus_micros * credit_price_nanousd
            figures.lots_nanousd += customer.value_of(past.unvalued_micros, past.credit_price_nanousd)
            self._found.all[n].add(figures)
        if any(figures != Figures() for figures in customer.sides):
            self._found.customers[customer.number] = customer.sides


def _change(sides: Sides) -> int:
    return abs(sides.after.list_value - sides.before.list_value)


def bucket_of(before: int, after: int) -> int:
    """Return the bucket of a histogram that a change falls into."""
    if before == 0:
        return BUCKETS - 1 if after else bisect_right(CHANGE_BOUNDS_PERCENT, 0)
    return bisect_right(CHANGE_BOUNDS_PERCENT, 100 * (after - before) // before)


class _Charge(NamedTuple):
    """A charge as one side prices it."""

    micros: int
    cost_nanousd: int
    credit_price_nanousd: int
    lines: tuple[Line, ...] = ()
    effects: tuple[pricing.Effect, ...] = ()

    @property
    def list_value(self) -> int:
        return self.micros * self.credit_price_nanousd


class _Parts(NamedTuple):
    """What the parts of a reservation have come to so far."""

    exact_micros: Fraction = ZERO
    costs: ReservationCosts = NO_COSTS
    own_run: str | None = None
    pools: Mapping[str, Fraction] = NO_POOLS


_NO_PARTS = _Parts()


class _Surplus(NamedTuple):
    closes_at: datetime
    micros: int
    credit_price_nanousd: int


class _Past:
    """What one side remembers of a customer."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._states: dict[str, str] = {}
        self._surpluses: dict[str, _Surplus] = {}
        self._multipliers: dict[str, int] = {}
        """Of the terms that a state's usage was last priced by."""
        self._reservations: dict[int, _Parts] = {}
        self.unvalued_micros = 0
        """Credits that no lot was drawn for."""
        self.credit_price_nanousd = 0
        """Of the last charge."""

    def charge(self, booked: Booked) -> _Charge:
        """Price an entry, and remember what it leaves behind."""
        if not booked.items:
            return _Charge(booked.priced_micros, 0, booked.credit_price_nanousd)
        scenario = self._scenario
        terms, items = scenario.terms_of(booked), scenario.usage_of(booked.items)
        parts = _NO_PARTS
        if booked.reservation is not None:
            parts = self._reservations.get(booked.reservation, _NO_PARTS)
        keys = pricing.memory_keys(items, booked.labels, terms, booked.booked_at)
        states = {key: self._states[key] for key in keys if key in self._states} if keys else {}
        memory = pricing.Memory(states, parts.own_run)
        quote = pricing.price(
            items, booked.labels, terms, memory, now=booked.booked_at, costs_at=scenario.costs_at
        )
        self._keep(quote.states, terms, booked.booked_at)
        priced, pools = _priced(quote, terms.rounding), _NO_DRAWS
        if any(line.pool is not None for line in priced.lines):
            priced, pools = _draw_on_pools(priced, booked, parts)
        bill = make_bill(None, priced, parts.exact_micros)
        costs = accrue(parts.costs, priced)
        if booked.reservation is not None:
            self._reservations[booked.reservation] = _Parts(
                bill.exact_micros, costs, quote.own_run, pools.exact_micros
            )
        self.credit_price_nanousd = terms.card.credit_price_nanousd
        cost_nanousd = costs.posted_nanousd - parts.costs.posted_nanousd
        shares = bill.shares()
        if pools.micros:
            shares = tuple(map(add, shares, pools.micros))
        return _Charge(
            bill.micros + pools.total_micros,
            cost_nanousd,
            terms.card.credit_price_nanousd,
            _lines(quote, priced, shares, cost_nanousd),
            tuple([effect for line in quote.lines for effect in line.effects]) if quote.states else (),
        )

    def unwind(self, charge: _Charge, now: datetime) -> None:
        """Take what a charge added to the states away again."""
        if charge.effects:
            self._keep(pricing.unwind(charge.effects, self._states), None, now)

    def given_back(self, time: Window) -> Iterable[tuple[int, int]]:
        """The surplus of each period that closed within a time, and the list price of a credit of it."""
        for surplus in self._surpluses.values():
            if time.holds(surplus.closes_at) and surplus.micros:
                yield surplus.micros, surplus.credit_price_nanousd

    def _keep(self, states: Mapping[str, pricing.State], terms: pricing.Terms | None, now: datetime) -> None:
        for key, state in states.items():
            self._states[key] = state.text
            if terms is not None:
                self._multipliers[key] = terms.multiplier_nanos
                price = terms.card.credit_price_nanousd
            else:
                price = self._surpluses[key].credit_price_nanousd if key in self._surpluses else 0
            if state.closes_at is not None and state.closes_at > now:
                micros = state.surplus_micros * self._multipliers.get(key, UNSCALED) // UNSCALED
                self._surpluses[key] = _Surplus(state.closes_at, micros, price)


class _Customer:
    """A customer in the making."""

    def __init__(self, number: int, scenarios: Iterable[Scenario]) -> None:
        self.number = number
        self.pasts = tuple(map(_Past, scenarios))
        self.sides = Sides(Figures(), Figures())
        self.undone: dict[int, list[list[_Charge]]] = {}
        """What reversals may take back: the parts, on both sides, by what the reversal names."""
        self.priced_micros = 0
        self.revenue_nanousd = 0
        self.returned_micros = 0
        self.returned_nanousd = 0
        """Of periods that closed: both negative."""

    def value_returned(self, micros: int, credit_price_nanousd: int) -> int:
        """The value of credits that go back: that of those which did, or of all that were drawn."""
        if self.returned_micros:
            return round_exact(Fraction(micros * self.returned_nanousd, self.returned_micros))
        return self.value_of(micros, credit_price_nanousd)

    def value_of(self, micros: int, credit_price_nanousd: int) -> int:
        """The value of credits: that of all that were drawn, or the list price where none were."""
        if self.priced_micros > 0:
            return round_exact(Fraction(micros * self.revenue_nanousd, self.priced_micros))
        return round_exact(Fraction(micros * credit_price_nanousd, MICROS_PER_CREDIT))


def _priced(quote: pricing.Quote, rounding: pricing.Rounding) -> Priced:
    """A quote in the books' words, as far as amounts go."""
    lines = [
        PricedLine(
            line.kind,
            _TREATMENTS[line.treatment],
            line.exact_micros,
            line.cost_exact_nanousd,
            _NO_FACTS,
            _NO_FACTS,
            pool=PoolPart(line.pool.pool, Fraction(*line.pool.exact_micros)) if line.pool else None,
        )
        for line in quote.lines
    ]
    return Priced(tuple(lines), Rounding(*rounding), quote.has_outcome_rule, quote.outcome_charged, None)


def _draw_on_pools(priced: Priced, booked: Booked, parts: _Parts) -> tuple[Priced, PoolDraws]:
    """Give the usage at what pools leave of its price: of each there is what the entry drew, and no more."""
    needs: dict[str, Fraction] = {}
    for line in priced.lines:
        if line.pool is not None:
            needs[line.pool.pool] = needs.get(line.pool.pool, ZERO) + line.pool.exact_micros
    lots = []
    for number, (name, need) in enumerate(needs.items()):
        drawn, before = booked.pools.get(name, 0), parts.pools.get(name, ZERO)
        suffices = round_exact(before + need) - round_exact(before) <= drawn
        # What rounding left out was there, too.
        lots.append(_lot_of(name, number, ceil(need) + 1 if suffices else drawn, booked.booked_at))
    rest, draws = draw_on_pools(lots, priced, parts.pools)
    return rest or priced, draws


def _lot_of(pool: str, number: int, micros: int, now: datetime) -> Lot:
    key, scope = LotKey(0, number), POOL_SCOPE + pool
    return Lot(key, GrantKind.PAID, micros, micros, 0, 0, 0, scope, now, None, LotStatus.ACTIVE)


def _lines(
    quote: pricing.Quote, priced: Priced, shares: Sequence[int], cost_nanousd: int
) -> tuple[Line, ...]:
    costs = apportion(cost_nanousd, [line.cost_exact_nanousd for line in priced.lines])
    return tuple(
        [
            Line((line.kind, pricing.name_of(line.item)), shares[n], costs[n], line.treatment is _UNPRICED)
            for n, line in enumerate(quote.lines)
        ]
    )


def _figures_of(booked: Booked, sign: int) -> Figures:
    return Figures(
        sign * len(booked.items),
        0,
        booked.priced_micros,
        booked.priced_micros * booked.credit_price_nanousd,
        booked.revenue_nanousd,
        booked.cost_nanousd,
    )
