"""Sixteen clients on a few shared customers, against one server and against two.

ROUNDS=20 ROUND_SECONDS=10 pytest tests/integration/histories      more of the same
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import grpc.aio
import pytest
from concurrent_clients import Client, Server, Shared
from histories_mirror import MINUTE, Mirror
from histories_service import Service, serving
from replay import replay

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.finance.v1 import finance_service_pb2 as finance
from ledger.finance.v1.finance_service_pb2_grpc import FinanceServiceStub
from ledger.followers.watch import Watch
from ledger.metrics.operations import OperationsMetrics
from ledger.store.postgres.embedded import EmbeddedPostgres
from ledger.v1 import wallet_service_pb2 as wallet
from ledger.v1.wallet_service_pb2_grpc import WalletServiceStub
from tests.calling import fresh

ROUNDS = int(os.environ.get("ROUNDS", "5"))
ROUND_SECONDS = float(os.environ.get("ROUND_SECONDS", "1"))
"""Less than a minute: in a round the model's clock stands."""
CLIENTS = 16
NEW_CUSTOMERS = 3
"""Of each round. They live for two, so that what one has left is there, and expires, in the next."""
PAUSE_MINUTES = 6
"""Between two rounds: longer than any hold lives."""
CLOCKS_APART = timedelta(seconds=1)

_EXPIRED = """
SELECT e.sequence, e.reservation FROM cell_00.entries e JOIN ledger.customers c USING (customer)
WHERE c.customer_id = $1 AND e.sequence > $2 AND e.kind = 'RESERVATION_EXPIRED'
"""


@pytest.mark.timeout(120 + 10 * ROUNDS * ROUND_SECONDS)
@pytest.mark.parametrize("servers", [1, 2])
async def test_concurrent_histories_have_one_order(postgres: EmbeddedPostgres, servers: int) -> None:
    """In the order of `sequence` every reply is what the model says, and that order holds in real time."""
    async with serving(postgres, f"concurrent_{servers}", servers) as service, AsyncExitStack() as life:
        doors = [
            await _channels(life, stack.public_target, stack.back_office_target) for stack in service.stacks
        ]
        ends = [Server(*channels) for channels in doors]
        mirrors = [await _begin(service, ends[0]) for _ in range(NEW_CUSTOMERS)]
        customers = [Shared(mirror.customer_id) for mirror in mirrors]
        for turn in range(ROUNDS):
            for shared, mirror in zip(customers, mirrors, strict=True):
                shared.operations.clear()
                mirror.began = await service.now() - CLOCKS_APART - mirror.account.minute * MINUTE
            clients = [Client(ends[n % servers], customers, seed=100 * turn + n) for n in range(CLIENTS)]
            async with _watched(service):
                await asyncio.gather(*(client.run(ROUND_SECONDS) for client in clients))
            for shared, mirror in zip(customers, mirrors, strict=True):
                replay(mirror, shared.operations, await _expired(service, mirror, shared))
                read = wallet.GetBalanceRequest(customer_id=mirror.customer_id)
                found = await WalletServiceStub(doors[0][0]).GetBalance(read)
                assert found.balance == mirror.balance()
            new = [await _begin(service, ends[0]) for _ in range(NEW_CUSTOMERS)]
            mirrors = [*mirrors[-NEW_CUSTOMERS:], *new]
            customers = [*customers[-NEW_CUSTOMERS:], *(Shared(mirror.customer_id) for mirror in new)]
            await service.move_clock(PAUSE_MINUTES * MINUTE)
            for mirror in mirrors:
                mirror.account.minute += PAUSE_MINUTES
        verified = await FinanceServiceStub(doors[0][1]).VerifyJournal(finance.VerifyJournalRequest())
        assert verified.holds, verified.violations
        assert await service.owner.fetchval("SELECT count(*) FROM cell_00.findings") == 0


@asynccontextmanager
async def _watched(service: Service) -> AsyncIterator[None]:
    """Verifies the books without a pause, from aside: whoever is at work meanwhile is not stopped."""
    watch = Watch(service.database, ("cell_00",), OperationsMetrics())
    is_over = asyncio.Event()

    async def verify() -> None:
        while not is_over.is_set():
            assert await watch.verify_all() == 0

    async with asyncio.TaskGroup() as group:
        group.create_task(verify())
        yield
        is_over.set()


async def _channels(
    life: AsyncExitStack, public: str, back_office: str
) -> tuple[grpc.aio.Channel, grpc.aio.Channel]:
    return (
        await life.enter_async_context(grpc.aio.insecure_channel(public)),
        await life.enter_async_context(grpc.aio.insecure_channel(back_office)),
    )


async def _begin(service: Service, server: Server) -> Mirror:
    """Make a customer with some credits."""
    mirror = Mirror(f"customer-{fresh()}", await service.now() - CLOCKS_APART, alone=False)
    shared = Shared(mirror.customer_id)
    customer = admin.Customer(customer_id=mirror.customer_id, display_name="Ada", plan="available")
    await server.call(shared, admin.CreateCustomerRequest(request_id=fresh(), customer=customer))
    grant = admin.IssueGrantRequest(
        request_id=fresh(),
        customer_id=mirror.customer_id,
        amount_micros=60,
        kind=wallet.GRANT_KIND_PAID,
        paid_total_usd="0.00000006",
    )
    await server.call(shared, grant)
    for operation in shared.operations:
        mirror.judge(operation.request, operation.outcome)
    return mirror


async def _expired(service: Service, mirror: Mirror, shared: Shared) -> dict[int, str]:
    """Give the holds that the clock has ended since the mirror was last brought up to date."""
    rows = await service.owner.fetch(_EXPIRED, mirror.customer_id, mirror.account.sequence)
    return {row["sequence"]: shared.made[row["reservation"]] for row in rows}
