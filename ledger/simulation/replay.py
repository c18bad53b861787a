"""Simulation: usage that was charged, priced anew under two sets of terms, side by side.

Pure: entries of the journal in, figures out. A customer's entries are replayed in the order of its sequence,
each side with a past of its own: the states of runs and periods, and what a reservation's parts amount to
so far.

A reversal takes back what its charge amounted to. Credits committed without usage stay what they are. A
period that closes gives its surplus back on each side. Refunds are nobody's price: they are on neither side.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from ledger.books.model.entries import EntryKind
from ledger.books.rounding import MICROS_PER_CREDIT, round_exact
from ledger.simulation.figures import Figures, Name, Report, Sides, bucket_of
from ledger.simulation.side import BookedCharge, Scenario, Side, SimulatedCharge, Window


class Simulation:
    """Replays entries, customer by customer, each in the order of its sequence."""

    def __init__(self, before: Scenario, after: Scenario, time: Window) -> None:
        self._scenarios = (before, after)
        self._time = time
        self._found = Report()
        self._customer: _Customer | None = None

    def add(self, booked: BookedCharge) -> None:
        """Replays the next entry; one from before the time only leaves its traces in the states."""
        customer, counts = self._customer, self._time.has_begun(booked.booked_at)
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
        """Closes the last customer, and tells what was found."""
        self._close()
        return self._found

    def _charge(self, customer: _Customer, booked: BookedCharge, *, counts: bool) -> None:
        charges = [past.charge(booked) for past in customer.pasts]
        if booked.undone:
            key = booked.sequence if booked.reservation is None else booked.reservation
            customer.undone.setdefault(key, []).append(charges)
        if counts:
            self._found.charges += 1
            self._found.charge_changes[bucket_of(*(charge.list_value for charge in charges))] += 1
            self._count(customer, booked, [charges], 1)

    def _reverse(self, customer: _Customer, booked: BookedCharge, *, counts: bool) -> None:
        undone = customer.undone.pop(booked.subject or 0, [])
        for charges in undone:
            for past, charge in zip(customer.pasts, charges, strict=True):
                past.unwind(charge, booked.booked_at)
        if counts and undone:
            self._count(customer, booked, undone, -1)
        elif counts:
            self._found.unmatched_reversals += 1

    def _take_closing(self, customer: _Customer, booked: BookedCharge, *, counts: bool) -> None:
        """What a closed period gave back is booked; what each side gives back is its own."""
        if counts:
            customer.returned_micros += booked.priced_micros
            customer.returned_nanousd += booked.revenue_nanousd
            self._found.booked.add(_figures_of(booked, 1))

    def _count(
        self, customer: _Customer, booked: BookedCharge, found: Sequence[Sequence[SimulatedCharge]], sign: int
    ) -> None:
        """Adds what an entry amounts to on both sides, or takes away what a reversal takes back."""
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
        """Gives back the surplus of closed periods, and values what no lot was drawn for."""
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


class _Customer:
    """A customer that is being replayed."""

    def __init__(self, number: int, scenarios: Iterable[Scenario]) -> None:
        self.number = number
        self.pasts = tuple(map(Side, scenarios))
        self.sides = Sides(Figures(), Figures())
        self.undone: dict[int, list[list[SimulatedCharge]]] = {}
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


def _figures_of(booked: BookedCharge, sign: int) -> Figures:
    return Figures(
        sign * len(booked.items),
        0,
        booked.priced_micros,
        booked.priced_micros * booked.credit_price_nanousd,
        booked.revenue_nanousd,
        booked.cost_nanousd,
    )
