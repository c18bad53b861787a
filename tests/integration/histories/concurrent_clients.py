"""Clients that do random things to a few customers at once, and remember when they asked and were told."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import grpc.aio
from histories_calls import refusal_of, writes
from histories_grants import usd
from histories_mirror import PLANS
from histories_outcomes import Refusal
from histories_requests import UNHEARD_OF, Spent, hold_of

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import wallet_service_pb2 as wallet
from tests.calling import fresh, patient

_ticks = count(1)


@dataclass
class Operation:
    """A request and its outcome. `began` and `ended` count on one clock of all clients."""

    request: Any
    began: int
    outcome: Any = None
    ended: int = 0

    @property
    def sequence(self) -> int:
        """Give the place of its effect; 0 if it was refused."""
        return 0 if isinstance(self.outcome, Refusal) else self.outcome.sequence


@dataclass
class Shared:
    """A customer, as its clients know it between them."""

    customer_id: str
    operations: list[Operation] = field(default_factory=list)
    reservations: list[str] = field(default_factory=list)
    charges: list[str] = field(default_factory=list)
    grants: list[str] = field(default_factory=list)

    def learn(self, reply: Any) -> None:
        """Take note of the ids in a reply."""
        if isinstance(reply, pb.ReserveResponse):
            self.reservations.append(reply.reservation.reservation_id)
        elif isinstance(reply, pb.ChargeResponse | pb.CommitReservationResponse):
            self.charges.append(reply.charge.charge_id)
        elif isinstance(reply, admin.IssueGrantResponse):
            self.grants.append(reply.grant.grant_id)


class Server:
    """The writes of one server."""

    def __init__(self, public: grpc.aio.Channel, back_office: grpc.aio.Channel) -> None:
        self._methods = writes(public, back_office)

    async def call(self, shared: Shared, request: Any) -> None:
        """Send a request, and remember it with its outcome."""
        operation = Operation(request, next(_ticks))
        operation.outcome = await self._answer(request)
        if not isinstance(operation.outcome, Refusal):
            shared.learn(operation.outcome)
        operation.ended = next(_ticks)
        shared.operations.append(operation)

    async def _answer(self, request: Any) -> Any:
        """Give the reply to a request, or its refusal by whoever has looked at it."""
        try:
            return await patient(lambda: self._methods[type(request)](request))
        except grpc.aio.AioRpcError as error:
            return refusal_of(error)


class Client:
    """One of many, with dice of its own."""

    def __init__(self, server: Server, customers: Sequence[Shared], seed: int) -> None:
        self._server = server
        self._customers = customers
        self._dice = random.Random(seed)  # noqa: S311 -- the same requests again for the same seed

    async def run(self, seconds: float) -> None:
        """Send requests for so long, each after the answer to the one before; some twice at once."""
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            shared = self._dice.choice(self._customers)
            request = self._request(shared)
            copies = 2 if self._dice.random() < 0.1 else 1
            await asyncio.gather(*(self._server.call(shared, request) for _ in range(copies)))

    def _request(self, shared: Shared) -> Any:
        request: Any
        dice = self._dice
        given = {"request_id": fresh(), "customer_id": shared.customer_id}
        held = {**given, "reservation_id": dice.choice([*shared.reservations[-6:], "rsv_0"])}
        match dice.randrange(16):
            case 0:
                request = self._grant(given)
            case 1 | 2 | 3:
                fill, least = dice.choice([(pb.FILL_UNSPECIFIED, 0), (pb.FILL_UP_TO, 1), (pb.FILL_UP_TO, 8)])
                spent = self._spent(8)
                request = pb.ReserveRequest(**given, **hold_of(spent), fill=fill, minimum_micros=least)
            case 4:
                request = pb.ExtendReservationRequest(**held, amount_micros=dice.randrange(10))
            case 5 | 6 | 7:
                final = dice.random() < 0.5
                request = pb.CommitReservationRequest(**held, **hold_of(self._spent(0)), final=final)
            case 8:
                request = pb.ReleaseReservationRequest(**held)
            case 9:
                used = dice.random() < 0.5
                request = pb.ChargeRequest(**given, **hold_of(self._spent(1)), already_used=used)
            case 10 | 11:
                request = self._return(given, held, shared)
            case 12 | 13 | 14:
                request = self._change_of_grant(given, shared)
            case _:
                request = self._repeat(shared) or self._plan(shared)
        return request

    def _return(self, given: dict[str, str], held: dict[str, str], shared: Shared) -> Any:
        dice = self._dice
        charge_id = dice.choice([*shared.charges[-6:], "chg_0"])
        requests = [
            pb.ReverseChargeRequest(**held, reason="why"),
            pb.ReverseChargeRequest(**given, charge_id=charge_id, reason="why"),
            pb.RefundRequest(
                **given, charge_id=charge_id, amount_micros=dice.randrange(6), reason="goodwill"
            ),
        ]
        return dice.choice(requests)

    def _grant(self, given: dict[str, str]) -> admin.IssueGrantRequest:
        amount, price = self._dice.randrange(1, 30), self._dice.randrange(4)
        return admin.IssueGrantRequest(
            **given,
            amount_micros=amount,
            kind=wallet.GRANT_KIND_PAID if price else wallet.GRANT_KIND_PROMO,
            paid_total_usd=usd(amount * price),
            priority=self._dice.randrange(2),
            scope=self._dice.choice(["", "", "tokens", "compute"]),
            pending_payment=price > 0 and self._dice.random() < 0.3,
        )

    def _change_of_grant(self, given: dict[str, str], shared: Shared) -> Any:
        dice = self._dice
        named = {**given, "grant_id": dice.choice([*shared.grants[-6:], "grt_0"])}
        reasoned = {**named, "reason": "why"}
        requests = [
            admin.ConfirmGrantRequest(**named),
            admin.ConfirmGrantRequest(**named),
            admin.VoidGrantRequest(
                **reasoned,
                used=dice.choice([admin.USED_CREDITS_STAY_PAID, admin.USED_CREDITS_BECOME_DEBT]),
                only_pending_payment=dice.random() < 0.5,
            ),
            admin.ExtendGrantRequest(**named, never_expires=True, priority=dice.randrange(3)),
            admin.RefundGrantRequest(**reasoned, amount_micros=dice.choice([None, dice.randrange(1, 10)])),
            admin.DisputeGrantRequest(**reasoned),
            admin.ResolveDisputeRequest(
                **reasoned, outcome=dice.choice([admin.DISPUTE_OUTCOME_WON, admin.DISPUTE_OUTCOME_LOST])
            ),
            admin.WriteOffDebtRequest(**given, reason="why"),
        ]
        return dice.choice(requests)

    def _plan(self, shared: Shared) -> admin.UpdateCustomerRequest:
        customer = admin.Customer(customer_id=shared.customer_id, plan=self._dice.choice(sorted(PLANS)))
        request = admin.UpdateCustomerRequest(request_id=fresh(), customer=customer)
        request.update_mask.paths.append("plan")
        return request

    def _repeat(self, shared: Shared) -> Any:
        """Give an earlier request, or another one under its id."""
        earlier = [
            op.request for op in shared.operations if not isinstance(op.request, admin.UpdateCustomerRequest)
        ]
        if not earlier or self._dice.random() < 0.3:
            return None
        request = self._dice.choice(earlier[-20:])
        if self._dice.random() < 0.5:
            return request
        return pb.ReserveRequest(
            request_id=request.request_id, customer_id=shared.customer_id, **hold_of(self._spent(8))
        )

    def _spent(self, least: int) -> Spent:
        dice = self._dice
        if dice.random() < 0.5:
            return dice.randrange(least, 20)
        kinds = ["tokens", "compute", "units", "tokens", "compute", "units", UNHEARD_OF]
        return [(dice.choice(kinds), dice.randrange(12)) for _ in range(dice.randrange(1, 4))]
