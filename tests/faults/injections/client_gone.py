"""The client goes away in the middle of a call: it cancels, its deadline passes, its socket is cut.

A call that nobody waits for any more is carried out all the same, or not at all; which, a retry tells.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from ledger.v1.credit_service_pb2 import ChargeRequest, ReserveRequest
from ledger.v1.credit_service_pb2_grpc import CreditServiceStub
from tests.faults.calls import attempt, attempt_and_forget
from tests.faults.journal import Answered, Record
from tests.faults.relay import Relay
from tests.faults.scene import Result, Scene, World, scene
from tests.faults.servers import Server, channel_to
from tests.faults.workload import CREDIT

WAYS = ("cancel", "deadline", "socket cut")
GONE_SECONDS_MAX = 0.02
"""After the call began: before it arrives, while it waits for its batch, after its reply."""
LOAD_CLIENTS = 4
"""Who stay."""


async def run(world: World, count: int) -> Result:
    """In turns each of the ways, while other clients work on; some of the gone ones retry at once."""
    async with scene(world, "client_gone") as stage:
        server = await stage.serve()
        await stage.populate()
        relay = Relay(server.public)
        await relay.open()
        stage.start_load(LOAD_CLIENTS)
        in_time = 0
        for number in range(count):
            record = _write(stage)
            await _go(stage, server, relay, record, WAYS[number % len(WAYS)])
            in_time += isinstance(record.outcomes[0], Answered)
            if stage.rng.random() < 0.5:
                await attempt(server.ledger, stage.journal, record)
            stage.result.injected += 1
        stage.result.notes["answered_before_they_went"] = in_time
        await stage.stop_load()
        await stage.settle()
        relay.close()
        await stage.check()
    return stage.result


def _write(stage: Scene) -> Record:
    """Alternately for the hot customer and for another."""
    customer = stage.rng.choice([stage.customers[0], *stage.customers])
    request_id, amount = stage.journal.request_id(), stage.rng.randrange(1, CREDIT)
    if stage.rng.random() < 0.5:
        charge = ChargeRequest(request_id=request_id, customer_id=customer, amount_micros=amount)
        return stage.journal.open("Charge", charge)
    reserve = ReserveRequest(request_id=request_id, customer_id=customer, amount_micros=amount)
    return stage.journal.open("Reserve", reserve)


async def _go(stage: Scene, server: Server, relay: Relay, record: Record, way: str) -> None:
    """Sends a write and goes away, somewhere in the middle of it."""
    after_seconds = stage.rng.random() * GONE_SECONDS_MAX
    if way == "deadline":
        await attempt(server.ledger, stage.journal, record, timeout_seconds=after_seconds)
        return
    if way == "cancel":
        call = asyncio.create_task(attempt_and_forget(server.ledger, stage.journal, record))
        await asyncio.sleep(after_seconds)
        call.cancel()
        await call
        return
    async with channel_to(relay.target) as channel:
        await channel.channel_ready()
        ledger = replace(server.ledger, credits=CreditServiceStub(channel))
        call = asyncio.create_task(attempt_and_forget(ledger, stage.journal, record))
        await asyncio.sleep(after_seconds)
        relay.cut()
        await call
