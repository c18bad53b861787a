"""A model of the wallet, written apart from the books: every micro-credit is an object of its own.

It knows amounts only, no dollars. Credits are moved one by one, lots are put in order by a key that is
computed when they are granted (what a credit of each is worth, where others came back to it, it takes from
the books), and the clock goes minute by minute. Slow, and simple enough to be believed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction

NEVER = 10**9
DAY_MINUTES = 24 * 60
DEBT_PRICE = 5
"""Nano-dollars a micro-credit; dearer than any lot, so that no two prices are close."""
NEW_LIFE_MINUTES = 30 * 24 * 60


@dataclass(eq=False)
class Credit:
    """One micro-credit: unpaid, pending, available, held, consumed, expired, voided, refunded."""

    lot: ModelLot
    state: str
    holder: object = None
    """The hold that it is in."""


@dataclass(eq=False)
class ModelLot:
    """A lot, by the key that orders it."""

    order: tuple[object, ...]
    scope: str | None
    starts: int
    expires: int
    status: str
    credits: list[Credit] = field(default_factory=list)
    returners: set[ModelCharge] = field(default_factory=set)
    """Charges of which anything has come back to it."""
    moved_on: int = 0
    """Credits of it that came back and are in another lot now: it has given them."""
    is_unpaid_for: bool = False
    """Of credits that came back of no lot: nobody is known to have paid for it."""
    given_up: int = 0
    """Used credits of it whose price nobody claims any more."""

    @property
    def claimable(self) -> int:
        """Count what was used of it, what came back and moved on included, and was not given up."""
        return max(0, self.count("consumed") + self.moved_on - self.given_up)

    @property
    def is_used_up(self) -> bool:
        """Tell whether nothing is left of it: no clock looks at it."""
        return self.status == "ACTIVE" and not self.count("held", "available")

    @property
    def priority(self) -> int:
        """Give the first of what orders it."""
        priority = self.order[0]
        assert isinstance(priority, int)
        return priority

    def take_price(self, price: Fraction) -> None:
        """Take what a credit of it is worth."""
        self.order = (*self.order[:3], price, *self.order[4:])

    def count(self, *states: str) -> int:
        """Count the credits in these states."""
        return sum(credit.state in states for credit in self.credits)


@dataclass(eq=False)
class ModelPayment:
    """What a lot paid of debt when it became active."""

    lot: ModelLot
    credits: list[Credit]
    """Those that have not come back."""


@dataclass(eq=False)
class ModelCharge:
    """What one commit, or one charge, has collected, as far as it has not come back."""

    used: list[Credit]
    """In the order drawn."""
    borrowed: int
    since: int | None
    """If it made debt: how many payments of debt there were before."""

    @property
    def left(self) -> int:
        """Count what may still come back."""
        return len(self.used) + self.borrowed


@dataclass(eq=False)
class ModelHold:
    """A reservation."""

    expires: int
    born: int
    state: str = "OPEN"
    order: list[ModelLot] = field(default_factory=list)
    """Its lots, as they burned when it was made or extended."""
    charges: list[ModelCharge] = field(default_factory=list)
    priced: int = 0
    charged: int = 0

    @property
    def left(self) -> int:
        """Count what may still come back."""
        return sum(charge.left for charge in self.charges)


@dataclass(frozen=True)
class ModelDaily:
    """Credits that recur at midnight, and how many of the unused ones roll over."""

    amount: int
    price: int
    priority: int
    least: int
    most: int
    rolled_minutes: int | None
    """The life of what has rolled over; None: until midnight."""


Needs = dict[str | None, int]


class Model:
    """The wallet of one customer."""

    def __init__(self) -> None:
        self.minute = 0
        self.lots: list[ModelLot] = []
        self.holds: list[ModelHold] = []
        self.payments: list[ModelPayment] = []
        self.debt = 0
        self.voided_as_used = 0
        self.daily: ModelDaily | None = None
        self.of_the_day: list[ModelLot] = []
        """What ends at the next renewal, and may roll over."""
        self.over_capture = "ALLOW_IF_AVAILABLE"
        self.limit = 0

    # The clock

    def pass_minutes(self, minutes: int) -> None:
        """Let holds expire, lots start, credits recur and lots expire, each at its minute."""
        end = self.minute + minutes
        while self.minute < end:
            self.minute = min(end, *self._minutes_to_come())
            for hold in self.holds:
                if hold.state == "OPEN" and hold.expires == self.minute:
                    self._give_up(hold)
                    hold.state = "EXPIRED"
            for lot in self.lots:
                if lot.status == "PENDING" and lot.starts == self.minute:
                    self._start(lot)
            if self.daily is not None and self.minute % DAY_MINUTES == 0:
                self._renew(self.daily)
            self._let_lots_expire()

    def _minutes_to_come(self) -> list[int]:
        """The minutes at which something may happen."""
        midnight = self.minute - self.minute % DAY_MINUTES + DAY_MINUTES
        minutes = [hold.expires for hold in self.holds]
        minutes += [minute for lot in self.lots for minute in (lot.starts, lot.expires)]
        return [midnight, *(minute for minute in minutes if minute > self.minute)]

    def _let_lots_expire(self) -> None:
        for lot in self.lots:
            if lot.status == "ACTIVE" and lot.expires == self.minute and not lot.is_used_up:
                lot.status = "EXPIRED"
                for credit in lot.credits:
                    if credit.state == "available":
                        credit.state = "expired"

    def begin_daily(self, daily: ModelDaily) -> None:
        """Grant credits from today on: those of today at once."""
        self.daily = daily
        self.of_the_day = [self._of_today(daily)]

    def _renew(self, daily: ModelDaily) -> None:
        """What is free of the credits that end moves on, the last to burn first; then there are new ones."""
        ending = [lot for lot in self._ordered() if lot in self.of_the_day and self._ends(lot)]
        free = [c for lot in reversed(ending) for c in lot.credits if c.state == "available"]
        self.of_the_day = []
        if free and len(free) >= daily.least and daily.most:
            self._roll_over(daily, free[: daily.most])
        self.of_the_day.append(self._of_today(daily))

    def _ends(self, lot: ModelLot) -> bool:
        return lot.status == "ACTIVE" and lot.expires == self.minute

    def _roll_over(self, daily: ModelDaily, moving: list[Credit]) -> None:
        """To one lot for each priority: somebody may have changed that of some."""
        olds = list(dict.fromkeys(credit.lot for credit in moving))
        lives = DAY_MINUTES if daily.rolled_minutes is None else daily.rolled_minutes
        expires = self.minute + lives
        for priority in dict.fromkeys(old.order[0] for old in olds):
            order = (priority, True, expires, daily.price, self.minute, len(self.lots))
            new = ModelLot(order, None, self.minute, expires, "ACTIVE")
            self.lots.append(new)
            for credit in [credit for credit in moving if credit.lot.order[0] == priority]:
                credit.lot.credits.remove(credit)
                credit.lot = new
                new.credits.append(credit)
            if daily.rolled_minutes is None:
                self.of_the_day.append(new)
        for old in olds:
            if not old.count("held", "available"):
                old.status = "EXPIRED"

    def _of_today(self, daily: ModelDaily) -> ModelLot:
        midnight = self.minute - self.minute % DAY_MINUTES + DAY_MINUTES
        self.grant(daily.amount, daily.price, daily.priority, None, self.minute, midnight)
        return self.lots[-1]

    def _start(self, lot: ModelLot) -> None:
        lot.status = "ACTIVE"
        pending = [credit for credit in lot.credits if credit.state == "pending"]
        paid = pending[: self.debt] if lot.scope is None else []
        for credit in pending:
            credit.state = "consumed" if credit in paid else "available"
        self.debt -= len(paid)
        if paid:
            self.payments.append(ModelPayment(lot, paid))

    def _give_up(self, hold: ModelHold) -> None:
        for lot in self.lots:
            for credit in lot.credits:
                if credit.state == "held" and credit.holder is hold:
                    credit.state = {
                        "ACTIVE": "available",
                        "EXPIRED": "expired",
                        "VOIDED": "voided",
                        "DISPUTED": "pending",
                    }[lot.status]
                    credit.holder = None

    # Commands

    def grant(
        self,
        amount: int,
        price: int,
        priority: int,
        scope: str | None,
        starts: int,
        expires: int,
        *,
        unpaid: bool = False,
    ) -> None:
        """Grant credits, in [starts, expires), or state what is granted once it is paid."""
        order = (priority, scope is None, expires, price, starts, len(self.lots))
        lot = ModelLot(order, scope, starts, expires, "UNPAID")
        lot.credits = [Credit(lot, "unpaid") for _ in range(amount)]
        self.lots.append(lot)
        if not unpaid:
            self.confirm(lot, None)

    def confirm(self, lot: ModelLot, price: int | None) -> str:
        """Pay for a grant that was stated, at another price each."""
        if lot.status != "UNPAID":
            return "GRANT_NOT_PENDING_PAYMENT"
        if lot.expires <= self.minute:
            return "GRANT_CLOSED"
        if price is not None:
            lot.order = (*lot.order[:3], price, *lot.order[4:])
        lot.status = "PENDING"
        for credit in lot.credits:
            credit.state = "pending"
        if lot.starts <= self.minute:
            self._start(lot)
        return "ok"

    def void(self, lot: ModelLot, *, owed: bool) -> str:
        """Take back what is not held; what was used is owed, if it is to be."""
        used = lot.claimable if owed else 0
        if lot.status in ("EXPIRED", "VOIDED") or (lot.is_used_up and not used):
            return "GRANT_CLOSED"
        if used and lot.is_unpaid_for:
            return "INVALID_ARGUMENT"
        lot.status = "VOIDED"
        for credit in lot.credits:
            if credit.state in ("available", "pending"):
                credit.state = "voided"
        self.debt += used
        self.voided_as_used += used
        return "ok"

    def give_up(self, lot: ModelLot) -> None:
        """Claim nothing more for what was used."""
        lot.given_up += lot.claimable

    def dispute(self, lot: ModelLot) -> str:
        """Set aside what nobody holds."""
        if lot.status not in ("PENDING", "ACTIVE"):
            return "GRANT_CLOSED"
        lot.status = "DISPUTED"
        for credit in lot.credits:
            if credit.state == "available":
                credit.state = "pending"
        return "ok"

    def resolve(self, lot: ModelLot, *, is_won: bool, owed: bool) -> str:
        """Give what was set aside back, where the clock has left it; or take it back."""
        if lot.status != "DISPUTED":
            return "GRANT_NOT_DISPUTED"
        if not is_won:
            return self.void(lot, owed=owed)
        if not lot.count("pending", "held"):
            lot.status = "ACTIVE"
            return "ok"
        if lot.starts > self.minute:
            lot.status = "PENDING"
            return "ok"
        if lot.expires <= self.minute:
            lot.status = "EXPIRED"
            for credit in lot.credits:
                if credit.state == "pending":
                    credit.state = "expired"
            return "ok"
        payments = len(self.payments)
        self._start(lot)
        # Refunds do not find this payment: what they give back of that debt makes a new lot.
        del self.payments[payments:]
        return "ok"

    def pay_back(self, lot: ModelLot, amount: int | None) -> str:
        """Take credits that nobody holds back for money."""
        if lot.status not in ("PENDING", "ACTIVE") or lot.is_used_up:
            return "GRANT_CLOSED"
        free = [credit for credit in lot.credits if credit.state in ("available", "pending")]
        if not 0 < (len(free) if amount is None else amount) <= len(free):
            return "REFUND_EXCEEDS_GRANT"
        for credit in free[:amount]:
            credit.state = "refunded"
        if not lot.count("available", "pending", "held"):
            lot.status = "ACTIVE"
        return "ok"

    def write_off_debt(self, amount: int | None) -> str:
        """Give debt up: a lot is born that has paid it."""
        given_up = self.debt if amount is None else amount
        if not 0 < given_up <= self.debt:
            return "WRITE_OFF_EXCEEDS_CLAIM"
        lot = ModelLot((0, True, NEVER, 0, self.minute, len(self.lots)), None, self.minute, NEVER, "ACTIVE")
        lot.credits = [Credit(lot, "consumed") for _ in range(given_up)]
        self.lots.append(lot)
        self.debt -= given_up
        self.payments.append(ModelPayment(lot, list(lot.credits)))
        return "ok"

    def prolong(self, lot: ModelLot, expires: int | None, priority: int | None) -> str:
        """Let a lot burn until another minute, in another place."""
        if lot.status in ("EXPIRED", "VOIDED"):
            return "GRANT_CLOSED"
        if expires is not None and expires <= lot.starts:
            return "INVALID_ARGUMENT"
        lot.expires = lot.expires if expires is None else expires
        first = lot.order[0] if priority is None else priority
        lot.order = (first, lot.order[1], lot.expires, *lot.order[3:])
        return "ok"

    def reserve(self, needs: Needs, minutes: int, minimum: int | None) -> ModelHold | None:
        """Hold credits; `minimum` None: all or nothing."""
        asked = sum(needs.values())
        found = self._find(needs, self._free())
        if len(found) < (asked if minimum is None else min(minimum, asked)):
            return None
        hold = ModelHold(self.minute + minutes, self.minute)
        hold.order = list(dict.fromkeys(credit.lot for credit in found))
        self._pin(hold, found)
        self.holds.append(hold)
        return hold

    def extend(self, hold: ModelHold, amount: int, minutes: int) -> str:
        """Hold more, for longer."""
        if hold.state != "OPEN":
            return "RESERVATION_EXPIRED" if hold.state == "EXPIRED" else "RESERVATION_CLOSED"
        found = self._find({None: amount}, self._free())
        if len(found) < amount:
            return "INSUFFICIENT_CREDITS"
        self._pin(hold, found)
        held = {id(credit.lot) for lot in self.lots for credit in lot.credits if credit.holder is hold}
        hold.order = [lot for lot in self._ordered() if id(lot) in held]
        hold.expires = min(max(hold.expires, self.minute + minutes), hold.born + 24 * 60)
        return "ok"

    def release(self, hold: ModelHold) -> str:
        """Give a hold back."""
        if hold.state != "OPEN":
            return "RESERVATION_EXPIRED" if hold.state == "EXPIRED" else "RESERVATION_CLOSED"
        self._give_up(hold)
        hold.state = "RELEASED"
        return "ok"

    def commit(self, hold: ModelHold, needs: Needs, *, stated: bool, final: bool) -> str:
        """Charge a part of a hold's work."""
        if hold.state not in ("OPEN", "EXPIRED"):
            return "RESERVATION_CLOSED"
        late = hold.state == "EXPIRED"
        own = [c for lot in hold.order for c in lot.credits if c.holder is hold and c.state == "held"]
        beyond = late or self.over_capture in ("ALLOW_IF_AVAILABLE", "ALLOW_WITH_OVERDRAFT")
        found = self._find(needs, own + (self._free() if beyond else []))
        if self.over_capture == "REJECT" and stated and not late and len(found) < sum(needs.values()):
            return "OVER_CAPTURE"
        self._charge(hold, sum(needs.values()), found)
        if final:
            self._give_up(hold)
            hold.state = "COMMITTED"
        return "ok"

    def charge(self, needs: Needs, *, used: bool) -> ModelHold | None:
        """Charge without a hold: a hold that was never open stands for it."""
        found = self._find(needs, self._free())
        if not used and len(found) < sum(needs.values()):
            return None
        charge = ModelHold(0, self.minute, "CHARGED")
        self._charge(charge, sum(needs.values()), found)
        return charge

    def reverse(self, hold: ModelHold) -> str:
        """Undo a charge, or all charges of a hold."""
        if hold.state == "OPEN":
            return "RESERVATION_OPEN"
        if hold.state == "REVERSED":
            return "CHARGE_NOT_REVERSIBLE"
        self._give_back(hold.charges, hold.left)
        hold.state = "REVERSED"
        hold.priced = hold.charged = 0
        return "ok"

    def refund(self, charge: ModelCharge, amount: int | None) -> str:
        """Give back credits of a charge; `amount` None: all that are left."""
        asked = charge.left if amount is None else amount
        if not 0 < asked <= charge.left:
            return "REFUND_EXCEEDS_CHARGE"
        self._give_back([charge], asked)
        return "ok"

    # How

    def _give_back(self, charges: list[ModelCharge], amount: int) -> None:
        """Debt first; then what was borrowed and is paid; then what was drawn, the last first."""
        forgiven = min(amount, self.debt)
        self.debt -= forgiven
        borrowed = [charge for charge in charges for _ in range(charge.borrowed)]
        used = [(charge, credit) for charge in charges for credit in charge.used]
        back: list[Credit] = []
        owed = amount - forgiven
        for charge in borrowed[:amount]:
            charge.borrowed -= 1
        for charge, credit in used[: max(0, forgiven - len(borrowed))]:
            charge.used.remove(credit)
        used = [pair for pair in used if pair[1] in pair[0].used]
        paid = min(owed, max(0, len(borrowed) - forgiven))
        for charge, credit in reversed(used[len(used) - (owed - paid) :]):
            charge.used.remove(credit)
            back.append(credit)
        payments = self._paid_since(charges, paid)
        if paid > len(payments):
            self._born_of_reversal((0, True), paid - len(payments), None)
        back = payments + back
        for lot in dict.fromkeys(credit.lot for credit in back):
            self._return([credit for credit in back if credit.lot is lot], lot)
            lot.returners.update(charges)

    def _paid_since(self, charges: list[ModelCharge], amount: int) -> list[Credit]:
        """Take back what lots have paid of debt since, but from those that got back of other charges."""
        found: list[Credit] = []
        since = [charge.since for charge in charges if charge.since is not None]
        for payment in reversed(self.payments[since[0] :] if since else []):
            if payment.lot.returners <= set(charges):
                taken = payment.credits[: amount - len(found)]
                payment.credits = payment.credits[len(taken) :]
                found += taken
        return found

    def _return(self, back: list[Credit], lot: ModelLot) -> None:
        if lot.status in ("ACTIVE", "DISPUTED") and lot.expires > self.minute:
            for credit in back:
                credit.state = "available" if lot.status == "ACTIVE" else "pending"
        else:
            for credit in back:
                lot.credits.remove(credit)
            lot.moved_on += len(back)
            self._born_of_reversal(lot.order[:2], len(back), lot)

    def _born_of_reversal(self, order: tuple[object, ...], amount: int, old: ModelLot | None) -> None:
        expires = self.minute + NEW_LIFE_MINUTES
        price = old.order[3] if old else DEBT_PRICE
        key = (*order, expires, price, self.minute, len(self.lots))
        lot = ModelLot(key, old.scope if old else None, self.minute, expires, "ACTIVE")
        lot.credits = [Credit(lot, "available") for _ in range(amount)]
        self.lots.append(lot)

    def _ordered(self) -> list[ModelLot]:
        return sorted(self.lots, key=lambda lot: lot.order)

    def _free(self) -> list[Credit]:
        return [credit for lot in self._ordered() for credit in lot.credits if credit.state == "available"]

    def _find(self, needs: Needs, sources: list[Credit]) -> list[Credit]:
        """Take credit by credit: a scoped one for its kind, another first for what needs it most."""
        needs = dict(needs)
        later = Counter(credit.lot.scope for credit in sources)
        found = []
        for credit in sources:
            scope = credit.lot.scope
            later[scope] -= 1
            wanting = [kind for kind, need in needs.items() if need > 0 and scope in (None, kind)]
            pressing = [kind for kind in wanting if kind is None or needs[kind] > later[kind]]
            for kind in (pressing or wanting)[:1]:
                needs[kind] -= 1
                found.append(credit)
        return found

    def _pin(self, hold: ModelHold, found: list[Credit]) -> None:
        for credit in found:
            credit.state, credit.holder = "held", hold

    def _charge(self, hold: ModelHold, asked: int, found: list[Credit]) -> None:
        for credit in found:
            credit.state, credit.holder = "consumed", None
        missing = asked - len(found)
        borrowed = 0
        if self.over_capture == "ALLOW_WITH_OVERDRAFT":
            borrowed = min(missing, max(0, self.limit - self.debt))
        self.debt += borrowed
        hold.charges.append(ModelCharge(found, borrowed, len(self.payments) if borrowed else None))
        hold.priced += asked
        hold.charged += len(found) + borrowed
