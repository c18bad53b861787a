"""What a command asks for: credits that it states, or usage at its price.

The price of usage is rounded once over a reservation: a part is billed round(exact sum after it) -
round(exact sum before it), so that a session committed in a hundred parts costs what it costs in one.
Parts stated in credits stand beside that sum.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from ledger.books import refusals
from ledger.books.exact import MAX_AMOUNT, BooksError, apportion, exact_sum, round_exact
from ledger.books.making import make
from ledger.books.model import ZERO, Priced, PricedLine, Refusal, Treatment

_UNPRICED = Treatment.UNPRICED  # To look a member up in its enumeration costs as much as a call.


class Bill(NamedTuple):
    """What is asked for, before anybody has looked whether it can be paid."""

    micros: int
    exact_micros: Fraction
    """The exact price of all usage so far, this part included."""
    lines: tuple[PricedLine, ...]
    """The usage that it is for; none where credits are stated."""

    def shares(self) -> tuple[int, ...]:
        """Give what each line has of it, by largest remainder over the exact prices."""
        return apportion(self.micros, [line.exact_micros for line in self.lines])

    def needs(self) -> dict[str | None, int]:
        """Give the shares by kind of usage, in the order of the lines; credits stated have no kind."""
        if not self.lines:
            return {None: self.micros}
        needs: dict[str | None, int] = {}
        for line, share in zip(self.lines, self.shares(), strict=True):
            needs[line.kind] = needs.get(line.kind, 0) + share
        return needs


def make_bill(amount_micros: int | None, priced: Priced | None, exact_before: Fraction = ZERO) -> Bill:
    """Bill a stated amount, or usage; exactly one of them is given, else this raises `BooksError`."""
    if priced is None:
        if amount_micros is None:
            raise BooksError("a command states credits, or usage with its price: neither was given")
        return Bill(amount_micros, exact_before, ())
    if amount_micros is not None:
        raise BooksError("a command states credits, or usage with its price: both were given")
    lines, rounding = priced.lines, priced.rounding
    exact_after = exact_sum([line.exact_micros for line in lines], exact_before)
    micros = round_exact(exact_after, rounding)
    if exact_before is not ZERO:
        micros -= round_exact(exact_before, rounding)
    return make(Bill, (micros, exact_after, lines))


def refuse_amount(amount_micros: int | None, *, least: int) -> Refusal | None:
    """Refuse a stated amount out of bounds."""
    if amount_micros is None or least <= amount_micros <= MAX_AMOUNT:
        return None
    return refusals.invalid(
        "amount_micros", f"must be {least} to {MAX_AMOUNT} micro-credits, got {amount_micros}"
    )


def refuse_unpriced(priced: Priced | None) -> Refusal | None:
    """Refuse usage that has no price, before the work is done."""
    if priced is not None:
        for line in priced.lines:
            if line.treatment is _UNPRICED:
                return refusals.unpriced(priced.lines.index(line))
    return None


def refuse_price(priced_micros: int, field: str) -> Refusal | None:
    """Refuse a price that the books cannot hold: quantities beyond any real use."""
    if priced_micros <= MAX_AMOUNT:
        return None
    return refusals.invalid(field, f"the price comes to more than {MAX_AMOUNT} micro-credits")
