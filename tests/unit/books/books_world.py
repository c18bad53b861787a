"""One customer as a store keeps it: runs commands through the books, and audits all of it after each step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta

from ledger.books import (
    Charge,
    Closings,
    Command,
    Commit,
    Decision,
    Entry,
    EntryKind,
    Extend,
    Facts,
    GrantRecord,
    Lot,
    LotKey,
    LotStatus,
    Plan,
    Priced,
    Refund,
    Refusal,
    Release,
    Renewal,
    RenewalKey,
    Reservation,
    ReservationCosts,
    ReservationState,
    Reserve,
    Reverse,
    State,
    budgets,
    create,
    decide,
    due,
)
from ledger.books.audit import audit
from ledger.books.commands import OF_GRANT
from ledger.books.model.lots import NO_RECORD
from tests.amounts import DOLLAR
from tests.build import START, terms

OPEN_TO_COMMITS = (ReservationState.OPEN, ReservationState.EXPIRED)
WITH_LABELS = 4
"""Colons in the key of a budget's counter, if it is of labels."""
UNDONE_WITH_A_RESERVATION = (EntryKind.COMMIT, EntryKind.RELEASE, EntryKind.RESERVATION_EXPIRED)


class World:
    """The customer's wallet, and all that was ever stored of it."""

    def __init__(self, plan: Plan | None = None, credit_price_nanousd: int = DOLLAR) -> None:
        self.plan = plan or Plan("standard", None)
        self.terms = terms(credit_price_nanousd=credit_price_nanousd)
        self.plan_is_known = True
        self.now = START
        self.due_batch = 1000
        self.entries: list[Entry] = []
        self.lots: dict[LotKey, Lot] = {}
        self.records: dict[LotKey, GrantRecord] = {}
        self.reservations: dict[int, Reservation] = {}
        self.states: dict[str, State] = {}
        self.renewals: dict[RenewalKey, Renewal] = {}
        self.keep(create(1, "Ada", self.plan.name, None, "UTC", "create", b"", START))

    def run(self, command: Command, priced: Priced | None = None) -> Decision | Refusal:
        """Write what is due, then decide the command, at the instant that it is."""
        self.write_due()
        before = self.wallet
        outcome = decide(
            self.wallet,
            command,
            now=self.now,
            plan=self.plan,
            priced=priced,
            terms=self.terms,
            facts=self.facts_with_counters(command),
        )
        if isinstance(outcome, Decision):
            self.keep(outcome)
        else:
            assert self.wallet == before
        return outcome

    def pass_time(self, duration: timedelta) -> list[Decision]:
        """Let the clock run, and write what has become due."""
        self.now += duration
        return self.write_due()

    def write_due(self) -> list[Decision]:
        """Write what is due by the clock, in batches of at most `due_batch` holds."""
        written: list[Decision] = []
        while self.wallet.next_due_at is not None and self.wallet.next_due_at <= self.now:
            open_ones = [r for r in self.reservations.values() if r.state is ReservationState.OPEN]
            open_ones.sort(key=lambda r: (r.expires_at, r.sequence))
            late = [r for r in open_ones if r.expires_at <= self.now][: self.due_batch]
            rest = open_ones[len(late) :]
            next_at = rest[0].expires_at if rest else None
            decisions, wallet, renewals = due(
                self.wallet,
                late,
                next_at,
                self.closings(),
                self.states,
                self.renewals,
                now=self.now,
                plan=self.plan,
                plan_at=lambda _: self.plan if self.plan_is_known else None,
            )
            for decision in decisions:
                self.keep(decision)
            self.renewals.update(renewals)
            self.wallet = wallet
            written += decisions
            self.check()
            self.check_renewals()
        return written

    def closings(self) -> Closings:
        """Give the states that are due, in batches of at most `due_batch`, as a store reads them."""
        surplus = {key: state for key, state in self.states.items() if state.surplus_micros}
        at = sorted((state.closes_at, key) for key, state in surplus.items() if state.closes_at)
        late = [key for closes_at, key in at if closes_at <= self.now][: self.due_batch]
        rest = at[len(late) :]
        next_at = rest[0][0] if rest else None
        return Closings({key: surplus[key] for key in late}, next_at, self.claimed_nanousd())

    def facts(self, command: Command) -> Facts:
        """Give what the command names, as a store reads it back."""
        if isinstance(command, (Extend, Commit, Release)):
            return Facts(reservation=self.stored_reservation(command.reservation))
        if isinstance(command, OF_GRANT):
            return self.facts_of_grant(command.lot)
        if not isinstance(command, (Reverse, Refund)):
            return Facts()
        reservation = command.reservation if isinstance(command, Reverse) else None
        if command.charge is not None:
            undone = [entry for entry in self.entries if entry.sequence == command.charge]
        else:
            undone = [
                entry
                for entry in self.entries
                if entry.kind in UNDONE_WITH_A_RESERVATION
                and entry.reservation
                and entry.reservation.sequence == reservation
            ]
        sequences = {entry.sequence for entry in undone}
        subjects = {command.charge, reservation, *(e.reservation.sequence for e in undone if e.reservation)}
        refunds = [e for e in self.entries if e.kind is EntryKind.REFUND and e.subject in sequences]
        made_debt = [entry.sequence for entry in undone if entry.credits.debt]
        later = [e for e in self.entries[made_debt[0] :] if _may_have_paid(e)] if made_debt else []
        drawn = {draw.lot for entry in (*undone, *later) if entry.money for draw in entry.money.draws}
        return Facts(
            reservation=self.stored_reservation(reservation),
            charges=tuple(undone),
            refunds=tuple(refunds),
            later=tuple(later),
            reversed=any(
                e.kind is EntryKind.REVERSAL and e.subject in subjects - {None} for e in self.entries
            ),
            lots=tuple(self.lots[key] for key in sorted(drawn)),
            records={key: self.records[key] for key in drawn if key in self.records},
            claimed_nanousd=self.claimed_nanousd(),
            states=self.undone_states(undone),
        )

    def claimed_nanousd(self) -> int:
        """Give what was paid for all lots that were issued, less what was taken off that."""
        issued = {(e.subject, e.subject_n) for e in self.entries if e.kind is EntryKind.GRANT}
        return sum(
            (record.paid_nanousd or 0) - record.taken_off_nanousd
            for key, record in self.records.items()
            if key in issued or key not in self.stated
        )

    @property
    def stated(self) -> set[LotKey]:
        """The lots that were stated before they were paid."""
        return {LotKey(e.sequence, 0) for e in self.entries if e.kind is EntryKind.GRANT_PENDING_PAYMENT}

    def facts_with_counters(self, command: Command) -> Facts:
        """Give what the command names, and the counters of budgets that it counts in."""
        facts, stated = self.facts(command), self.plan.budgets
        places: tuple[budgets.CounterPlace, ...] = ()
        match command:
            case Reserve() | Charge():
                places = budgets.places_of_new(stated, command.labels, self.now, self.wallet.zone)
            case Extend() | Commit() | Release():
                places = budgets.places_of_reservation(facts.reservation, stated)
            case Reverse():
                places = budgets.places_undone(facts, stated, is_charge=command.charge is not None)
        return facts._replace(counters=budgets.read(places, self.states))

    def recounted(self) -> dict[str, int]:
        """Count in budgets what the journal says, from its beginning."""
        counted_in: dict[int, tuple[str, ...]] = {}
        charged: dict[int, int] = {}
        counts: Counter[str] = Counter()
        for entry in self.entries:
            subject = entry.reservation.sequence if entry.reservation else entry.sequence
            if entry.budgets and entry.budgets.counters:
                counted_in[entry.sequence] = entry.budgets.counters
            micros = entry.credits.held
            if entry.kind in (EntryKind.COMMIT, EntryKind.CHARGE):
                taken = entry.charged_micros - sum(line.pool_micros for line in entry.lines)
                charged[subject] = charged.get(subject, 0) + taken
                micros += taken
            if entry.kind is EntryKind.REVERSAL and entry.subject is not None:
                subject = entry.subject
                micros -= charged.get(subject, 0)
            for key in counted_in.get(subject, ()):
                counts[key] += micros
        return dict(counts)

    def facts_of_grant(self, key: LotKey) -> Facts:
        """Give a lot, and what is known of it."""
        lot = self.lots.get(key)
        return Facts(
            lots=(lot,) if lot else (),
            record=self.records.get(key, NO_RECORD),
            claimed_nanousd=self.claimed_nanousd(),
        )

    def undone_states(self, undone: Iterable[Entry]) -> dict[str, State]:
        """Give the states that charges counted in, as prices see them without those: here, the same text."""
        money = [entry.money for entry in undone if entry.money]
        keys = {effect.key for some in money for line in some.lines for effect in line.effects}
        return {key: self.states[key] for key in keys}

    def stored_reservation(self, sequence: int | None) -> Reservation | None:
        """Give a reservation as it is read back: a closed one's costs stand in its entries alone."""
        found = self.reservations.get(sequence or 0)
        if found is None or found.state in OPEN_TO_COMMITS:
            return found
        return found._replace(costs=ReservationCosts())

    def keep(self, decision: Decision) -> None:
        """Keep the final images of a decision."""
        assert is_whole(decision)
        self.wallet = decision.wallet
        self.entries.append(decision.entry)
        self.lots.update((lot.key, lot) for lot in decision.lots)
        if decision.reservation is not None:
            self.reservations[decision.reservation.sequence] = decision.reservation
        self.states.update(decision.states)
        self.renewals.update(decision.renewals)
        for key, more in decision.records.items():
            self.records[key] = self.records.get(key, NO_RECORD).plus(more)
        self.check()

    def check(self) -> None:
        """Hold all invariants against all that was stored."""
        violations = audit(
            self.wallet,
            list(self.lots.values()),
            list(self.reservations.values()),
            self.entries,
            self.states,
        )
        assert violations == []
        counts = {key: int(state.text) for key, state in self.states.items() if key.startswith("budget:")}
        assert counts == self.recounted()
        self.check_values()
        self.check_ended()

    def check_values(self) -> None:
        """Hold how many counters of labels there are in each window against the counters that there are."""
        labelled = Counter(
            key.removeprefix("budget:").rpartition(":")[0]
            for key in self.states
            if key.startswith("budget:") and key.count(":") == WITH_LABELS
        )
        for key, state in self.states.items():
            if key.startswith("budget_values:"):
                assert int(state.text) == labelled[key.removeprefix("budget_values:")], key

    def check_renewals(self) -> None:
        """Hold that the clock looks at the customer before anything recurs."""
        for renewal in self.renewals.values():
            if renewal.next_at is not None:
                assert self.wallet.next_due_at is not None
                assert self.wallet.next_due_at <= renewal.next_at

    def check_ended(self) -> None:
        """Hold what is known to have ended of each lot against the balances, and what is left of it."""
        ended = {key: record.ended_micros for key, record in self.records.items()}
        voided = [lot for lot in self.lots.values() if lot.status is LotStatus.VOIDED]
        unpaid = sum(lot.amount_micros for lot in voided if self.is_unpaid(lot))
        balances = self.wallet.balances
        assert sum(ended.values()) == balances.expired + balances.voided + balances.refunded + unpaid
        for key, lot in self.lots.items():
            assert 0 <= ended.get(key, 0) <= lot.amount_micros - lot.remaining_micros, key
        assert sum(record.refunded_micros for record in self.records.values()) == balances.refunded
        paid_back: Counter[LotKey] = Counter()
        for entry in self.entries:
            if entry.kind is EntryKind.GRANT_REFUNDED and entry.money:
                paid_back[LotKey(entry.subject or 0, entry.subject_n or 0)] += (
                    entry.money.dollars.refund_payable
                )
        for key, nanousd in paid_back.items():
            paid = self.records[key].paid_nanousd
            assert paid is None or 0 < nanousd <= paid, key

    def is_unpaid(self, lot: Lot) -> bool:
        """Tell whether a lot's payment was never confirmed: no entry has issued it."""
        made_by = next((entry for entry in self.entries if entry.sequence == lot.key.sequence), None)
        if made_by is None or made_by.kind is not EntryKind.GRANT_PENDING_PAYMENT:
            return False
        issued = {(e.subject, e.subject_n) for e in self.entries if e.kind is EntryKind.GRANT}
        return lot.key not in issued


def is_whole(value: object) -> bool:
    """Tell whether named tuples have all their fields, all the way down: `make` does not count them."""
    if not isinstance(value, tuple):
        return True
    fields = getattr(value, "_fields", value)
    return len(value) == len(fields) and all(is_whole(field) for field in value)


def _may_have_paid(entry: Entry) -> bool:
    if entry.kind in (EntryKind.GRANT, EntryKind.GRANT_STARTED):
        return entry.credits.debt > 0
    return entry.kind in (EntryKind.REVERSAL, EntryKind.REFUND)
