"""An older base backup is restored under two servers that run on.

By turns as a copy of the server, on its timeline, so that the start of the server alone tells; and with a
recovery that ends on a timeline of its own. After the backup a card is published and a customer created on
it: both are lost, and the card's first version is published again at another price. What was acknowledged and
is lost is sent again; nothing else may be wrong, and no price or name of what is lost be met again.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

import grpc

from ledger.admin.v1.admin_service_pb2 import CreateCustomerRequest, Customer, PublishRateCardRequest
from ledger.v1.credit_service_pb2 import ChargeRequest
from ledger.v1.usage_pb2 import UnitUsage, UsageItem, UsageList
from ledger.v1.wallet_service_pb2 import GetBalanceRequest
from tests.faults.calls import UNANSWERED, attempt
from tests.faults.compare import expect
from tests.faults.injections.failover import (
    LONE_CREDITS,
    RECOVERY_SECONDS,
    charge,
    finish,
    open_pair,
    quiet,
    reopen_lost,
)
from tests.faults.journal import Answered, Record, Refused
from tests.faults.postgres import Postgres
from tests.faults.scene import Result, Scene, World, scene
from tests.faults.workload import CREDIT, PAUSE_SECONDS, grant, make_customer, sure

_CARD = """
card: {card}
revision: 1
credit: credit
credit_price_usd: "1"
rules:
  - name: calls
    match: {{units: voice_action}}
    price: {{each: "{each}"}}
"""
_LOST_PRICE, _NEW_PRICE = 2, 3
"""Credits a call, by version 1 of the card that is lost, and by version 1 as it is published then."""


async def run(world: World, count: int) -> Result:
    """Stops the database and starts a backup of it that is some hundred writes older."""
    async with AsyncExitStack() as life:
        pair = await life.enter_async_context(open_pair(world, "restore"))
        own = replace(world, postgres=pair.primary)
        stage = await life.enter_async_context(scene(own, "restore", pair.address))
        await stage.serve(2)
        await stage.populate()
        stage.start_load()
        # As at a failover: a call may tell of writes that are lost when it ends.
        under_way: list[Record] = []
        for number in range(count):
            lone, late = f"lone-{number}", f"late-{number}"
            await make_customer(stage.servers[0], stage.journal, lone, LONE_CREDITS)
            backup = await pair.back_up(to_another_timeline=number % 2 == 1)
            timeline = await _timeline(pair.primary)
            await _publish(stage, late, _LOST_PRICE)
            created = await _create(stage, late)
            await _expect_price(stage, 0, late, _LOST_PRICE)
            await charge(stage, 0, lone)
            await stage.journal.acknowledgements(stage.rng.randrange(40, 200), RECOVERY_SECONDS)
            pair.primary.stop()
            await quiet(stage)
            await pair.restore(backup)
            own.postgres = backup
            if await _timeline(backup) != timeline + number % 2:
                raise AssertionError(f"the backup is on timeline {await _timeline(backup)}, of {timeline}")
            under_way += stage.journal.unknown()
            await reopen_lost(stage, stage.journal)
            pair.lead()
            await stage.journal.acknowledgements(1, RECOVERY_SECONDS)
            for server in range(2):
                await _expect_nobody(stage, server, late)
            # At the sequence that the first server knows there is now what the second one wrote.
            await charge(stage, 1, lone)
            await charge(stage, 0, lone)
            await _publish(stage, late, _NEW_PRICE)
            for record in created:
                await sure(stage.servers[0], stage.journal, record)
            for server in (1, 0):
                await _expect_price(stage, server, late, _NEW_PRICE)
            stage.result.injected += 1
        await finish(stage, under_way)
    return stage.result


async def _timeline(server: Postgres) -> int:
    """The one that the log is written under."""
    async with server.session("postgres") as connection:
        name = await connection.fetchval("SELECT pg_walfile_name(pg_current_wal_lsn())")
        return int(name[:8], 16)


async def _publish(stage: Scene, card: str, each: int) -> None:
    """The first version of a card, at so many credits a call; sent again while there is no answer."""
    document = _CARD.format(card=card, each=each)
    request = PublishRateCardRequest(document=document)
    async with asyncio.timeout(RECOVERY_SECONDS):
        while True:
            try:
                done = await stage.servers[0].ledger.admin.PublishRateCard(request)
            except grpc.aio.AioRpcError as error:
                if error.code() not in UNANSWERED:
                    raise
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                number = done.version.number
                expect(stage.result.findings, number == 1, f"card {card}: published as version {number}")
                return


async def _create(stage: Scene, customer_id: str) -> list[Record]:
    """A customer on the card of its own name, and what made it."""
    journal = stage.journal
    create = CreateCustomerRequest(
        request_id=journal.request_id(),
        customer=Customer(customer_id=customer_id, plan="standard", rate_card=customer_id),
    )
    records = [
        journal.open("CreateCustomer", create),
        journal.open("IssueGrant", grant(journal, customer_id, LONE_CREDITS)),
    ]
    for record in records:
        await sure(stage.servers[0], journal, record)
    return records


async def _expect_price(stage: Scene, server: int, customer_id: str, each: int) -> None:
    """A call costs so many credits: nothing else, though a server may not know the card for a moment."""
    async with asyncio.timeout(RECOVERY_SECONDS):
        while True:
            call = UsageItem(units=UnitUsage(meter="voice_action", quantity="1"))
            charged = ChargeRequest(
                request_id=stage.journal.request_id(), customer_id=customer_id, usage=UsageList(items=[call])
            )
            outcome = await attempt(
                stage.servers[server].ledger, stage.journal, stage.journal.open("Charge", charged)
            )
            if isinstance(outcome, Answered):
                break
            if isinstance(outcome, Refused) and outcome.reason != "RATE_CARD_NOT_FOUND":
                raise AssertionError(f"{customer_id} on server {server}: {outcome}")
            await asyncio.sleep(PAUSE_SECONDS)
    micros = outcome.reply.charge.charged_micros
    expect(
        stage.result.findings,
        micros == each * CREDIT,
        f"{customer_id} on server {server}: a call for {micros} micro-credits, {each * CREDIT} published",
    )


async def _expect_nobody(stage: Scene, server: int, customer_id: str) -> None:
    """No read answers by the name of a customer who is lost."""
    async with asyncio.timeout(RECOVERY_SECONDS):
        while True:
            try:
                await stage.servers[server].ledger.wallet.GetBalance(
                    GetBalanceRequest(customer_id=customer_id)
                )
            except grpc.aio.AioRpcError as error:
                if error.code() == grpc.StatusCode.NOT_FOUND:
                    return
                if error.code() not in UNANSWERED:
                    raise
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                stage.result.findings.other.append(f"{customer_id} is lost, and server {server} reads it")
                return
