"""One entry that is being built: a wallet's lots as they change, and the postings that go with each change.

Every method books one event of the chart of accounts, its credits and its dollars together. A posting
`a -> b` puts -n on account a and +n on account b, so that whatever a draft does it stays balanced.

The largest values are made by position, in the order of their fields: keywords would double what they cost.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from operator import add

from ledger.books.budgets import count
from ledger.books.burn_down import Source, burn_order
from ledger.books.commands import Command
from ledger.books.making import make
from ledger.books.model.amounts import Credits, Dollars, Ratio
from ledger.books.model.budgets import BudgetCounter, EntryBudgets
from ledger.books.model.decisions import Decision
from ledger.books.model.entries import Draw, Entry, EntryKind, EntryLine, Money, MoneyLine
from ledger.books.model.labels import NOTHING
from ledger.books.model.lots import NO_RECORDS, GrantRecord, Lot, LotKey, LotStatus
from ledger.books.model.priced import STATELESS, State, Terms
from ledger.books.model.renewals import NO_RENEWALS
from ledger.books.model.reservations import Pin, Reservation, ReservationImage
from ledger.books.model.wallets import NO_REMAINDERS, Tally, Wallet
from ledger.books.rounding import MAX_AMOUNT, BooksError, share
from ledger.books.tallies import replaced

ISSUED, PENDING, AVAILABLE, HELD, CONSUMED, EXPIRED, VOIDED, REFUNDED, DEBT = range(len(Credits._fields))
"""Where each credit account stands among the `Credits`."""

(RECEIVABLE, UNBILLED, REFUND_PAYABLE, DEFERRED, REVENUE, BREAKAGE, WRITE_OFF, COST, PROVIDER_PAYABLE) = (
    range(len(Dollars._fields))
)
"""Where each dollar account stands among the `Dollars`."""

NO_CREDITS, NO_DOLLARS = Credits(), Dollars()

_filled = tuple.__new__
"""Makes a named tuple of a list of all its fields; its `_make` counts them too, and takes twice the time."""

# By names of their own: to look a member up in its enumeration costs as much as a call.
ACTIVE, DEPLETED, DISPUTED = LotStatus.ACTIVE, LotStatus.DEPLETED, LotStatus.DISPUTED


class Draft:
    """The next entry of a wallet, open to changes until `finish`.

    An entry due by the clock has an `effective_at` of its own; others take effect when they are booked.
    Raises `BooksError` where `now` is before the wallet's last instant.
    """

    def __init__(self, wallet: Wallet, now: datetime, effective_at: datetime | None = None) -> None:
        if now < wallet.last_instant:
            raise BooksError(f"customer {wallet.customer}: {now} is before {wallet.last_instant}")
        self.wallet = wallet
        self.sequence = wallet.sequence + 1
        self.booked_at = now
        self.effective_at = effective_at or now
        self.lots: dict[LotKey, Lot] = {lot.key: lot for lot in wallet.lots}
        self._changed: dict[LotKey, Lot] = {}
        self._reordered = False
        """A lot is new, or its value per credit is another: its place in the burn order may be too."""
        self._credits = [*NO_CREDITS]
        self._dollars = [*NO_DOLLARS]
        self._worth_at_first: int | None = None
        """What the wallet's lots were worth, in nano-dollars; None until something comes back."""
        self._draws: list[Draw] = []
        self._debt_value_nanousd = 0
        self._absorbed = (0, 0, 0)
        self._tallies: dict[str, Tally] = {}
        self._remainders: dict[str, Ratio] = {}
        self._records: dict[LotKey, GrantRecord] | None = None
        self._counted: Mapping[str, State] = STATELESS
        self._budgets: EntryBudgets | None = None
        self._due_at = wallet.next_due_at

    @property
    def revenue_nanousd(self) -> int:
        """The revenue posted so far."""
        return self._dollars[REVENUE]

    # Lots

    def issue(self, lot: Lot) -> None:
        """Books a grant: issued -> pending, or -> available; receivable -> deferred, the total paid."""
        account = PENDING if lot.status is LotStatus.PENDING_START else AVAILABLE
        self._move(ISSUED, account, lot.amount_micros)
        self._pay(RECEIVABLE, DEFERRED, lot.value_nanousd)
        self.place(lot)
        self.due(lot.effective_at if lot.status is LotStatus.PENDING_START else lot.expires_at)

    def place(self, lot: Lot) -> None:
        """Puts a lot where it belongs: one that the wallet does not hold, or that burns in another place."""
        self.lots[lot.key] = self._changed[lot.key] = lot
        self._reordered = True

    def start(self, key: LotKey) -> None:
        """Books a grant's start: pending -> available."""
        lot = self.lots[key]
        self._move(PENDING, AVAILABLE, lot.remaining_micros)
        self._replace(lot, 0, 0, 0, LotStatus.ACTIVE)
        self.due(lot.expires_at)

    def expire(self, key: LotKey) -> None:
        """Books a lot's expiry: what is not held goes available -> expired, deferred -> breakage."""
        lot = self.lots[key]
        micros = lot.remaining_micros - lot.held_micros
        value = share(lot.value_nanousd, micros, lot.remaining_micros)
        self._move(AVAILABLE, EXPIRED, micros)
        self._pay(DEFERRED, BREAKAGE, value)
        self._replace(lot, -micros, 0, -value, LotStatus.EXPIRED)
        self._end(key, micros)

    def roll_over(self, key: LotKey, micros: int, into: LotKey) -> None:
        """Moves credits that nobody holds from a lot that ends to another, with their value: no posting.

        Two draws, so that each lot's draws tell what it gave and got. What was paid for them is taken off the
        one, and what was paid for the other.
        """
        lot = self.lots[key]
        value = share(lot.value_nanousd, micros, lot.remaining_micros)
        self._draws.append(Draw(key, micros, value))
        self._draws.append(Draw(into, -micros, -value))
        is_empty = micros == lot.remaining_micros
        self._replace(lot, -micros, 0, -value, LotStatus.EXPIRED if is_empty else lot.status)
        self._replace(self.lots[into], micros, 0, value, ACTIVE)
        self.record(key, GrantRecord(rolled_over_micros=micros, taken_off_nanousd=value))

    def void(self, key: LotKey) -> None:
        """Books that a lot is taken back: what nobody holds goes pending or available -> voided.

        With its value: deferred -> receivable.
        """
        lot = self.lots[key]
        micros = lot.remaining_micros - lot.held_micros
        value = share(lot.value_nanousd, micros, lot.remaining_micros) if micros else 0
        self._move(_where(lot.status), VOIDED, micros)
        self._pay(DEFERRED, RECEIVABLE, value)
        self._replace(lot, -micros, 0, -value, LotStatus.VOIDED)
        self._end(key, micros, taken_off_nanousd=value)

    def owe(self, key: LotKey, micros: int, value_nanousd: int) -> None:
        """Books that used credits of a voided lot are owed: debt -> voided, unbilled -> receivable.

        They come back to the lot, and are voided with it; what was used stays used.
        """
        self._move(DEBT, VOIDED, micros)
        self._pay(UNBILLED, RECEIVABLE, value_nanousd)
        self._draws.append(Draw(key, -micros, -value_nanousd))
        self._end(key, micros, taken_off_nanousd=value_nanousd)

    def dispute(self, key: LotKey) -> None:
        """Books that a lot's payment is disputed: what nobody holds waits, available -> pending."""
        lot = self.lots[key]
        self._move(_where(lot.status), PENDING, lot.remaining_micros - lot.held_micros)
        self._replace(lot, 0, 0, 0, DISPUTED)

    def win(self, key: LotKey) -> None:
        """Books that the payment of a disputed lot stands: pending -> available, or -> expired if it has."""
        lot = self.lots[key]
        if lot.remaining_micros == 0:
            self._replace(lot, 0, 0, 0, DEPLETED)
            return
        if lot.effective_at > self.booked_at:
            self._replace(lot, 0, 0, 0, LotStatus.PENDING_START)
            self.due(lot.effective_at)
            return
        self._move(PENDING, AVAILABLE, lot.remaining_micros - lot.held_micros)
        self._replace(lot, 0, 0, 0, ACTIVE)
        if lot.expires_at is not None and lot.expires_at <= self.booked_at:
            self.expire(key)
        else:
            self.due(lot.expires_at)
            self.repay(key)

    def refund(self, key: LotKey, micros: int, paid_back_nanousd: int, given_up_micros: int) -> None:
        """Books that credits which nobody holds are taken back for money: pending or available -> refunded.

        Their value leaves deferred: refund_payable gets what is to be paid back, revenue the difference. What
        is paid back beyond their value gives so many used credits up.
        """
        lot = self.lots[key]
        value = share(lot.value_nanousd, micros, lot.remaining_micros)
        self._move(_where(lot.status), REFUNDED, micros)
        self._pay(DEFERRED, REFUND_PAYABLE, paid_back_nanousd)
        self._pay(DEFERRED, REVENUE, value - paid_back_nanousd)
        self._replace(lot, -micros, 0, -value, lot.status if micros < lot.remaining_micros else DEPLETED)
        self._end(key, micros, refunded_micros=micros, taken_off_nanousd=paid_back_nanousd)
        if given_up_micros:
            self.record(key, GrantRecord(given_up_micros=given_up_micros))

    def write_off(self, key: LotKey, nanousd: int, given_up_micros: int) -> None:
        """Books that what a grant was sold for, these used credits say, will not be paid.

        write_off -> receivable.
        """
        self._pay(WRITE_OFF, RECEIVABLE, nanousd)
        self.record(key, GrantRecord(taken_off_nanousd=nanousd, given_up_micros=given_up_micros))

    def write_off_debt(self, lot: Lot) -> None:
        """Books that a debt is given up, by a lot that pays it: issued -> debt, write_off -> unbilled."""
        micros = lot.amount_micros
        billed = share(-self.wallet.unbilled_nanousd, micros, -self.wallet.balances.debt)
        self._move(ISSUED, DEBT, micros)
        self._pay(WRITE_OFF, UNBILLED, billed)
        self._debt_value_nanousd += billed
        self._draws.append(Draw(lot.key, micros, 0))
        self.place(lot)

    def record(self, key: LotKey, record: GrantRecord) -> None:
        """Takes note of what becomes known of a lot, which no posting says."""
        if self._records is None:
            self._records = {}
        known = self._records.get(key)
        self._records[key] = record if known is None else known.plus(record)

    def _end(self, key: LotKey, micros: int, *, refunded_micros: int = 0, taken_off_nanousd: int = 0) -> None:
        """Counts what has ended of a lot, and what was taken off its price."""
        if micros or taken_off_nanousd:
            self.record(
                key,
                GrantRecord(
                    ended_micros=micros,
                    refunded_micros=refunded_micros,
                    taken_off_nanousd=taken_off_nanousd,
                ),
            )

    def repay(self, key: LotKey) -> None:
        """Pays what the customer owes from a lot that has just become active, with what nobody holds of it.

        available -> debt; of the lot's value deferred -> unbilled at the debt's price, the difference
        to revenue.
        """
        lot = self.lots[key]
        owed = -self.wallet.balances.debt
        micros = min(owed, lot.remaining_micros - lot.held_micros)
        if lot.scope is not None or micros == 0:
            return
        value = share(lot.value_nanousd, micros, lot.remaining_micros)
        billed = share(-self.wallet.unbilled_nanousd, micros, owed)
        self._move(AVAILABLE, DEBT, micros)
        self._pay(DEFERRED, UNBILLED, billed)
        self._pay(DEFERRED, REVENUE, value - billed)
        self._debt_value_nanousd += billed
        self._draws.append(Draw(key, micros, value))
        self._replace(lot, -micros, 0, -value, lot.status)

    # Holds

    def pin(self, taken: Iterable[Source]) -> None:
        """Books a hold: available -> held."""
        for lot, micros, _ in taken:
            self._move(AVAILABLE, HELD, micros)
            self._replace(lot, 0, micros, 0, lot.status)

    def unpin(self, pins: Sequence[Pin]) -> None:
        """Gives a hold back, the last pinned first: held -> available.

        Credits whose lot has expired or was voided under the hold go there at once, with their value; those
        of a disputed one wait with it.
        """
        for key, micros in reversed(pins):
            lot = self.lots[key]
            if lot.status is ACTIVE:
                self._move(HELD, AVAILABLE, micros)
                self._replace(lot, 0, -micros, 0, lot.status)
                continue
            if lot.status is DISPUTED:
                self._move(HELD, PENDING, micros)
                self._replace(lot, 0, -micros, 0, lot.status)
                continue
            value = share(lot.value_nanousd, micros, lot.remaining_micros)
            expired = lot.status is LotStatus.EXPIRED
            self._move(HELD, EXPIRED if expired else VOIDED, micros)
            self._pay(DEFERRED, BREAKAGE if expired else RECEIVABLE, value)
            self._replace(lot, -micros, -micros, -value, lot.status)
            self._end(key, micros, taken_off_nanousd=0 if expired else value)

    # Charges

    def draw(self, taken: Iterable[Source]) -> None:
        """Books what is consumed: held or available -> consumed, deferred -> revenue."""
        for source, micros, held in taken:
            lot = self.lots[source.key]
            value = share(lot.value_nanousd, micros, lot.remaining_micros)
            self._move(HELD if held else AVAILABLE, CONSUMED, micros)
            self._pay(DEFERRED, REVENUE, value)
            self._draws.append(make(Draw, (lot.key, micros, value)))
            self._replace(lot, -micros, -micros if held else 0, -value, lot.status)

    def borrow(self, micros: int, value_nanousd: int) -> None:
        """Books an overdraft: debt -> consumed, unbilled -> revenue."""
        self._move(DEBT, CONSUMED, micros)
        self._pay(UNBILLED, REVENUE, value_nanousd)
        self._debt_value_nanousd -= value_nanousd

    def cost(self, nanousd: int) -> None:
        """Books what is owed to providers: cost -> provider_payable; negative: it is taken back."""
        self._pay(COST, PROVIDER_PAYABLE, nanousd)

    def absorb(self, failed_outcome: int, uncollected: int, unpriced: int) -> None:
        """Adds to the part of the cost that nobody pays for (nano-dollars, signed): a memo, no posting."""
        before = self._absorbed
        self._absorbed = (before[0] + failed_outcome, before[1] + uncollected, before[2] + unpriced)

    def carry(self, key: str, after: Tally, more: Ratio) -> None:
        """Notes what rounding leaves over under a key, and how much more it is: a memo, no posting."""
        self._tallies[key] = after
        if more[0]:
            self._remainders[key] = more

    def count(self, counters: Sequence[BudgetCounter], micros: int, *, begins: bool = False) -> None:
        """Counts in budgets what is held and charged more, below 0: less; once an entry. A memo, no posting.

        `begins`: this work counts there from now on.
        """
        self._counted, self._budgets = count(counters, micros, begins=begins)

    # Returns

    def forgive(self, micros: int) -> None:
        """Returns consumed credits against what the customer owes: consumed -> debt, revenue -> unbilled."""
        value = share(-self.wallet.unbilled_nanousd, micros, -self.wallet.balances.debt)
        self._move(CONSUMED, DEBT, micros)
        self._pay(REVENUE, UNBILLED, value)
        self._debt_value_nanousd += value

    def give_back(self, lot: Lot, micros: int, value_nanousd: int, moved_from: LotKey | None = None) -> None:
        """Returns consumed credits to a lot as it is, or to a new and empty one.

        consumed -> available (-> pending, where the lot is disputed), revenue -> deferred. Credits that have
        a lot, and cannot stay in it, come back to it and move on: three draws, so that each lot's draws tell
        what it gave. No more value comes back than is `returnable_nanousd`.
        """
        status = DISPUTED if lot.status is DISPUTED else ACTIVE
        self._move(CONSUMED, _where(status), micros)
        self._pay(REVENUE, DEFERRED, value_nanousd)
        if moved_from is not None:
            self._draws.append(Draw(moved_from, -micros, -value_nanousd))
            self._draws.append(Draw(moved_from, micros, value_nanousd))
        self._draws.append(Draw(lot.key, -micros, -value_nanousd))
        self._replace(lot, micros, 0, value_nanousd, status)
        self.due(lot.expires_at)

    def returnable_nanousd(self, claimed_nanousd: int) -> int:
        """How much value may come back to lots, at most: what would be beyond that stays revenue.

        All lots together are never worth more than what is left of all that was paid for them
        (`claimed_nanousd`): what was paid back, or given up, backs no credits. Nor more than `MAX_AMOUNT`, so
        that what one entry does with them has 64 bits.
        """
        if self._worth_at_first is None:
            self._worth_at_first = worth_nanousd(self.wallet)
        worth = self._worth_at_first + self._dollars[DEFERRED]
        return max(0, min(claimed_nanousd, MAX_AMOUNT) - worth)

    # The entry

    def due(self, at: datetime | None) -> None:
        """Takes note that something will be due by the clock."""
        if at is not None and (self._due_at is None or at < self._due_at):
            self._due_at = at

    def finish(
        self,
        kind: EntryKind,
        plan: str,
        *,
        command: Command | None = None,
        reservation: Reservation | None = None,
        subject: tuple[int | None, int | None] = (None, None),
        terms: Terms | None = None,
        labels: Mapping[str, str] = NOTHING,
        occurred_at: datetime | None = None,
        priced_micros: int = 0,
        uncollected_micros: int = 0,
        late: bool = False,
        final: bool = False,
        reason: str | None = None,
        lines: tuple[EntryLine, ...] = (),
        money_lines: tuple[MoneyLine, ...] = (),
        states: Mapping[str, State] = STATELESS,
    ) -> Decision:
        """Makes the decision: the entry with its captions (as `Entry` names them), and all that changed."""
        if states:
            self._due_closings(states.values())
        if self._counted:
            states = {**states, **self._counted} if states else self._counted
        before = self.wallet
        postings = _filled(Credits, self._credits)
        balances = _filled(Credits, map(add, before.balances, postings))
        entry = make(
            Entry,
            (
                before.customer,
                self.sequence,
                kind,
                command.request_id if command else None,
                command.fingerprint if command else None,
                postings,
                balances,
                self.effective_at,
                self.booked_at,
                occurred_at,
                image(reservation) if reservation else None,
                subject[0],
                subject[1],
                terms,
                plan,
                priced_micros,
                uncollected_micros,
                late,
                final,
                reason,
                labels,
                lines,
                self._money(money_lines),
                self._budgets,
            ),
        )
        wallet = self._wallet_with(balances)
        changed, records = tuple(self._changed.values()), self._records or NO_RECORDS
        return make(Decision, (entry, wallet, changed, reservation, states, records, NO_RENEWALS))

    def _wallet_with(self, balances: Credits) -> Wallet:
        """The wallet as the entry leaves it."""
        before = self.wallet
        return make(
            Wallet,
            (
                before.customer,
                self.sequence,
                before.display_name,
                before.plan,
                before.card,
                before.zone,
                before.multiplier_nanos,
                balances,
                self._live_lots() if self._reordered else tuple(self.lots.values()),
                before.unbilled_nanousd + self._dollars[UNBILLED],
                self._due_at,
                self.booked_at,
                replaced(before.tallies, self._tallies) if self._tallies else before.tallies,
                before.plan_overrides,
            ),
        )

    def _due_closings(self, states: Iterable[State]) -> None:
        """Takes note of when a surplus goes back."""
        for state in states:
            if state.surplus_micros:
                self.due(state.closes_at)

    def _money(self, lines: tuple[MoneyLine, ...]) -> Money | None:
        if not (lines or self._draws or any(self._dollars) or any(self._absorbed) or self._remainders):
            return None
        return make(
            Money,
            (
                _filled(Dollars, self._dollars),
                lines,
                tuple(self._draws),
                self._debt_value_nanousd,
                *self._absorbed,
                self._remainders or NO_REMAINDERS,
            ),
        )

    def _live_lots(self) -> tuple[Lot, ...]:
        """The lots with credits in them, in burn order: a draw may have moved a lot in it."""
        changed = self._changed
        lots = [lot for lot in self.wallet.lots if lot.key not in changed]
        for lot in changed.values():
            if lot.remaining_micros > 0:
                insort(lots, lot, key=burn_order)
        return tuple(lots)

    def _move(self, source: int, target: int, micros: int) -> None:
        self._credits[source] -= micros
        self._credits[target] += micros

    def _pay(self, source: int, target: int, nanousd: int) -> None:
        self._dollars[source] -= nanousd
        self._dollars[target] += nanousd

    def _replace(self, lot: Lot, remaining: int, held: int, value: int, status: LotStatus) -> None:
        """Changes a lot by so much; an active one without credits is depleted."""
        if remaining:
            self._reordered = True
        key, kind, amount, left, pinned, worth, priority, scope, effective_at, expires_at, _ = lot
        left += remaining
        if left == 0 and status is ACTIVE:
            status = DEPLETED
        self.lots[key] = self._changed[key] = make(
            Lot,
            (
                key,
                kind,
                amount,
                left,
                pinned + held,
                worth + value,
                priority,
                scope,
                effective_at,
                expires_at,
                status,
            ),
        )


def worth_nanousd(wallet: Wallet) -> int:
    """What all lots of a customer are worth."""
    return sum([lot.value_nanousd for lot in wallet.lots])


def _where(status: LotStatus) -> int:
    """The account of what nobody holds of a lot."""
    return PENDING if status in (LotStatus.PENDING_START, DISPUTED) else AVAILABLE


def image(reservation: Reservation) -> ReservationImage:
    """What an entry keeps of its reservation."""
    return make(
        ReservationImage,
        (
            reservation.sequence,
            reservation.state,
            reservation.held_micros,
            reservation.charged_micros,
            reservation.expires_at,
        ),
    )
