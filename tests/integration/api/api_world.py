"""What the tests of the API share: stubs, requests with defaults, and a look behind the service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from ledger.access.caller import LOOPBACK, Caller
from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.admin.v1.admin_service_pb2_grpc import AdminServiceStub
from ledger.api.admission import Admission
from ledger.api.messages.limits import CALLS, CallLimits
from ledger.app import Stack, running
from ledger.engine.waiting import Waiting
from ledger.finance.v1.finance_service_pb2_grpc import FinanceServiceStub
from ledger.limits import Limits
from ledger.metrics.operations import OperationsMetrics
from ledger.settings import Settings
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import usage_pb2 as use
from ledger.v1 import wallet_service_pb2 as wallet
from ledger.v1.credit_service_pb2_grpc import CreditServiceStub
from ledger.v1.wallet_service_pb2_grpc import WalletServiceStub
from tests.amounts import CREDIT
from tests.calling import fresh
from tests.serving import UNHURRIED

CONFIG = Path(__file__).parent / "config"


def unlimited(
    metrics: OperationsMetrics, waiting: Waiting | None = None, calls: CallLimits = CALLS
) -> Admission:
    """What lets in whatever the process bears: no key has limits."""
    return Admission(waiting or Waiting(metrics.refused), metrics, calls=calls)


def anybody(_: object) -> Caller:
    """Lets in whoever calls."""
    return LOOPBACK


def tokens(model: str = "acme/large", **quantities: Any) -> use.UsageItem:
    """Tokens; by default a million of input: 10 credits on the metered card."""
    return use.UsageItem(tokens=use.TokenUsage(**{"model": model, "input": CREDIT, **quantities}))


def sandbox(seconds: int, **fields: Any) -> use.UsageItem:
    """Time of a sandbox: 4 credits an hour, a minute at least."""
    duration = Duration(seconds=seconds)
    return use.UsageItem(compute=use.ComputeUsage(resource="sandbox", duration=duration, **fields))


def searches(quantity: str) -> use.UsageItem:
    """Web searches: a hundredth of a credit each."""
    return use.UsageItem(units=use.UnitUsage(meter="web_search", quantity=quantity))


def ticket(result: use.OutcomeResult = use.OUTCOME_RESULT_RESOLVED) -> use.UsageItem:
    """A ticket: 2 credits if it was resolved."""
    return use.UsageItem(outcome=use.Outcome(name="ticket.resolved", subject="t-1", result=result))


def usage(*items: use.UsageItem) -> use.UsageList:
    """A usage list."""
    return use.UsageList(items=items)


@dataclass
class Refused:
    """A status as a caller reads it."""

    code: grpc.StatusCode
    message: str
    reason: str
    metadata: dict[str, str]
    fields: dict[str, str]
    raw: bytes

    @classmethod
    def of(cls, status: Status) -> Refused:
        info, bad = ErrorInfo(), BadRequest()
        for detail in status.details:
            for message in (info, bad):
                if detail.Is(message.DESCRIPTOR):
                    detail.Unpack(message)
        code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
        fields = {each.field: each.description for each in bad.field_violations}
        raw = status.SerializeToString()
        return cls(code, status.message, info.reason, dict(info.metadata), fields, raw)


async def refusal(call: Awaitable[Any]) -> Refused:
    """The status that a call ends with. Fails if it succeeds."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = caught.value
    trailing = dict(error.trailing_metadata() or ())
    status = Status.FromString(trailing["grpc-status-details-bin"])
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    return Refused.of(status)


async def retry_of(call: Awaitable[Any]) -> tuple[int, int]:
    """The delay that a refusal asks for, in milliseconds: of its details, and of its trailing metadata."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    trailing = dict(caught.value.trailing_metadata() or ())
    delay = RetryInfo()
    assert any(each.Unpack(delay) for each in Status.FromString(trailing["grpc-status-details-bin"]).details)
    return delay.retry_delay.ToMilliseconds(), int(trailing["grpc-retry-pushback-ms"])


class World:
    """A running service and its callers."""

    def __init__(
        self,
        stack: Stack,
        public: grpc.aio.Channel,
        back_office: grpc.aio.Channel,
        owner: asyncpg.Connection,
    ) -> None:
        self.stack = stack
        self.public = public
        self.back_office = back_office
        self.owner = owner
        self.credit = CreditServiceStub(public)
        self.wallet = WalletServiceStub(public)
        self.admin = AdminServiceStub(back_office)
        self.finance = FinanceServiceStub(back_office)
        self.customer_id = ""

    async def new_customer(self, customer_id: str, plan: str = "standard", granted: int = 100) -> str:
        """Makes a customer the subject of what follows."""
        customer = admin.Customer(customer_id=customer_id, plan=plan)
        await self.admin.CreateCustomer(admin.CreateCustomerRequest(request_id=fresh(), customer=customer))
        self.customer_id = customer_id
        if granted:
            await self.grant(granted * CREDIT)
        return customer_id

    async def grant(self, amount_micros: int, **fields: Any) -> admin.IssueGrantResponse:
        return await self.admin.IssueGrant(
            admin.IssueGrantRequest(
                **{
                    "request_id": fresh(),
                    "customer_id": self.customer_id,
                    "amount_micros": amount_micros,
                    "kind": wallet.GRANT_KIND_PAID,
                    "paid_total_usd": "31.4159265",
                    **fields,
                }
            )
        )

    async def update(self, **fields: str) -> admin.UpdateCustomerResponse:
        return await self.admin.UpdateCustomer(
            admin.UpdateCustomerRequest(
                request_id=fresh(),
                customer=admin.Customer(customer_id=self.customer_id, **fields),
                update_mask=FieldMask(paths=list(fields)),
            )
        )

    async def write_own_fields(self, own: str) -> None:
        """Writes the customer's own fields of its plan as a newer server would: this one reads it anew."""
        await self.owner.execute(
            "UPDATE cell_00.wallets w SET plan_overrides = $2, token = token # 1 FROM ledger.customers c"
            " WHERE c.customer = w.customer AND c.customer_id = $1",
            self.customer_id,
            own,
        )

    async def reserve(self, **fields: Any) -> pb.ReserveResponse:
        if "amount_micros" not in fields and "usage" not in fields:
            fields["amount_micros"] = 10 * CREDIT
        return await self.credit.Reserve(pb.ReserveRequest(**self._given(fields)))

    async def reservation(self, **fields: Any) -> str:
        """The id of a new reservation, of 10 credits if nothing else is said."""
        return (await self.reserve(**fields)).reservation.reservation_id

    async def extend(self, reservation_id: str, **fields: Any) -> pb.ExtendReservationResponse:
        request = pb.ExtendReservationRequest(**self._given(fields), reservation_id=reservation_id)
        return await self.credit.ExtendReservation(request)

    async def commit(self, reservation_id: str, **fields: Any) -> pb.CommitReservationResponse:
        request = pb.CommitReservationRequest(**self._given(fields), reservation_id=reservation_id)
        return await self.credit.CommitReservation(request)

    async def release(self, reservation_id: str, **fields: Any) -> pb.ReleaseReservationResponse:
        request = pb.ReleaseReservationRequest(**self._given(fields), reservation_id=reservation_id)
        return await self.credit.ReleaseReservation(request)

    async def charge(self, **fields: Any) -> pb.ChargeResponse:
        return await self.credit.Charge(pb.ChargeRequest(**self._given(fields)))

    async def reverse(self, **fields: Any) -> pb.ReverseChargeResponse:
        given = {"reason": "it did not happen", **fields}
        return await self.credit.ReverseCharge(pb.ReverseChargeRequest(**self._given(given)))

    async def refund(self, charge_id: str, **fields: Any) -> pb.RefundResponse:
        given = {"reason": "goodwill", **fields}
        return await self.credit.Refund(pb.RefundRequest(charge_id=charge_id, **self._given(given)))

    async def balance(self) -> pb.Balance:
        request = wallet.GetBalanceRequest(customer_id=self.customer_id)
        return (await self.wallet.GetBalance(request)).balance

    async def available(self) -> int:
        return (await self.balance()).available_micros

    def _given(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {"request_id": fresh(), "customer_id": self.customer_id, **fields}

    async def journal(self) -> list[asyncpg.Record]:
        """All entries of the customer, as they stand in the database."""
        return await self.owner.fetch(
            "SELECT e.* FROM cell_00.entries e JOIN ledger.customers c USING (customer)"
            " WHERE c.customer_id = $1 ORDER BY e.sequence",
            self.customer_id,
        )

    @asynccontextmanager
    async def nothing_changed(self) -> AsyncIterator[None]:
        """Asserts that the block leaves no trace: no entry, no other balance, no customer."""
        before = await self._state()
        yield
        assert await self._state() == before

    async def _state(self) -> list[list[Any]]:
        tables = (
            "wallets",
            "entries",
            "money",
            "reservations",
            "lots",
            "lot_values",
            "grants",
            "renewals",
            "states",
            "budgeted",
            "debts",
        )
        found = [
            await self.owner.fetch(
                f"SELECT t.* FROM cell_00.{table} t JOIN ledger.customers c USING (customer)"
                " WHERE c.customer_id = $1 ORDER BY t::text",
                self.customer_id,
            )
            for table in tables
        ]
        customers = await self.owner.fetch("SELECT customer_id FROM ledger.customers ORDER BY 1")
        return [*found, customers]


@asynccontextmanager
async def served(settings: Settings, limits: Limits = UNHURRIED) -> AsyncIterator[World]:
    """A service with these settings and limits, reached through real channels."""
    async with (
        running(settings, limits) as stack,
        grpc.aio.insecure_channel(stack.public_target) as public,
        grpc.aio.insecure_channel(stack.back_office_target) as back_office,
    ):
        owner = await asyncpg.connect(settings.database_url)
        yield World(stack, public, back_office, owner)
        await owner.close()
