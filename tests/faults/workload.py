"""Clients that sell work, give some of it back, and remember every word.

Half of what they do is for one hot customer. What they got no word on they retry at once, or later, or leave
to be settled.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from google.protobuf.duration_pb2 import Duration

from ledger.admin.v1.admin_service_pb2 import CreateCustomerRequest, Customer, IssueGrantRequest
from ledger.v1.credit_service_pb2 import (
    ChargeRequest,
    CommitReservationRequest,
    ExtendReservationRequest,
    RefundRequest,
    ReleaseReservationRequest,
    ReserveRequest,
    ReverseChargeRequest,
)
from ledger.v1.usage_pb2 import ComputeUsage, TokenUsage, UsageItem, UsageList
from ledger.v1.wallet_service_pb2 import GRANT_KIND_PAID
from tests.amounts import CREDIT
from tests.faults.calls import attempt, attempt_batch
from tests.faults.journal import Answered, Journal, Record, Unknown
from tests.faults.servers import Server
from tests.stubs import Stubs

RETRIES_MAX = 3
PAUSE_SECONDS = 0.05
"""After an attempt without an answer: a server that is away is not asked a thousand times a second."""
PAID_USD_PER_CREDIT = 1


@dataclass(slots=True)
class Hold:
    """A reservation that a client may still use."""

    customer_id: str
    reservation_id: str


@dataclass(slots=True)
class Charged:
    """A charge of which a client may give something back."""

    customer_id: str
    charge_id: str
    own: bool
    """Made by `Charge`: one by itself, that can be reversed."""


def usage(rng: random.Random) -> UsageList:
    """Some work of a model, and of a machine in one of few runs: what its minimum remembers is shared."""
    return UsageList(
        items=[
            UsageItem(
                tokens=TokenUsage(
                    model="anthropic/claude-sonnet-4-5",
                    input=rng.randrange(1, 20_000),
                    output=rng.randrange(1, 2_000),
                )
            ),
            UsageItem(
                compute=ComputeUsage(
                    resource="sandbox",
                    duration=Duration(seconds=rng.randrange(1, 300)),
                    run_id=f"run-{rng.randrange(4)}",
                )
            ),
        ]
    )


async def make_customer(
    server: Server, journal: Journal, customer_id: str, credit: int, plan: str = "standard"
) -> None:
    """A customer with so many credits, paid. Raises AssertionError if that is refused."""
    create = CreateCustomerRequest(
        request_id=journal.request_id(), customer=Customer(customer_id=customer_id, plan=plan)
    )
    await sure(server, journal, journal.open("CreateCustomer", create))
    await sure(server, journal, journal.open("IssueGrant", grant(journal, customer_id, credit)))


def grant(journal: Journal, customer_id: str, credit: int) -> IssueGrantRequest:
    """A paid grant of whole credits."""
    return IssueGrantRequest(
        request_id=journal.request_id(),
        customer_id=customer_id,
        amount_micros=credit * CREDIT,
        kind=GRANT_KIND_PAID,
        paid_total_usd=str(credit * PAID_USD_PER_CREDIT),
    )


async def sure(server: Server, journal: Journal, record: Record) -> Any:
    """The reply to a write that has to succeed; it is sent again while there is no answer."""
    for _ in range(100):
        outcome = await attempt(server.ledger, journal, record)
        if isinstance(outcome, Answered):
            return outcome.reply
        if not isinstance(outcome, Unknown):
            raise AssertionError(f"{record.method} of {record.key}: {outcome}")  # noqa: TRY004 -- no type is wrong
        await asyncio.sleep(PAUSE_SECONDS)
    raise AssertionError(f"{record.method} of {record.key}: no answer")


class Reached(Protocol):
    """What a client calls: one server, or several as one."""

    @property
    def ledger(self) -> Stubs: ...


class Worker:
    """One client. `run` works until it is cancelled, `step` does one thing."""

    def __init__(
        self, servers: Sequence[Reached], journal: Journal, customers: Sequence[str], rng: random.Random
    ) -> None:
        self._servers = servers
        self._journal = journal
        self._customers = customers
        """The first is the hot one."""
        self._rng = rng
        self._holds: list[Hold] = []
        self._charges: list[Charged] = []
        self._stopping = False

    async def run(self) -> None:
        while not self._stopping:
            await self.step()

    def finish(self) -> None:
        """`run` ends after the step that it is at."""
        self._stopping = True

    async def step(self) -> None:
        """One write, or a batch of some."""
        if self._rng.random() < 0.15:
            records = [self._next() for _ in range(self._rng.randrange(2, 12))]
        else:
            records = [self._next()]
        await self._send(records)

    async def _send(self, records: list[Record]) -> None:
        """Sends writes until all have an answer, or for some attempts."""
        attempts = self._rng.choice((1, RETRIES_MAX))
        for _ in range(attempts):
            server = self._rng.choice(self._servers)
            if len(records) == 1:
                await attempt(server.ledger, self._journal, records[0])
            else:
                await attempt_batch(server.ledger, self._journal, records)
            self._learn(records)
            records = [record for record in records if record.state == "unknown"]
            if not records:
                return
            await asyncio.sleep(PAUSE_SECONDS * self._rng.random() * 4)

    def _learn(self, records: Sequence[Record]) -> None:
        """What can be used on: reservations made, charges booked."""
        for record in records:
            if record.state != "acknowledged" or not isinstance(record.outcomes[-1], Answered):
                continue
            if record.method == "Reserve":
                reservation = record.replies[-1].reservation
                self._holds.append(Hold(reservation.customer_id, reservation.reservation_id))
            elif record.method in ("Charge", "CommitReservation"):
                charge_id = record.replies[-1].charge.charge_id
                own = record.method == "Charge"
                self._charges.append(Charged(record.request.customer_id, charge_id, own))

    def _next(self) -> Record:
        choice = self._rng.random()
        if choice < 0.35 or not self._holds:
            return self._reserve_or_charge()
        if choice < 0.45 and self._charges:
            return self._give_back()
        hold = self._rng.choice(self._holds)
        if choice < 0.75:
            return self._commit(hold)
        if choice < 0.85:
            return self._extend(hold)
        self._holds.remove(hold)
        return self._journal.open(
            "ReleaseReservation",
            ReleaseReservationRequest(
                request_id=self._journal.request_id(),
                customer_id=hold.customer_id,
                reservation_id=hold.reservation_id,
            ),
        )

    def _customer(self) -> str:
        return self._customers[0] if self._rng.random() < 0.5 else self._rng.choice(self._customers)

    def _reserve_or_charge(self) -> Record:
        customer, request_id = self._customer(), self._journal.request_id()
        if self._rng.random() < 0.25:
            charge = ChargeRequest(request_id=request_id, customer_id=customer)
            if self._rng.random() < 0.5:
                charge.usage.CopyFrom(usage(self._rng))
            else:
                charge.amount_micros = self._rng.randrange(1, 2 * CREDIT)
            return self._journal.open("Charge", charge)
        reserve = ReserveRequest(
            request_id=request_id,
            customer_id=customer,
            ttl=Duration(seconds=self._rng.choice((1, 2, 600, 600, 600))),
        )
        if self._rng.random() < 0.3:
            reserve.usage.CopyFrom(usage(self._rng))
        else:
            reserve.amount_micros = self._rng.randrange(1, 5 * CREDIT)
        return self._journal.open("Reserve", reserve)

    def _commit(self, hold: Hold) -> Record:
        commit = CommitReservationRequest(
            request_id=self._journal.request_id(),
            customer_id=hold.customer_id,
            reservation_id=hold.reservation_id,
            final=self._rng.random() < 0.7,
        )
        if commit.final:
            self._holds.remove(hold)
        if self._rng.random() < 0.5:
            commit.usage.CopyFrom(usage(self._rng))
        else:
            commit.amount_micros = self._rng.randrange(0, 3 * CREDIT)
        return self._journal.open("CommitReservation", commit)

    def _extend(self, hold: Hold) -> Record:
        extend = ExtendReservationRequest(
            request_id=self._journal.request_id(),
            customer_id=hold.customer_id,
            reservation_id=hold.reservation_id,
            amount_micros=self._rng.randrange(1, CREDIT),
            ttl=Duration(seconds=600),
        )
        return self._journal.open("ExtendReservation", extend)

    def _give_back(self) -> Record:
        """Reverses a charge, or refunds some of it, or all that is left: it may be refunded again."""
        charged = self._rng.choice(self._charges)
        if charged.own and self._rng.random() < 0.4:
            self._charges.remove(charged)
            reverse = ReverseChargeRequest(
                request_id=self._journal.request_id(),
                customer_id=charged.customer_id,
                charge_id=charged.charge_id,
                reason="it did not happen",
            )
            return self._journal.open("ReverseCharge", reverse)
        refund = RefundRequest(
            request_id=self._journal.request_id(),
            customer_id=charged.customer_id,
            charge_id=charged.charge_id,
            amount_micros=self._rng.choice((0, self._rng.randrange(1, CREDIT // 2))),
            reason="it did not help",
        )
        if not refund.amount_micros:
            self._charges.remove(charged)
        return self._journal.open("Refund", refund)
