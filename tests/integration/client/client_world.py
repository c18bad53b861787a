"""A server for tests of the client, its customers, and usage that its card prices."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from pathlib import Path

import grpc.aio
from google.protobuf.duration_pb2 import Duration

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.admin.v1.admin_service_pb2_grpc import AdminServiceStub
from ledger.v1 import usage_pb2, wallet_service_pb2
from ledger.v1.credit_service_pb2 import ListChargesRequest
from ledger.v1.credit_service_pb2_grpc import CreditServiceStub
from tests.amounts import CREDIT
from tests.calling import patient

CONFIG = Path(__file__).parents[1] / "api" / "config"
GRANTED_CREDITS = 100
PATIENT_SECONDS = 120.0
"""Of calls that are to be answered, on a machine however slow."""

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Shop:
    """A running server, as a client and its operators reach it."""

    target: str
    back_office_target: str

    async def new_customer(self, *, credits: int = GRANTED_CREDITS, plan: str = "standard") -> str:
        """The id of a new customer who was granted so many credits."""
        customer_id = f"cus_{next(_numbers)}"
        async with grpc.aio.insecure_channel(self.back_office_target) as channel:
            service = AdminServiceStub(channel)
            customer = admin.Customer(customer_id=customer_id, plan=plan)
            create = admin.CreateCustomerRequest(request_id=f"new_{customer_id}", customer=customer)
            grant = admin.IssueGrantRequest(
                request_id=f"grant_{customer_id}",
                customer_id=customer_id,
                amount_micros=credits * CREDIT,
                kind=wallet_service_pb2.GRANT_KIND_PAID,
                paid_total_usd="10",
            )
            await patient(lambda: service.CreateCustomer(create))
            await patient(lambda: service.IssueGrant(grant))
        return customer_id


def sandbox(seconds: int) -> usage_pb2.UsageItem:
    """Time of a sandbox: 4 credits an hour, a minute at least."""
    duration = Duration(seconds=seconds)
    return usage_pb2.UsageItem(compute=usage_pb2.ComputeUsage(resource="sandbox", duration=duration))


def searches(quantity: int) -> usage_pb2.UsageItem:
    """Web searches: a hundredth of a credit each."""
    return usage_pb2.UsageItem(units=usage_pb2.UnitUsage(meter="web_search", quantity=str(quantity)))


def files_in(directory: Path) -> list[str]:
    """Their names."""
    return sorted(path.name for path in directory.iterdir())


async def charged_searches(target: str, customer_id: str) -> list[int]:
    """The quantities of all lines of searches that a customer was charged, as often as they were."""
    found: list[int] = []
    token = ""
    async with grpc.aio.insecure_channel(target) as channel:
        service = CreditServiceStub(channel)
        while True:
            request = ListChargesRequest(customer_id=customer_id, page_size=1_000, page_token=token)
            page = await patient(lambda: service.ListCharges(request))  # noqa: B023 -- awaited here
            lines = (line for charge in page.charges for line in charge.lines)
            found += (int(line.quantities["quantity"]) for line in lines if line.kind == "units")
            token = page.next_page_token
            if not token:
                return found
