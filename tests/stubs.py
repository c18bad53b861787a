"""Stubs of a server's four services, for tests that say field by field what is sent, and how often."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import grpc.aio

from ledger.admin.v1.admin_service_pb2_grpc import AdminServiceStub
from ledger.client.channel import Access, open_channel
from ledger.finance.v1.finance_service_pb2_grpc import FinanceServiceStub
from ledger.v1.credit_service_pb2_grpc import CreditServiceStub
from ledger.v1.wallet_service_pb2_grpc import WalletServiceStub

if TYPE_CHECKING:
    from ledger.admin.v1.admin_service_pb2_grpc import AdminServiceAsyncStub
    from ledger.finance.v1.finance_service_pb2_grpc import FinanceServiceAsyncStub
    from ledger.v1.credit_service_pb2_grpc import CreditServiceAsyncStub
    from ledger.v1.wallet_service_pb2_grpc import WalletServiceAsyncStub


@dataclass(frozen=True, slots=True)
class Stubs:
    """The services of one running server."""

    credits: CreditServiceAsyncStub
    wallet: WalletServiceAsyncStub
    admin: AdminServiceAsyncStub
    finance: FinanceServiceAsyncStub

    @classmethod
    def over(cls, public: grpc.aio.Channel, back_office: grpc.aio.Channel) -> Self:
        return cls(
            CreditServiceStub(public),
            WalletServiceStub(public),
            AdminServiceStub(back_office),
            FinanceServiceStub(back_office),
        )


@asynccontextmanager
async def connect(public_target: str, back_office_target: str) -> AsyncIterator[Stubs]:
    """Stubs over channels of their own, to a server on loopback."""
    nobody = Access()
    async with (
        open_channel(public_target, nobody) as public,
        open_channel(back_office_target, nobody) as back_office,
    ):
        yield Stubs.over(public, back_office)
