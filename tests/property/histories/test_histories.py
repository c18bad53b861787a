"""Random histories through gRPC: every reply and every read is what a model of single credits says.

HISTORIES=200 pytest tests/property/histories      that many histories of 40 steps
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from time import sleep
from typing import Any

import grpc
import pytest
from books_model import DAY_MINUTES, DEBT_PRICE, NEVER
from google.protobuf.duration_pb2 import Duration
from histories_account import price_of
from histories_calls import PAUSE_SECONDS, TURNED_AWAY, refusal_of, writes
from histories_grants import usd
from histories_mirror import MINUTE, PLANS, Mirror
from histories_reads import Reads
from histories_requests import UNHEARD_OF, Spent, hold_of, timestamp, update_of
from histories_service import Service, serving
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.store.postgres.embedded import EmbeddedPostgres
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import wallet_service_pb2 as wallet
from tests.calling import fresh

HISTORIES = int(os.environ.get("HISTORIES", "45"))
STEPS = 40
CLOCKS_APART = timedelta(seconds=1)
"""More than a server's estimate of the database's clock may be behind it."""
KINDS = ("tokens", "compute", "units")
AMOUNTS = st.integers(1, 30)
MINUTES = st.integers(1, 12)
USAGE = st.lists(
    st.tuples(st.sampled_from([*KINDS, *KINDS, UNHEARD_OF]), st.integers(0, 20)), min_size=1, max_size=4
)
SPENT = st.one_of(AMOUNTS, USAGE)
PICK = st.integers(0, 10**6)
PRICES = st.sampled_from([0, 1, 2, 3, DEBT_PRICE])
"""Of a credit: what is owed at another than that of debts is worth what the books alone know."""
LABELS = st.sampled_from(["", "", "red", "blue"])


GRANTS: dict[str, Any] = {
    "confirm grant": admin.ConfirmGrantRequest,
    "void grant": lambda **named: admin.VoidGrantRequest(**named, reason="why"),
    "extend grant": lambda **named: admin.ExtendGrantRequest(**named, never_expires=True),
    "refund grant": lambda **named: admin.RefundGrantRequest(**named, reason="why"),
    "dispute grant": lambda **named: admin.DisputeGrantRequest(**named, reason="why"),
    "write off grant": lambda **named: admin.WriteOffGrantRequest(**named, reason="why"),
}


class Caller:
    """One server and one database's clock, for callers that do not wait for others."""

    def __init__(self, service: Service, loop: asyncio.AbstractEventLoop) -> None:
        self._service = service
        self._loop = loop
        stack = service.stacks[0]
        self.channels = [
            grpc.insecure_channel(each) for each in (stack.public_target, stack.back_office_target)
        ]
        public, back_office = self.channels
        self._methods = writes(public, back_office)
        self.reads = Reads(public, back_office)
        customer = admin.Customer(customer_id="pacemaker", plan="available")
        self.call(admin.CreateCustomerRequest(request_id=fresh(), customer=customer))

    def call(self, request: Any) -> Any:
        """Give the reply to a request, or its refusal by whoever has looked at it."""
        while True:
            try:
                return self._methods[type(request)](request)
            except grpc.RpcError as error:
                refusal = refusal_of(error)
            if refusal.reason != TURNED_AWAY:
                return refusal
            sleep(PAUSE_SECONDS)

    def now(self) -> datetime:
        """Read the database's clock."""
        return asyncio.run_coroutine_threadsafe(self._service.now(), self._loop).result()

    def move_clock(self, by: timedelta) -> None:
        """Let time pass; the server learns of it by its next write."""
        asyncio.run_coroutine_threadsafe(self._service.move_clock(by), self._loop).result()
        self.call(update_of("pacemaker", "display_name", fresh()))


@contextmanager
def in_a_thread(postgres: EmbeddedPostgres) -> Iterator[Caller]:
    """Run the service beside the test, which hypothesis wants to be synchronous."""
    started: Future[tuple[Service, asyncio.AbstractEventLoop]] = Future()
    stopped = asyncio.Event()

    async def serve() -> None:
        async with serving(postgres, "histories", servers=1) as service:
            started.set_result((service, asyncio.get_running_loop()))
            await stopped.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        service, loop = started.result()
        caller = Caller(service, loop)
        yield caller
        for channel in caller.channels:
            channel.close()
        loop.call_soon_threadsafe(stopped.set)
    finally:
        thread.join()


@pytest.fixture(scope="module")
def caller(postgres: EmbeddedPostgres) -> Iterator[Caller]:
    """The service, on a database of its own."""
    with in_a_thread(postgres) as caller:
        yield caller


class Histories(RuleBasedStateMachine):
    """Does the same to the service and to the mirror, to one customer a history."""

    def __init__(self, caller: Caller) -> None:
        super().__init__()
        self.caller = caller
        self.customer_id = f"customer-{fresh()}"
        self.mirror = _at_noon(caller, self.customer_id)
        self.sent: list[Any] = []
        self.steps = 0
        self.agrees = True
        self.is_over = False
        """Credits are worth another amount than the model says: it knows no more."""

    @initialize(plan=st.sampled_from(sorted(PLANS)), amounts=st.lists(AMOUNTS, min_size=1, max_size=3))
    def begin(self, plan: str, amounts: list[int]) -> None:
        """Begin with a plan and some credits, those of one kind of usage last to burn."""
        customer = admin.Customer(customer_id=self.customer_id, display_name="Ada", plan=plan)
        self.send(admin.CreateCustomerRequest(request_id=fresh(), customer=customer))
        for priority, (amount, scope) in enumerate(zip(amounts, ("", *KINDS), strict=False)):
            self.grant(amount, 1, priority, scope, 0, None, unpaid=False)

    @rule(
        amount=AMOUNTS,
        price=PRICES,
        priority=st.integers(0, 1),
        scope=st.sampled_from(["", "", *KINDS]),
        starts=st.sampled_from([0, 0, 0, 3, 8]),
        lives=st.one_of(st.none(), MINUTES),
        unpaid=st.sampled_from([False, False, True]),
    )
    def grant(
        self,
        amount: int,
        price: int,
        priority: int,
        scope: str,
        starts: int,
        lives: int | None,
        unpaid: bool,
    ) -> None:
        """Grant credits at a price each, now or later, for a while or for ever, or once they are paid."""
        starts_at = self.mirror.began + (self.mirror.account.minute + starts) * MINUTE
        request = admin.IssueGrantRequest(
            **self.given(),
            amount_micros=amount,
            kind=wallet.GRANT_KIND_PAID if price else wallet.GRANT_KIND_PROMO,
            paid_total_usd=usd(amount * price),
            effective_at=timestamp(starts_at) if starts else None,
            expires_at=None if lives is None else timestamp(starts_at + lives * MINUTE),
            priority=priority,
            scope=scope,
            pending_payment=unpaid and price > 0,
        )
        self.send(request)

    @precondition(lambda self: self.known)
    @rule(pick=PICK, price=st.one_of(st.none(), PRICES))
    def confirm(self, pick: int, price: int | None) -> None:
        """Pay for a grant, at what was stated or at another price each; of those to be paid, if there are."""
        unpaid = [n for n in self.known if self.mirror.account.lots[n].status == "UNPAID"]
        number = (unpaid or self.known)[pick % len(unpaid or self.known)]
        grant = self.mirror.grants[number]
        paid = "" if price is None else usd(grant.amount_micros * price)
        request = admin.ConfirmGrantRequest(**self.given(), grant_id=grant.grant_id, paid_total_usd=paid)
        self.send(request)

    @precondition(lambda self: self.known)
    @rule(pick=PICK, used=st.sampled_from(admin.UsedCredits.values()), only_unpaid=st.booleans())
    def void(self, pick: int, used: admin.UsedCredits.ValueType, only_unpaid: bool) -> None:
        """Take a grant back, with what was used or without, or only if nobody has paid for it."""
        request = admin.VoidGrantRequest(
            **self.granted(pick), reason="why", used=used, only_pending_payment=only_unpaid
        )
        self.send(request)

    @precondition(lambda self: self.known)
    @rule(
        pick=PICK,
        lives=st.one_of(st.none(), st.just(NEVER), MINUTES),
        priority=st.one_of(st.none(), st.integers(0, 2)),
    )
    def prolong(self, pick: int, lives: int | None, priority: int | None) -> None:
        """Give a grant another expiry, another priority, or both."""
        request = admin.ExtendGrantRequest(**self.granted(pick), priority=priority)
        if lives == NEVER or (lives is None and priority is None):
            request.never_expires = True
        elif lives is not None:
            at = self.mirror.began + (self.mirror.account.minute + lives) * MINUTE
            request.expires_at.CopyFrom(timestamp(at))
        self.send(request)

    @precondition(lambda self: self.known)
    @rule(pick=PICK, amount=st.one_of(st.none(), AMOUNTS), less=st.sampled_from([0, 0, 1, 10]))
    def pay_back(self, pick: int, amount: int | None, less: int) -> None:
        """Take credits of a grant back for money: what nobody holds or some, for their value or for less."""
        request = admin.RefundGrantRequest(**self.granted(pick), reason="why", amount_micros=amount)
        lot = self.mirror.account.lots[self.known[pick % len(self.known)]]
        worth = (lot.count("available", "pending") if amount is None else amount) * price_of(lot)
        if 0 < less < worth:
            request.refund_usd = usd(worth - less)
        self.send(request)

    @precondition(lambda self: self.known)
    @rule(pick=PICK)
    def dispute(self, pick: int) -> None:
        """Contest the payment of a grant."""
        self.send(admin.DisputeGrantRequest(**self.granted(pick), reason="why"))

    @precondition(lambda self: self.known)
    @rule(pick=PICK, is_won=st.booleans(), used=st.sampled_from(admin.UsedCredits.values()))
    def resolve(self, pick: int, is_won: bool, used: admin.UsedCredits.ValueType) -> None:
        """Decide a dispute: of those that there are, so that most tries are of one."""
        disputed = [n for n in self.known if self.mirror.account.lots[n].status == "DISPUTED"]
        number = (disputed or self.known)[pick % len(disputed or self.known)]
        outcome = admin.DISPUTE_OUTCOME_WON if is_won else admin.DISPUTE_OUTCOME_LOST
        named = {**self.given(), "grant_id": self.mirror.grants[number].grant_id}
        if is_won:
            used = admin.USED_CREDITS_UNSPECIFIED
        self.send(admin.ResolveDisputeRequest(**named, reason="why", outcome=outcome, used=used))

    @precondition(lambda self: self.known)
    @rule(pick=PICK, amount=st.one_of(st.none(), AMOUNTS), is_debt=st.booleans())
    def write_off(self, pick: int, amount: int | None, is_debt: bool) -> None:
        """Give up what a grant was sold for, or what the customer owes."""
        if is_debt:
            self.send(admin.WriteOffDebtRequest(**self.given(), reason="why", amount_micros=amount))
        else:
            self.send(admin.WriteOffGrantRequest(**self.granted(pick), reason="why"))

    @rule(
        spent=SPENT,
        minutes=st.one_of(st.none(), MINUTES),
        minimum=st.one_of(st.none(), AMOUNTS),
        project=LABELS,
    )
    def reserve(self, spent: Spent, minutes: int | None, minimum: int | None, project: str) -> None:
        """Hold credits or the price of usage, all or up to it."""
        if minimum is not None and isinstance(spent, int):
            minimum = min(minimum, spent)
        request = pb.ReserveRequest(
            **self.given(),
            **hold_of(spent),
            fill=pb.FILL_UNSPECIFIED if minimum is None else pb.FILL_UP_TO,
            minimum_micros=minimum or 0,
            ttl=None if minutes is None else Duration(seconds=60 * minutes),
            labels=pb.Labels(project=project) if project else None,
        )
        self.send(request)

    @precondition(lambda self: self.mirror.holds)
    @rule(pick=PICK, amount=st.integers(0, 20), minutes=st.one_of(st.none(), MINUTES))
    def extend(self, pick: int, amount: int, minutes: int | None) -> None:
        """Add credits and time to a hold, both or neither."""
        ttl = None if minutes is None else Duration(seconds=60 * minutes)
        self.send(pb.ExtendReservationRequest(**self.held(pick), amount_micros=amount, ttl=ttl))

    @precondition(lambda self: self.mirror.holds)
    @rule(pick=PICK, spent=st.one_of(st.integers(0, 30), USAGE), final=st.booleans())
    def commit(self, pick: int, spent: Spent, final: bool) -> None:
        """Commit a part, or the last one."""
        self.send(pb.CommitReservationRequest(**self.held(pick), **hold_of(spent), final=final))

    @precondition(lambda self: self.mirror.holds)
    @rule(pick=PICK)
    def release(self, pick: int) -> None:
        """Give a hold back."""
        self.send(pb.ReleaseReservationRequest(**self.held(pick)))

    @rule(spent=SPENT, used=st.booleans(), project=LABELS)
    def charge(self, spent: Spent, used: bool, project: str) -> None:
        """Charge without a hold."""
        labels = pb.Labels(project=project) if project else None
        self.send(pb.ChargeRequest(**self.given(), **hold_of(spent), already_used=used, labels=labels))

    @precondition(lambda self: self.mirror.charges)
    @rule(pick=PICK)
    def reverse_charge(self, pick: int) -> None:
        """Undo a charge."""
        charge_id = _picked(self.mirror.charges, pick)
        self.send(pb.ReverseChargeRequest(**self.given(), charge_id=charge_id, reason="why"))

    @precondition(lambda self: self.mirror.holds)
    @rule(pick=PICK)
    def reverse_reservation(self, pick: int) -> None:
        """Undo all charges of a reservation."""
        self.send(pb.ReverseChargeRequest(**self.held(pick), reason="why"))

    @precondition(lambda self: self.mirror.charges)
    @rule(pick=PICK, amount=st.integers(0, 20))
    def refund(self, pick: int, amount: int) -> None:
        """Give back a part of a charge or of a commit, or all that is left."""
        charge_id = _picked(self.mirror.charges, pick)
        request = pb.RefundRequest(
            **self.given(), charge_id=charge_id, amount_micros=amount, reason="goodwill"
        )
        self.send(request)

    @rule(method=st.sampled_from(["extend", "commit", "release", "reverse", "charge", "refund", *GRANTS]))
    def miss(self, method: str) -> None:
        """Name what does not exist."""
        named = {**self.given(), "reservation_id": "rsv_0"}
        requests = {
            "extend": lambda: pb.ExtendReservationRequest(**named),
            "commit": lambda: pb.CommitReservationRequest(**named, amount_micros=1),
            "release": lambda: pb.ReleaseReservationRequest(**named),
            "reverse": lambda: pb.ReverseChargeRequest(**named, reason="why"),
            "charge": lambda: pb.ReverseChargeRequest(**self.given(), charge_id="chg_0", reason="why"),
            "refund": lambda: pb.RefundRequest(**self.given(), charge_id="chg_0", reason="why"),
        }
        if method in GRANTS:
            self.send(GRANTS[method](**self.given(), grant_id="grt_0"))
        else:
            self.send(requests[method]())

    @rule(pick=PICK)
    def repeat(self, pick: int) -> None:
        """Send an earlier request again, one that had an effect or one that was refused."""
        self.send(self.sent[pick % len(self.sent)])

    @rule(pick=PICK, spent=SPENT)
    def reuse(self, pick: int, spent: Spent) -> None:
        """Send another request under the id of an earlier one."""
        request = pb.ReserveRequest(**self.given(), **hold_of(spent))
        request.request_id = self.sent[pick % len(self.sent)].request_id
        self.send(request)

    @rule(plan=st.sampled_from([*PLANS, "overdraft-15", "overdraft-40", "unheard-of"]))
    def change_plan(self, plan: str) -> None:
        """Put the customer on another plan; what recurs by it is written ahead of the next command."""
        self.update("plan", plan)
        self.update("display_name", "Ada")

    @rule(minutes=MINUTES)
    def pass_time(self, minutes: int) -> None:
        """Let the clock run; what is due is written ahead of the next command."""
        self.caller.move_clock(minutes * MINUTE)
        self.mirror.pass_minutes(minutes)
        self.update("display_name", f"Ada {self.mirror.account.minute}")

    @precondition(lambda self: self.mirror.account.recurring)
    @rule(before=st.integers(0, 3))
    def come_to_midnight(self, before: int) -> None:
        """Let the clock run until midnight, or minutes before it."""
        minutes = DAY_MINUTES - self.mirror.account.minute % DAY_MINUTES - before
        if minutes > 0:
            self.pass_time(minutes)

    @invariant()
    def reads_agree(self) -> None:
        """Compare the balance after each step, and one of the other reads."""
        if self.is_over:
            return
        self.steps += 1
        reads, mirror, size = self.caller.reads, self.mirror, 1 + self.steps % 7
        reads.balance(mirror)
        match self.steps % 7:
            case 0:
                reads.statement(mirror, size)
            case 1:
                reads.reservations(mirror, 50)
            case 2:
                reads.charges(mirror, size)
            case 3:
                reads.grants(mirror, size)
            case 4:
                reads.trial_balance(mirror)
                reads.budgets(mirror)
            case 5 if mirror.holds:
                reads.reservation(mirror, _picked(mirror.holds, self.steps))
            case 6 if mirror.charges:
                reads.charge(mirror, _picked(mirror.charges, self.steps))

    def teardown(self) -> None:
        """Compare everything, and have the journal verified."""
        if self.agrees and not self.is_over:
            self.caller.reads.all(self.mirror, 5)
        if self.agrees:
            self.caller.reads.journal()
        # Else each midnight of later histories would renew what this one has left.
        self.caller.call(update_of(self.customer_id, "plan", "available"))

    def send(self, request: Any) -> None:
        """Send a request, and hold its reply against the mirror."""
        if self.is_over:
            return
        outcome = self.caller.call(request)
        self.agrees = False
        self.mirror.judge(request, outcome)
        self.agrees = True
        self.is_over = self.mirror.account.is_beyond
        if request not in self.sent:
            self.sent.append(request)

    def update(self, path: str, value: str) -> None:
        """Change the customer."""
        self.send(update_of(self.customer_id, path, value))

    def given(self) -> dict[str, str]:
        """Give the fields that each request has."""
        return {"request_id": fresh(), "customer_id": self.customer_id}

    def held(self, pick: int) -> dict[str, str]:
        """Give these and the id of some reservation."""
        return {**self.given(), "reservation_id": _picked(self.mirror.holds, pick)}

    def granted(self, pick: int) -> dict[str, str]:
        """Give these and the id of some grant."""
        number = self.known[pick % len(self.known)]
        return {**self.given(), "grant_id": self.mirror.grants[number].grant_id}

    @property
    def known(self) -> list[int]:
        """Give the grants whose ids are known: a reply had them, or a list."""
        return [number for number, grant in enumerate(self.mirror.grants) if grant.grant_id]


def _at_noon(caller: Caller, customer_id: str) -> Mirror:
    """Begin at the next noon: a history does the same at whatever time it is run, midnights included."""
    now = caller.now()
    midnight = datetime.combine(now.date() + timedelta(days=1), time_of_day.min, UTC)
    noon = midnight + timedelta(hours=12)
    caller.move_clock(noon + CLOCKS_APART - now)
    mirror = Mirror(customer_id, midnight)
    mirror.account.minute = (noon - midnight) // MINUTE
    return mirror


def _picked(things: dict[str, Any], pick: int) -> str:
    return list(things)[pick % len(things)]


# Histories that disagree are shrunk, for five minutes at most.
@pytest.mark.timeout(400 + 5 * HISTORIES)
def test_histories_agree_with_the_model(caller: Caller) -> None:
    """Every reply and every read of random histories is what the model says, and the journal verifies."""
    run_state_machine_as_test(
        lambda: Histories(caller),
        settings=settings(
            max_examples=HISTORIES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        ),
    )
