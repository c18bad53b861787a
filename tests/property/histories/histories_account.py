"""The model of single credits, with the figures that the books tell of it: entries, sums, dollars.

Every lot has a price per credit that never changes, so that the dollars of the books follow from where the
credits are: nothing here divides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
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
        self.budget: int | None = None
        """What the plan's budget of all work allows in all."""
        self.counts: dict[ModelHold, int] = {}
        """Of holds and charges that began while there was one: what each counts in it."""
        self.refused_by_budget = False
        """The latest command."""
        self._left: int | None = None
        """What the command may take beside what is held for it."""

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

    @property
    def is_worth_too_much(self) -> bool:
        """Tell whether the model's lots are worth more than was paid: the books let less value come back."""
        return self.dollars()["deferred"] > self.paid_nanousd

    # A budget of all work counts what holds of its time hold, and what they and its charges were charged.

    def leaves(self, hold: ModelHold | None = None) -> int | None:
        """Give what the plan's budget leaves for new work, or for a hold's; None: nothing limits it."""
        if self.budget is None or (hold is not None and hold not in self.counts):
            return None
        return max(0, self.budget - self.counted)

    def reserve(self, needs: Needs, minutes: int, minimum: int | None) -> ModelHold | None:
        """Hold no more than the budget leaves."""
        asked, left = sum(needs.values()), self.leaves()
        self.refused_by_budget = left is not None and left < (
            asked if minimum is None else min(minimum, asked)
        )
        if self.refused_by_budget:
            return None
        with self._limited(left):
            hold = super().reserve(needs, minutes, minimum)
        if hold is not None and left is not None:
            self._count(hold, begins=True)
        return hold

    def extend(self, hold: ModelHold, amount: int, minutes: int) -> str:
        """Hold no more than the budget leaves."""
        left = self.leaves(hold)
        self.refused_by_budget = hold.state == "OPEN" and left is not None and left < amount
        if self.refused_by_budget:
            return "BUDGET_EXCEEDED"
        reported = super().extend(hold, amount, minutes)
        self._count(hold)
        return reported

    def release(self, hold: ModelHold) -> str:
        """Count what it held no more."""
        reported = super().release(hold)
        self._count(hold)
        return reported

    def commit(self, hold: ModelHold, needs: Needs, *, stated: bool, final: bool) -> str:
        """Take beyond the hold no more than the budget leaves."""
        with self._limited(self.leaves(hold)):
            reported = super().commit(hold, needs, stated=stated, final=final)
        self._count(hold)
        return reported

    def charge(self, needs: Needs, *, used: bool) -> ModelHold | None:
        """Charge no more than the budget leaves: refused, or not collected if the work is done."""
        asked, left = sum(needs.values()), self.leaves()
        self.refused_by_budget = not used and left is not None and left < asked
        if self.refused_by_budget:
            return None
        with self._limited(left):
            charge = super().charge(needs, used=used)
        if charge is not None and left is not None:
            self._count(charge, begins=True)
        return charge

    def reverse(self, hold: ModelHold) -> str:
        """Count what it was charged no more."""
        reported = super().reverse(hold)
        self._count(hold)
        return reported

    def _count(self, hold: ModelHold, *, begins: bool = False) -> None:
        """Count what a hold holds and was charged by now, if it counts."""
        if begins or hold in self.counts:
            held = sum(credit.holder is hold for lot in self.lots for credit in lot.credits)
            self.counts[hold] = held + hold.charged

    @contextmanager
    def _limited(self, left: int | None) -> Iterator[None]:
        self._left = left
        yield
        self._left = None

    @property
    def counted(self) -> int:
        """Give what the budget has counted."""
        return sum(self.counts.values())

    def expire_hold(self, hold: ModelHold) -> None:
        """Give a hold back by the clock."""
        self._give_up(hold)
        hold.state = "EXPIRED"
        self._count(hold)

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
        if self._left is None:
            return found
        free = [credit for credit in found if credit.state == "available"]
        beyond = set(map(id, free[self._left :]))
        return [credit for credit in found if id(credit) not in beyond]

    def _charge(self, hold: ModelHold, asked: int, found: list[ModelCredit]) -> None:
        before, limit = hold.charged, self.limit
        if self._left is not None:
            free = sum(credit.state == "available" for credit in found)
            self.limit = min(limit, self.debt + self._left - free)
        super()._charge(hold, asked, found)
        self.limit = limit
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
