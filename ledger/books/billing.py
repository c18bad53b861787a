"""What a command asks for: credits that it states, or usage at its price.

The price of usage is rounded over all that the customer has used under the card (`tallies`): so a session
committed in a hundred parts costs what it costs in one, and a thousand small charges what one of their sum
does. Credits that are stated stand beside that sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ledger.books import refusals
from ledger.books.making import make
from ledger.books.model.priced import Priced, PricedLine, Rounding, Treatment
from ledger.books.model.refusals import Refusal
from ledger.books.model.wallets import NO_TALLY, Tally
from ledger.books.rounding import HALF_EVEN, MAX_AMOUNT, BooksError, apportion, over_one, round_ratio
from ledger.books.tallies import NO_USAGE, TalliedUsage, beside, due_micros

_UNPRICED = Treatment.UNPRICED  # To look a member up in its enumeration costs as much as a call.


class Bill(NamedTuple):
    """What is asked for, before anybody has looked whether it can be paid."""

    micros: int
    lines: tuple[PricedLine, ...]
    """The usage that it is for; none where credits are stated."""
    usage: TalliedUsage = NO_USAGE
    """Its exact price, and what was carried before it."""
    rounding: Rounding = HALF_EVEN
    weights: Sequence[int] = ()
    """The lines' exact prices, over one denominator."""
    usage_micros: int = 0
    """What of it is the usage's price."""
    of_hold: tuple[int, ...] = ()
    """What of it each line takes of the hold, for want of a price; empty where none does."""

    def with_hold(self, of_hold: Sequence[int]) -> Bill:
        """The bill with what each line takes of the hold (micro-credits), for want of a price."""
        total = sum(of_hold)
        return self._replace(micros=self.micros + total, of_hold=tuple(of_hold)) if total else self

    def shares(self) -> tuple[int, ...]:
        """Each line's price, by largest remainder over the exact ones, and what it takes of the hold."""
        prices = apportion(self.usage_micros, self.weights)
        if not self.of_hold:
            return prices
        return tuple([price + micros for price, micros in zip(prices, self.of_hold, strict=True)])

    def needs(self) -> dict[str | None, int]:
        """The shares by kind of usage, in the order of the lines; credits stated have no kind."""
        if not self.lines:
            return {None: self.micros}
        needs: dict[str | None, int] = {}
        for line, share in zip(self.lines, self.shares(), strict=True):
            needs[line.kind] = needs.get(line.kind, 0) + share
        return needs

    def alone_micros(self) -> int:
        """What it would be if nothing were carried."""
        if not self.lines:
            return self.micros
        return round_ratio(self.usage.exact, self.rounding) + sum(self.of_hold)


def make_bill(amount_micros: int | None, priced: Priced | None, tally: Tally = NO_TALLY) -> Bill:
    """Bills a stated amount, or usage; exactly one of them is given, else this raises `BooksError`.

    `tally` is what the customer's earlier usage under the card has left.
    """
    if priced is None:
        if amount_micros is None:
            raise BooksError("a command states credits, or usage with its price: neither was given")
        return make(Bill, (amount_micros, (), NO_USAGE, HALF_EVEN, (), 0, ()))
    if amount_micros is not None:
        raise BooksError("a command states credits, or usage with its price: both were given")
    lines, rounding = priced.lines, priced.rounding
    weights, denominator = over_one([line.exact_micros for line in lines])
    usage = beside(tally, (sum(weights), denominator))
    micros = due_micros(usage, rounding)
    return make(Bill, (micros, lines, usage, rounding, weights, micros, ()))


def make_hold(amount_micros: int | None, priced: Priced | None, tally: Tally) -> Bill:
    """Bills what is to be held: what the same usage would be charged now, with what is carried or alone."""
    bill = make_bill(amount_micros, priced, tally)
    if priced is None:
        return bill
    alone_micros = bill.alone_micros()
    return _at(bill, alone_micros) if alone_micros > bill.micros else bill


def without_carried(bill: Bill) -> Bill:
    """A bill that leaves a quantum of what is carried for later: it waits where credits do not cover it.

    More than one does not wait: who never has credits left would pay nothing for small usage, for ever.
    """
    least = max(bill.alone_micros(), bill.micros - bill.rounding.quantum_micros)
    return _at(bill, min(bill.micros, least))


def _at(bill: Bill, micros: int) -> Bill:
    """A bill of another price of its usage."""
    return bill._replace(micros=micros, usage_micros=bill.usage_micros + micros - bill.micros)


def refuse_amount(amount_micros: int | None, *, least: int) -> Refusal | None:
    """Refuses a stated amount out of bounds."""
    if amount_micros is None or least <= amount_micros <= MAX_AMOUNT:
        return None
    return refusals.invalid(
        "amount_micros", f"must be {least} to {MAX_AMOUNT} micro-credits, got {amount_micros}"
    )


def refuse_unpriced(priced: Priced | None) -> Refusal | None:
    """Refuses usage that has no price, before the work is done."""
    if priced is not None:
        for line in priced.lines:
            if line.treatment is _UNPRICED:
                name = str(line.public.get("name", ""))
                return refusals.unpriced(priced.lines.index(line), line.kind, name)
    return None
