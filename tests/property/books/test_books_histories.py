"""Random histories: the books agree with a model of single credits, and pass the audit after each step.

BOOK_HISTORIES=2000 pytest tests/property/books      that many histories of up to 50 steps
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from books_model import (
    DAY_MINUTES,
    DEBT_PRICE,
    NEVER,
    Model,
    ModelCharge,
    ModelDaily,
    ModelHold,
    ModelLot,
)
from books_world import World
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger.books import (
    MICROS_PER_CREDIT,
    Budget,
    BudgetWindow,
    Charge,
    Command,
    Commit,
    ConfirmGrant,
    Decision,
    DisputeGrant,
    Every,
    Extend,
    ExtendGrant,
    Fill,
    GrantKind,
    IssueGrant,
    LotKey,
    OverCapture,
    Priced,
    RecurringGrant,
    Refund,
    RefundGrant,
    Release,
    Reserve,
    ResolveDispute,
    Reverse,
    Rollover,
    UpdateCustomer,
    UsedCredits,
    VoidGrant,
    WriteOffDebt,
    WriteOffGrant,
)
from ledger.books.model.lots import NO_RECORD
from tests.build import START, line, priced

HISTORIES = int(os.environ.get("BOOK_HISTORIES", "500"))
KINDS = ("tokens", "compute")
AMOUNTS = st.integers(1, 30)
MINUTES = st.integers(1, 12)
USAGE = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 20)), min_size=1, max_size=4)
SPENT = st.one_of(AMOUNTS, USAGE)
POLICIES = st.sampled_from([OverCapture.ALLOW_WITH_OVERDRAFT, *OverCapture])
LIMITS = st.integers(0, 40)
PICK = st.integers(0, 10**6)

AMPLE = Budget("ample", 10**9, BudgetWindow.HOUR)
"""Limits nothing; the world holds what it counts against the journal."""

Spent = int | list[tuple[str, int]]


class Histories(RuleBasedStateMachine):
    """Does the same to the books and to the model."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(credit_price_nanousd=DEBT_PRICE * MICROS_PER_CREDIT)
        self.model = Model()
        self.lots: dict[LotKey, ModelLot] = {}
        self.holds: list[tuple[int, ModelHold]] = []
        self.charges: list[tuple[int, ModelHold]] = []
        self.parts: list[tuple[int, ModelCharge]] = []
        """Of charges and of commits alike."""
        self.requests = 0

    @rule(
        amount=AMOUNTS,
        price=st.integers(0, 3),
        priority=st.integers(0, 1),
        scope=st.sampled_from([None, None, *KINDS]),
        starts=st.sampled_from([0, 0, 0, 3, 8]),
        lives=st.one_of(st.none(), MINUTES),
        unpaid=st.sampled_from([False, False, True]),
    )
    def grant(
        self,
        amount: int,
        price: int,
        priority: int,
        scope: str | None,
        starts: int,
        lives: int | None,
        unpaid: bool,
    ) -> None:
        """Grant credits at a price each, now or later, for a while or for ever, or once they are paid."""
        starts_at = self.model.minute + starts
        expires_at = NEVER if lives is None else starts_at + lives
        outcome = self.run(
            IssueGrant,
            amount,
            GrantKind.PAID,
            amount * price,
            effective_at=_instant(starts_at) if starts else None,
            expires_at=None if lives is None else _instant(expires_at),
            priority=priority,
            scope=scope,
            pending_payment=unpaid,
        )
        assert isinstance(outcome, Decision)
        self.model.grant(amount, price, priority, scope, starts_at, expires_at, unpaid=unpaid)

    @rule(pick=PICK, price=st.one_of(st.none(), st.integers(0, 3)))
    def confirm(self, pick: int, price: int | None) -> None:
        """Pay for a grant, at what was stated or at another price each."""
        key, lot = self.lot(pick)
        paid = None if price is None else len(lot.credits) * price
        self.expect(self.run(ConfirmGrant, key, paid), self.model.confirm(lot, price))

    @rule(pick=PICK, used=st.sampled_from(UsedCredits))
    def void(self, pick: int, used: UsedCredits) -> None:
        """Take a grant back, with what was used or without."""
        key, lot = self.lot(pick)
        owed = used is UsedCredits.BECOME_DEBT
        self.expect(self.run(VoidGrant, key, "why", used), self.model.void(lot, owed=owed))

    @rule(pick=PICK)
    def dispute(self, pick: int) -> None:
        """Contest the payment of a grant."""
        key, lot = self.lot(pick)
        record = self.world.records.get(key, NO_RECORD)
        is_taken_back = 0 < (record.paid_nanousd or 0) <= record.taken_off_nanousd
        outcome = self.run(DisputeGrant, key, "why")
        self.expect(outcome, "GRANT_CLOSED" if is_taken_back else self.model.dispute(lot))

    @rule(pick=PICK, is_won=st.booleans(), used=st.sampled_from(UsedCredits))
    def resolve(self, pick: int, is_won: bool, used: UsedCredits) -> None:
        """Decide a dispute: of those that there are, so that most tries are of one."""
        disputed = [each for each in sorted(self.world.lots) if self.world.lots[each].status == "DISPUTED"]
        key, lot = self.lot(pick)
        if disputed:
            key = disputed[pick % len(disputed)]
            lot = dict(zip(sorted(self.world.lots), self.model.lots, strict=True))[key]
        owed = used is UsedCredits.BECOME_DEBT
        outcome = self.run(ResolveDispute, key, "why", is_won, used)
        self.expect(outcome, self.model.resolve(lot, is_won=is_won, owed=owed))

    @rule(pick=PICK, amount=st.one_of(st.none(), AMOUNTS))
    def pay_back(self, pick: int, amount: int | None) -> None:
        """Take credits of a grant back for money, those that nobody holds or some, at what they are worth."""
        key, lot = self.lot(pick)
        outcome = self.run(RefundGrant, key, "why", amount)
        # What is paid back is the audit's affair: the model knows no dollars.
        refused = getattr(outcome, "reason", None) == "REFUND_EXCEEDS_GRANT"
        if not refused or lot.count("available", "pending") < (amount or 1):
            self.expect(outcome, self.model.pay_back(lot, amount))

    @rule(pick=PICK)
    def write_off(self, pick: int) -> None:
        """Give up what a grant was sold for: no credit moves."""
        key, lot = self.lot(pick)
        balances = self.world.wallet.balances
        if isinstance(self.run(WriteOffGrant, key, "why"), Decision):
            self.model.give_up(lot)
        assert self.world.wallet.balances == balances

    @rule(amount=st.one_of(st.none(), AMOUNTS))
    def write_off_debt(self, amount: int | None) -> None:
        """Give up what the customer owes, or a part of it."""
        self.expect(self.run(WriteOffDebt, "why", amount), self.model.write_off_debt(amount))

    @rule(
        pick=PICK,
        lives=st.one_of(st.none(), st.just(NEVER), MINUTES),
        priority=st.one_of(st.none(), st.integers(0, 2)),
    )
    def prolong(self, pick: int, lives: int | None, priority: int | None) -> None:
        """Give a grant another expiry, another priority, or both."""
        key, lot = self.lot(pick)
        never = lives == NEVER
        expires = NEVER if never else None if lives is None else self.model.minute + lives
        outcome = self.run(
            ExtendGrant,
            key,
            expires_at=None if never or expires is None else _instant(expires),
            never_expires=never,
            priority=priority,
        )
        self.expect(outcome, self.model.prolong(lot, expires, priority))

    @rule(spent=SPENT, minutes=MINUTES, minimum=st.one_of(st.none(), st.integers(1, 15)))
    def reserve(self, spent: Spent, minutes: int, minimum: int | None) -> None:
        """Hold credits or the price of usage, all or up to it."""
        fill = Fill.ALL_OR_NOTHING if minimum is None else Fill.UP_TO
        outcome = self.run(
            Reserve, _amount(spent), fill, minimum or 1, timedelta(minutes=minutes), spent=spent
        )
        hold = self.model.reserve(_needs(spent), minutes, minimum)
        self.expect(outcome, "ok" if hold else "INSUFFICIENT_CREDITS")
        if hold and isinstance(outcome, Decision):
            self.holds.append((outcome.entry.sequence, hold))

    @precondition(lambda self: self.holds)
    @rule(pick=PICK, amount=st.integers(0, 20), minutes=MINUTES)
    def extend(self, pick: int, amount: int, minutes: int) -> None:
        """Add credits and time to a hold."""
        sequence, hold = self.holds[pick % len(self.holds)]
        outcome = self.run(Extend, sequence, amount, timedelta(minutes=minutes))
        self.expect(outcome, self.model.extend(hold, amount, minutes))

    @precondition(lambda self: self.holds)
    @rule(pick=PICK, spent=SPENT, final=st.booleans())
    def commit(self, pick: int, spent: Spent, final: bool) -> None:
        """Commit a part, or the last one."""
        sequence, hold = self.holds[pick % len(self.holds)]
        outcome = self.run(Commit, sequence, _amount(spent), final, spent=spent)
        stated = isinstance(spent, int)
        self.expect(outcome, self.model.commit(hold, _needs(spent), stated=stated, final=final))
        if isinstance(outcome, Decision):
            self.parts.append((outcome.entry.sequence, hold.charges[-1]))

    @precondition(lambda self: self.holds)
    @rule(pick=PICK)
    def release(self, pick: int) -> None:
        """Give a hold back."""
        sequence, hold = self.holds[pick % len(self.holds)]
        self.expect(self.run(Release, sequence), self.model.release(hold))

    @rule(spent=SPENT, used=st.booleans())
    def charge(self, spent: Spent, used: bool) -> None:
        """Charge without a hold."""
        outcome = self.run(Charge, _amount(spent), used, spent=spent)
        charge = self.model.charge(_needs(spent), used=used)
        self.expect(outcome, "ok" if charge else "INSUFFICIENT_CREDITS")
        if charge and isinstance(outcome, Decision):
            self.charges.append((outcome.entry.sequence, charge))
            self.parts.append((outcome.entry.sequence, charge.charges[0]))

    @precondition(lambda self: self.parts)
    @rule(pick=PICK, amount=st.one_of(st.none(), st.integers(1, 20)))
    def refund(self, pick: int, amount: int | None) -> None:
        """Give back a part of a charge or of a commit, or all that is left."""
        sequence, charge = self.parts[pick % len(self.parts)]
        self.expect(self.run(Refund, sequence, amount, "goodwill"), self.model.refund(charge, amount))

    @precondition(lambda self: self.charges)
    @rule(pick=PICK)
    def reverse_charge(self, pick: int) -> None:
        """Undo a charge."""
        sequence, charge = self.charges[pick % len(self.charges)]
        self.expect(self.run(Reverse, sequence, None, "why"), self.model.reverse(charge))

    @precondition(lambda self: self.holds)
    @rule(pick=PICK)
    def reverse_reservation(self, pick: int) -> None:
        """Undo all charges of a reservation."""
        sequence, hold = self.holds[pick % len(self.holds)]
        self.expect(self.run(Reverse, None, sequence, "why"), self.model.reverse(hold))

    @rule(minutes=MINUTES, batch=st.integers(1, 3))
    def pass_time(self, minutes: int, batch: int) -> None:
        """Let the clock run; what is due is written in batches of any size."""
        self.world.due_batch = batch
        self.world.pass_time(timedelta(minutes=minutes))
        self.model.pass_minutes(minutes)

    @precondition(lambda self: self.model.daily is None)
    @rule(
        amount=AMOUNTS,
        price=st.integers(0, 3),
        priority=st.integers(0, 1),
        least=st.sampled_from([0, 0, 5]),
        most=st.sampled_from([10**6, 15, 4]),
        life=st.sampled_from([None, None, 5, 2 * DAY_MINUTES]),
    )
    def recur(self, amount: int, price: int, priority: int, least: int, most: int, life: int | None) -> None:
        """Let credits recur each day from now on, and roll over what is unused of them."""
        rollover = Rollover(least, most, None if life is None else timedelta(minutes=life))
        daily = RecurringGrant(
            "daily",
            amount,
            amount * price,
            GrantKind.SUBSCRIPTION,
            Every.DAY,
            priority=priority,
            rollover=rollover,
        )
        self.world.plan = self.world.plan._replace(grants=(daily,))
        self.run(UpdateCustomer, plan=self.world.plan.name, is_granted=True)
        self.world.write_due()
        self.model.begin_daily(ModelDaily(amount, price, priority, least, most, life))

    @precondition(lambda self: self.model.daily is not None)
    @rule(before=st.integers(0, 3))
    def come_to_midnight(self, before: int) -> None:
        """Let the clock run until midnight, or minutes before it."""
        minutes = DAY_MINUTES - self.model.minute % DAY_MINUTES - before
        if minutes > 0:
            self.world.pass_time(timedelta(minutes=minutes))
            self.model.pass_minutes(minutes)

    @initialize(policy=POLICIES, limit=LIMITS, amounts=st.lists(AMOUNTS, min_size=1, max_size=3))
    def begin(self, policy: OverCapture, limit: int, amounts: list[int]) -> None:
        """Begin with a plan and some credits, those of one kind of usage last to burn."""
        self.change_policy(policy, limit)
        for priority, (amount, scope) in enumerate(zip(amounts, (None, *KINDS), strict=False)):
            self.grant(amount, 1, priority, scope, 0, None, unpaid=False)

    @rule(policy=POLICIES, limit=LIMITS)
    def change_policy(self, policy: OverCapture, limit: int) -> None:
        """Put the customer on another plan."""
        self.world.plan = self.world.plan._replace(
            over_capture=policy, overdraft_limit_micros=limit, budgets=(AMPLE,)
        )
        self.model.over_capture, self.model.limit = policy.value, limit

    @invariant()
    def they_agree(self) -> None:
        """Compare balances, each lot and each reservation."""
        for key, lot in zip(sorted(self.world.lots), self.model.lots, strict=True):
            stored = self.world.lots[key]
            assert stored.held_micros == lot.count("held"), key
            assert stored.remaining_micros == lot.count("held", "available", "pending"), key
            if stored.remaining_micros:
                lot.take_price(Fraction(stored.value_nanousd, stored.remaining_micros))
            lot.is_unpaid_for = self.world.records.get(key, NO_RECORD).paid_nanousd is None
        balances = self.world.wallet.balances
        for account in ("pending", "available", "held", "expired", "refunded"):
            assert getattr(balances, account) == sum(lot.count(account) for lot in self.model.lots), account
        voided = sum(lot.count("voided") for lot in self.model.lots)
        assert balances.voided == voided + self.model.voided_as_used
        assert -balances.debt == self.model.debt
        for sequence, hold in self.holds:
            reservation = self.world.reservations[sequence]
            assert reservation.state == hold.state
            assert (reservation.priced_micros, reservation.charged_micros) == (hold.priced, hold.charged)
            assert reservation.expires_at == _instant(hold.expires)

    def run(
        self, command: type[Command], *arguments: Any, spent: Spent = 0, **fields: Any
    ) -> Decision | object:
        """Run a command on the books, with usage as the spent says."""
        self.requests += 1
        request = command(f"request-{self.requests}", b"", *arguments, **fields)
        return self.world.run(request, None if isinstance(spent, int) else _priced(spent))

    def lot(self, pick: int) -> tuple[LotKey, ModelLot]:
        """Pick a lot of both."""
        lots = list(zip(sorted(self.world.lots), self.model.lots, strict=True))
        return lots[pick % len(lots)]

    def expect(self, outcome: object, expected: str) -> None:
        """Hold an outcome against the model's."""
        assert getattr(outcome, "reason", "ok") == expected


def _amount(spent: Spent) -> int | None:
    return spent if isinstance(spent, int) else None


def _needs(spent: Spent) -> dict[str | None, int]:
    if isinstance(spent, int):
        return {None: spent}
    needs: dict[str | None, int] = {}
    for kind, micros in spent:
        needs[kind] = needs.get(kind, 0) + micros
    return needs


def _priced(spent: list[tuple[str, int]]) -> Priced:
    return priced(*(line(micros, Fraction(micros, 3), kind=kind) for kind, micros in spent))


def _instant(minute: int) -> datetime:
    return START + timedelta(minutes=minute)


# A history that disagrees is shrunk, for five minutes at most.
TestHistories = pytest.mark.timeout(400 + HISTORIES)(Histories.TestCase)
TestHistories.settings = settings(deadline=None, max_examples=HISTORIES)
