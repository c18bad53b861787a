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

CONFIG = Path(__file__).parents[1] / "api" / "config"
CREDIT = 1_000_000
GRANTED_CREDITS = 100

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
            await service.CreateCustomer(
                admin.CreateCustomerRequest(request_id=f"new_{customer_id}", customer=customer)
            )
            await service.IssueGrant(
                admin.IssueGrantRequest(
                    request_id=f"grant_{customer_id}",
                    customer_id=customer_id,
                    amount_micros=credits * CREDIT,
                    kind=wallet_service_pb2.GRANT_KIND_PAID,
                    paid_total_usd="10",
                )
            )
        return customer_id


def sandbox(seconds: int) -> usage_pb2.UsageItem:
    """Time of a sandbox: 4 credits an hour, a minute at least."""
    duration = Duration(seconds=seconds)
    return usage_pb2.UsageItem(compute=usage_pb2.ComputeUsage(resource="sandbox", duration=duration))
