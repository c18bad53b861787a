"""A receiver of events that fails in every way, and a server that is killed while it delivers to it.

Each event has to be taken in the end, those of a customer in order: none before the one ahead of it was.
What was taken without an answer comes again, which is no fault.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ledger.admin.v1.admin_service_pb2 import CreateWebhookRequest
from ledger.environment import environment_name
from tests.faults.compare import expect
from tests.faults.scene import Result, Scene, World, scene

RECOVERY_SECONDS = 60.0
DELIVERY_SECONDS = 120.0
"""For all that is left at the end."""
LOOK_SECONDS = 0.5
TAKES, TAKES_UNANSWERED, REFUSES, LEAVES = "takes", "takes unanswered", "refuses", "leaves"
_WAYS = (TAKES, TAKES, TAKES_UNANSWERED, REFUSES, LEAVES)
_TAKEN, _REFUSED = (f"HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n".encode() for status in (204, 503))
_WRITTEN = "SELECT customer_id, customer_number FROM ledger.events WHERE customer <> 0"
_AT_ONCE = "UPDATE ledger.webhook_queue SET due_at = now(), attempts = 1 WHERE due_at > now()"
"""Stands for the hours that pass between attempts; none is the last."""
_LEASE_ENDS = "UPDATE ledger.webhook_endpoints SET leased_until = now() WHERE leased_until > now()"
"""Stands for the minute that a server which was killed holds its endpoint."""
FAILURES = 5
"""Between two kills, so that each server meets some."""


class Receiver:
    """Whoever events are delivered to."""

    def __init__(self, rng: random.Random) -> None:
        self.port = 0
        self.is_well = False
        self.taken: defaultdict[str, list[int]] = defaultdict(list)
        """Numbers of each customer's events as they were taken; repeats are left out."""
        self.early: list[str] = []
        """Events that came before the one ahead of them was taken."""
        self.failures = 0
        self._rng = rng

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
                event = json.loads(await reader.readexactly(int(length)))
                way = TAKES if self.is_well else self._rng.choice(_WAYS)
                self.failures += way != TAKES
                self._meet(event["customer_id"], event["number"], is_taken=way in (TAKES, TAKES_UNANSWERED))
                if way in (TAKES_UNANSWERED, LEAVES):
                    return
                writer.write(_TAKEN if way == TAKES else _REFUSED)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def fails(self, more: int, within_seconds: float) -> None:
        """Waits until so many more deliveries have failed. Raises TimeoutError."""
        target = self.failures + more
        async with asyncio.timeout(within_seconds):
            while self.failures < target:  # noqa: ASYNC110 -- a look a second will do
                await asyncio.sleep(LOOK_SECONDS)

    def _meet(self, customer_id: str, number: int, *, is_taken: bool) -> None:
        taken = self.taken[customer_id]
        if number > len(taken) + 1:
            self.early.append(f"event {number} of {customer_id} came before {len(taken) + 1} was taken")
        if is_taken and number == len(taken) + 1:
            taken.append(number)


@asynccontextmanager
async def receiving(rng: random.Random) -> AsyncIterator[Receiver]:
    """A receiver that fails, until it is said to be well."""
    receiver = Receiver(rng)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()


async def run(world: World, count: int) -> Result:
    """So many times the server is killed, and another started at once; then the receiver is well."""
    async with scene(world, "receiver_failing") as stage, receiving(stage.rng) as receiver:
        settings = {environment_name("webhooks_private"): "1"}
        server = await stage.serve(settings=settings)
        url = f"http://127.0.0.1:{receiver.port}/"
        await server.ledger.admin.CreateWebhook(CreateWebhookRequest(request_id="1", url=url))
        await stage.populate()
        stage.start_load()
        hurry = asyncio.create_task(_hurry(stage))
        left: set[int] = set()
        for _ in range(count):
            await stage.journal.acknowledgements(stage.rng.randrange(50, 200), RECOVERY_SECONDS)
            await receiver.fails(FAILURES, RECOVERY_SECONDS)
            left |= await stage.kill(server)
            await server.start()
            stage.result.injected += 1
        await stage.journal.acknowledgements(100, RECOVERY_SECONDS)
        await stage.stop_load()
        await world.postgres.gone(stage.database, left)
        await stage.settle()
        await _deliver_the_rest(stage, receiver)
        hurry.cancel()
        await stage.check()
    return stage.result


async def _hurry(stage: Scene) -> None:
    """Has what failed tried again within a second, until it is cancelled: no other server delivers."""
    async with stage.world.postgres.session(stage.database) as connection:
        while True:
            await connection.execute(_AT_ONCE)
            await connection.execute(_LEASE_ENDS)
            await asyncio.sleep(LOOK_SECONDS)


async def _deliver_the_rest(stage: Scene, receiver: Receiver) -> None:
    """Waits until a receiver that is well has taken every event, and enters those that it never did."""
    receiver.is_well = True
    findings = stage.result.findings
    written: set[tuple[str, int]] = set()
    taken: set[tuple[str, int]] = set()
    async with stage.world.postgres.session(stage.database) as connection:
        for _ in range(int(DELIVERY_SECONDS / LOOK_SECONDS)):
            written = {(row[0], row[1]) for row in await connection.fetch(_WRITTEN)}
            taken = {(customer, number) for customer, own in receiver.taken.items() for number in own}
            if taken >= written:
                break
            await asyncio.sleep(LOOK_SECONDS)
    findings.lost += [f"event {number} of {customer} was never taken" for customer, number in written - taken]
    findings.other += receiver.early
    expect(findings, receiver.failures > 0, "the receiver never failed")
    findings.effects_checked += len(written)
    stage.result.notes |= {"events_taken": len(taken), "deliveries_failed": receiver.failures}
