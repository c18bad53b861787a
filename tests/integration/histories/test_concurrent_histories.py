"""Sixteen clients on a few shared customers, against one server and against two.

ROUNDS=20 ROUND_SECONDS=10 pytest tests/integration/histories      more of the same
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, time, timedelta

import grpc.aio
import pytest
from concurrent_clients import Client, Server, Shared
from histories_mirror import MINUTE, Mirror
from histories_requests import update_of
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
NEW_CUSTOMERS = ("available", "daily-10", "daily-6")
"""Of each round, by their plans. They live for two, so that what one has left is there, and expires, in the
next."""
PAUSE_MINUTES = 6
"""Between two rounds: longer than any hold lives."""
CLOCKS_APART = timedelta(seconds=1)

_BY_CLOCK = """
SELECT e.sequence FROM cell_00.entries e JOIN ledger.customers c USING (customer)
WHERE c.customer_id = $1 AND e.sequence > $2 AND e.request_id IS NULL ORDER BY e.sequence
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
        pairs: list[tuple[Mirror, Shared]] = []
        for turn in range(ROUNDS):
            written = [mirror.account.sequence for mirror, _ in pairs]
            minute = await _pass_time(service, until_midnight=turn % 2 == 1)
            for mirror, shared in pairs:
                mirror.pass_minutes((minute - mirror.began) // MINUTE - mirror.account.minute)
                shared.operations.clear()
                await ends[0].call(shared, update_of(shared.customer_id, "display_name", f"Ada {turn}"))
            pairs += [await _begin(ends[0], minute, plan) for plan in NEW_CUSTOMERS]
            written += [mirror.account.sequence for mirror, _ in pairs[-len(NEW_CUSTOMERS) :]]
            customers = [shared for _, shared in pairs]
            clients = [Client(ends[n % servers], customers, seed=100 * turn + n) for n in range(CLIENTS)]
            async with _watched(service):
                await asyncio.gather(*(client.run(ROUND_SECONDS) for client in clients))
            for (mirror, shared), since in zip(pairs, written, strict=True):
                replay(mirror, shared.operations, await _by_clock(service, mirror, since))
                if not mirror.account.is_beyond:
                    read = wallet.GetBalanceRequest(customer_id=mirror.customer_id)
                    found = await WalletServiceStub(doors[0][0]).GetBalance(read)
                    assert found.balance == mirror.balance()
            pairs = [pair for pair in pairs[-len(NEW_CUSTOMERS) :] if not pair[0].account.is_beyond]
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


async def _pass_time(service: Service, *, until_midnight: bool) -> datetime:
    """Let all holds expire, or a day end: give the minute that has begun."""
    now = await service.now()
    minute = now.replace(second=0, microsecond=0) + PAUSE_MINUTES * MINUTE
    if until_midnight:
        minute = datetime.combine(minute, time.min, UTC) + timedelta(days=1)
    await service.move_clock(minute + CLOCKS_APART - now)
    return minute


async def _begin(server: Server, minute: datetime, plan: str) -> tuple[Mirror, Shared]:
    """Make a customer with some credits."""
    mirror = Mirror(f"customer-{fresh()}", datetime.combine(minute, time.min, UTC), alone=False)
    mirror.account.minute = (minute - mirror.began) // MINUTE
    shared = Shared(mirror.customer_id)
    customer = admin.Customer(customer_id=mirror.customer_id, display_name="Ada", plan=plan)
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
    shared.operations.clear()
    return mirror, shared


async def _by_clock(service: Service, mirror: Mirror, since: int) -> list[int]:
    """Give the sequences of what the clock has written since one."""
    rows = await service.owner.fetch(_BY_CLOCK, mirror.customer_id, since)
    return [row["sequence"] for row in rows]
