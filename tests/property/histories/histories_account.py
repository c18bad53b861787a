"""The model of single credits, with the figures that the books tell of it: entries, sums, dollars.

Every lot has a price per credit that never changes, so that the dollars of the books follow from where the
credits are: nothing here divides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from books_model import DEBT_PRICE, Model, ModelCharge, ModelDaily, ModelHold, ModelLot, Needs
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
    voided: int
    refunded: int
    debt: int


@dataclass
class Recurring:
    """What a plan grants its customer each day, from when that came to it."""

    daily: ModelDaily
    of_the_day: list[ModelLot] = field(default_factory=list)
    """What ends at the next midnight, and may roll over."""
    until: int = 0
    """The minute of that midnight."""


class Account(Model):
    """The wallet of one customer, and what its books must say."""

    def __init__(self) -> None:
        super().__init__()
        self.sequence = 0
        self.granted = 0
        self.consumed = 0
        self.paid_nanousd = 0
        self.paid_back_nanousd = 0
        self.less_paid_back: Counter[ModelLot] = Counter()
        """Than credits of lots were worth."""
        self.written_off: Counter[ModelLot] = Counter()
        """What was given up of the prices of lots, in nano-dollars."""
        self.forgiven = 0
        """Credits that were owed, and will never be paid."""
        self.owed: Counter[ModelLot] = Counter()
        """Credits of voided lots that had been used, and became debt."""
        self.rolled_over: Counter[ModelLot] = Counter()
        self.recurring: dict[str, Recurring] = {}
        """By plan: one that the customer has left grants nothing more, once its day is over."""
        self.cost_nanousd = 0
        self.is_unknown = False
        """Credits of one lot are no longer worth the same, or those owed: how much, only the books know."""
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
        pending, available, held, expired, voided, refunded = (
            count[state] for state in ("pending", "available", "held", "expired", "voided", "refunded")
        )
        voided += self.voided_as_used
        return Figures(
            self.granted, pending, available, held, self.consumed, expired, voided, refunded, self.debt
        )

    def dollars(self) -> dict[str, int]:
        """Give the balances of the dollar accounts, in nano-dollars."""
        written_off = sum(self.written_off.values())
        balances = {
            "receivable": self._worth("voided") + self._owed_nanousd + written_off - self.paid_nanousd,
            "unbilled": -self.debt * DEBT_PRICE,
            "refund_payable": self.paid_back_nanousd,
            "deferred": self._worth("pending", "available", "held"),
            "breakage": self._worth("expired"),
            "write_off": -written_off - self.forgiven * DEBT_PRICE,
            "cost": -self.cost_nanousd,
            "provider_payable": self.cost_nanousd,
        }
        return {**balances, "revenue": -sum(balances.values())}

    @property
    def unclaimed_nanousd(self) -> int:
        """Give what was paid for credits and not taken off again, beyond what those left are worth.

        Below 0: more came back than was paid. The books let less value come back, how much less is theirs.
        """
        dollars = self.dollars()
        return -dollars["receivable"] - dollars["refund_payable"] - dollars["deferred"]

    @property
    def is_beyond(self) -> bool:
        """Tell whether credits may be worth another amount than the model says, and burn in another order."""
        return self.is_unknown or self.unclaimed_nanousd < 0

    @property
    def _owed_nanousd(self) -> int:
        return sum(price_of(lot) * credits_owed for lot, credits_owed in self.owed.items())

    def _worth(self, *states: str) -> int:
        return sum(price_of(lot) * lot.count(*states) for lot in self.lots)

    # Grants

    def confirm(self, lot: ModelLot, price: int | None) -> str:
        """Count what is granted, and what is paid for it."""
        reported = super().confirm(lot, price)
        if reported == "ok":
            self.granted += len(lot.credits)
            self.paid_nanousd += len(lot.credits) * price_of(lot)
        return reported

    def used_of(self, lot: ModelLot) -> int:
        """Count what was used of a lot and is not owed since, what came back and moved on included."""
        return lot.count("consumed") + lot.moved_on - self.owed[lot]

    def claim_of(self, lot: ModelLot) -> int:
        """Give what was paid for the used and expired credits of a lot, less what of that was given up."""
        earned = self.used_of(lot) - lot.moved_on + lot.count("expired")
        return earned * price_of(lot) + self.less_paid_back[lot] - self.written_off[lot]

    def void(self, lot: ModelLot, *, owed: bool) -> str:
        """Take note of what is owed; what was stated alone is voided as a whole."""
        used = lot.claimable if owed and lot.status != "UNPAID" else 0
        is_plain = price_of(lot) == DEBT_PRICE and not (
            lot.moved_on or self.written_off[lot] or self.less_paid_back[lot]
        )
        reported = super().void(lot, owed=owed)
        if reported == "ok" and used:
            self.owed[lot] += used
            self.is_unknown |= not is_plain or self.unclaimed_nanousd < 0
        return reported

    def is_taken_back(self, lot: ModelLot) -> bool:
        """Tell whether nothing is left of what was paid for a lot."""
        taken = lot.count("voided", "refunded") + self.owed[lot] + lot.moved_on + self.rolled_over[lot]
        granted = len(lot.credits) + lot.moved_on + self.rolled_over[lot]
        paid = 0 if lot.is_unpaid_for else granted * price_of(lot)
        taken_nanousd = taken * price_of(lot) + self.written_off[lot] - self.less_paid_back[lot]
        return 0 < paid <= taken_nanousd

    def write_off(self, lot: ModelLot) -> str:
        """Give up what a lot was sold for, as far as it is used or expired."""
        if lot.status == "UNPAID":
            return "GRANT_CLOSED"
        claim = 0 if lot.is_unpaid_for else self.claim_of(lot)
        if claim <= 0:
            return "WRITE_OFF_EXCEEDS_CLAIM"
        self.written_off[lot] += claim
        self.give_up(lot)
        return "ok"

    def write_off_debt(self, amount: int | None) -> str:
        """Count what is given up as granted, for nothing."""
        owed = self.debt
        reported = super().write_off_debt(amount)
        self.forgiven += owed - self.debt
        self.granted += owed - self.debt
        return reported

    # What recurs

    def come_to(self, plan: str, daily: ModelDaily) -> ModelLot | None:
        """Grant what a plan grants each day, unless the customer has today's."""
        if plan in self.recurring:
            return None
        lot = self._of_today(daily)
        self.recurring[plan] = Recurring(daily, [lot], lot.expires)
        return lot

    def renew(self, plan: str, *, goes_on: bool) -> list[ModelLot]:
        """Begin another day of a plan: give the lots that are made, that of the day last."""
        recurring, made = self.recurring[plan], len(self.lots)
        if not goes_on:
            del self.recurring[plan]
            return []
        self.of_the_day = recurring.of_the_day
        self._renew(recurring.daily)
        recurring.of_the_day, recurring.until = self.of_the_day, self.lots[-1].expires
        return self.lots[made:]

    def _roll_over(self, daily: ModelDaily, moving: list[ModelCredit]) -> None:
        self.rolled_over.update(credit.lot for credit in moving)
        super()._roll_over(daily, moving)

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
        """Let what is not held of a lot expire."""
        lot.status = "EXPIRED"
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

    def _return(self, back: list[ModelCredit], lot: ModelLot) -> None:
        self.is_unknown |= self.written_off[lot] > 0
        super()._return(back, lot)

    def _born_of_reversal(self, order: tuple[object, ...], amount: int, old: ModelLot | None) -> None:
        """Make a new lot, that expires a little later than those which older entries made in this minute."""
        super()._born_of_reversal(order, amount, old)
        lot = self.lots[-1]
        self.heirs[lot] = old
        # The amount that moves on is counted among what the old one has used.
        lot.is_unpaid_for = old is None or old.is_unpaid_for or amount > self.used_of(old)
        lot.order = (*lot.order[:2], lot.expires + self.sequence * _LITTLE, *lot.order[3:])


def price_of(lot: ModelLot) -> int:
    """Give what was paid for each credit of a lot, in nano-dollars."""
    price = lot.order[3]
    assert isinstance(price, int)
    return price
