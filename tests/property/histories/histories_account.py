"""The model of single credits, with the figures that the books tell of it: entries, sums, dollars.

Every lot has a price per credit that never changes, so that the dollars of the books follow from where the
credits are: nothing here divides.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import NamedTuple

from books_model import DEBT_PRICE, Model, ModelCharge, ModelHold, ModelLot, Needs
from books_model import Credit as ModelCredit

_LITTLE = Fraction(1, 10**6)


class Figures(NamedTuple):
    """Balances of a customer's accounts, in micro-credits; `debt` is owed."""

    granted: int
    """All that ever was."""
    pending: int
    available: int
    held: int
    consumed: int
    expired: int
    debt: int


class Account(Model):
    """The wallet of one customer, and what its books must say."""

    def __init__(self) -> None:
        super().__init__()
        self.sequence = 0
        self.granted = 0
        self.consumed = 0
        self.paid_nanousd = 0
        self.cost_nanousd = 0
        self.found = 0
        """How many credits the latest command could have had."""
        self.heirs: dict[ModelLot, ModelLot | None] = {}
        """Lots that were made of returned credits, and the lots that could not take them (None: no lot)."""

    def figures(self) -> Figures:
        """Give the balances as they are now."""
        count = Counter(credit.state for lot in self.lots for credit in lot.credits)
        pending, available, held, expired = (
            count[state] for state in ("pending", "available", "held", "expired")
        )
        return Figures(self.granted, pending, available, held, self.consumed, expired, self.debt)

    def dollars(self) -> dict[str, int]:
        """Give the balances of the dollar accounts, in nano-dollars."""
        deferred = sum(_price(lot) * lot.count("pending", "available", "held") for lot in self.lots)
        breakage = sum(_price(lot) * lot.count("expired") for lot in self.lots)
        balances = {
            "receivable": -self.paid_nanousd,
            "unbilled": -self.debt * DEBT_PRICE,
            "refund_payable": 0,
            "deferred": deferred,
            "breakage": breakage,
            "write_off": 0,
            "cost": -self.cost_nanousd,
            "provider_payable": self.cost_nanousd,
        }
        return {**balances, "revenue": -sum(balances.values())}

    def expire_hold(self, hold: ModelHold) -> None:
        """Give a hold back by the clock."""
        self._give_up(hold)
        hold.state = "EXPIRED"

    def start_lot(self, lot: ModelLot) -> None:
        """Make a lot active by the clock."""
        self._start(lot)

    def expire_lot(self, lot: ModelLot) -> None:
        """Let what is not held of a lot expire; one without credits has nothing to expire."""
        lot.status = "EXPIRED" if lot.count("available", "held") else "DEPLETED"
        for credit in lot.credits:
            if credit.state == "available":
                credit.state = "expired"

    def _find(self, needs: Needs, sources: list[ModelCredit]) -> list[ModelCredit]:
        found = super()._find(needs, sources)
        self.found = len(found)
        return found

    def _charge(self, hold: ModelHold, asked: int, found: list[ModelCredit]) -> None:
        before = hold.charged
        super()._charge(hold, asked, found)
        self.consumed += hold.charged - before

    def _give_back(self, charges: list[ModelCharge], amount: int) -> None:
        super()._give_back(charges, amount)
        self.consumed -= amount

    def _born_of_reversal(self, order: tuple[object, ...], amount: int, old: ModelLot | None) -> None:
        """Make a new lot, that expires a little later than those which older entries made in this minute."""
        super()._born_of_reversal(order, amount, old)
        lot = self.lots[-1]
        self.heirs[lot] = old
        lot.order = (*lot.order[:2], lot.expires + self.sequence * _LITTLE, *lot.order[3:])


def _price(lot: ModelLot) -> int:
    price = lot.order[3]
    assert isinstance(price, int)
    return price
