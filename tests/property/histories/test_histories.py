"""Random histories through gRPC: every reply and every read is what a model of single credits says.

HISTORIES=200 pytest tests/property/histories      that many histories of 40 steps
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from histories_calls import PAUSE_SECONDS, TURNED_AWAY, refusal_of, writes
from histories_mirror import MINUTE, PLANS, Mirror
from histories_reads import Reads
from histories_requests import UNHEARD_OF, Spent, hold_of, timestamp
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

HISTORIES = int(os.environ.get("HISTORIES", "60"))
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
LABELS = st.sampled_from(["", "", "red", "blue"])


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

    def call(self, request: Any) -> Any:
        """Give the reply to a request, or its refusal by whoever has looked at it."""
        while True:
            try:
                return self._methods[type(request)](request)
            except grpc.RpcError as error:
                refusal = refusal_of(error)
            if refusal.reason != TURNED_AWAY:
                return refusal
            time.sleep(PAUSE_SECONDS)

    def now(self) -> datetime:
        """Read the database's clock."""
        return asyncio.run_coroutine_threadsafe(self._service.now(), self._loop).result()

    def move_clock(self, by: timedelta) -> None:
        """Let time pass."""
        asyncio.run_coroutine_threadsafe(self._service.move_clock(by), self._loop).result()


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
        self.mirror = Mirror(self.customer_id, caller.now() - CLOCKS_APART)
        self.sent: list[Any] = []
        self.steps = 0
        self.agrees = True
        self.is_over = False
        """More came back than was paid, and is worth less than the model says: it knows no more."""

    @initialize(plan=st.sampled_from(sorted(PLANS)), amounts=st.lists(AMOUNTS, min_size=1, max_size=3))
    def begin(self, plan: str, amounts: list[int]) -> None:
        """Begin with a plan and some credits, those of one kind of usage last to burn."""
        customer = admin.Customer(customer_id=self.customer_id, display_name="Ada", plan=plan)
        self.send(admin.CreateCustomerRequest(request_id=fresh(), customer=customer))
        for priority, (amount, scope) in enumerate(zip(amounts, ("", *KINDS), strict=False)):
            self.grant(amount, 1, priority, scope, 0, None)

    @rule(
        amount=AMOUNTS,
        price=st.integers(0, 3),
        priority=st.integers(0, 1),
        scope=st.sampled_from(["", "", *KINDS]),
        starts=st.sampled_from([0, 0, 0, 3, 8]),
        lives=st.one_of(st.none(), MINUTES),
    )
    def grant(
        self, amount: int, price: int, priority: int, scope: str, starts: int, lives: int | None
    ) -> None:
        """Grant credits at a price each, now or later, for a while or for ever."""
        starts_at = self.mirror.began + (self.mirror.account.minute + starts) * MINUTE
        paid = f"{amount * price / 10**9:.9f}".rstrip("0").rstrip(".")
        request = admin.IssueGrantRequest(
            **self.given(),
            amount_micros=amount,
            kind=wallet.GRANT_KIND_PAID if price else wallet.GRANT_KIND_PROMO,
            paid_total_usd=paid,
            effective_at=timestamp(starts_at) if starts else None,
            expires_at=None if lives is None else timestamp(starts_at + lives * MINUTE),
            priority=priority,
            scope=scope,
        )
        self.send(request)

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

    @rule(method=st.sampled_from(["extend", "commit", "release", "reverse", "charge", "refund"]))
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
        """Put the customer on another plan."""
        self.update("plan", plan)

    @rule(minutes=MINUTES)
    def pass_time(self, minutes: int) -> None:
        """Let the clock run; what is due is written ahead of the next command."""
        self.caller.move_clock(minutes * MINUTE)
        self.mirror.pass_minutes(minutes)
        self.update("display_name", f"Ada {self.mirror.account.minute}")

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

    def send(self, request: Any) -> None:
        """Send a request, and hold its reply against the mirror."""
        if self.is_over:
            return
        outcome = self.caller.call(request)
        self.agrees = False
        self.mirror.judge(request, outcome)
        self.agrees = True
        self.is_over = self.mirror.account.is_worth_too_much
        if request not in self.sent:
            self.sent.append(request)

    def update(self, path: str, value: str) -> None:
        """Change the customer."""
        customer = admin.Customer(customer_id=self.customer_id, **{path: value})
        mask = FieldMask(paths=[path])
        self.send(admin.UpdateCustomerRequest(request_id=fresh(), customer=customer, update_mask=mask))

    def given(self) -> dict[str, str]:
        """Give the fields that each request has."""
        return {"request_id": fresh(), "customer_id": self.customer_id}

    def held(self, pick: int) -> dict[str, str]:
        """Give these and the id of some reservation."""
        return {**self.given(), "reservation_id": _picked(self.mirror.holds, pick)}


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
