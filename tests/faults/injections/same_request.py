"""The same request id 50 at once, some with another body, on two servers; and the same again, later.

Later: when the wallet has left memory (new processes), when the card has changed (other prices), and when the
credits are gone.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf.duration_pb2 import Duration

from ledger.sample import SAMPLE_CONFIG
from ledger.v1.credit_service_pb2 import (
    FILL_UP_TO,
    ChargeRequest,
    CommitReservationRequest,
    ReleaseReservationRequest,
    ReserveRequest,
)
from tests.faults.calls import attempt
from tests.faults.compare import expect
from tests.faults.journal import Answered, Outcome, Record, Refused
from tests.faults.scene import Result, Scene, World, scene
from tests.faults.workload import CREDIT, sure, usage

AT_ONCE = 50
OTHER_BODIES = 10
"""Of them, with another body."""
AGAIN = 2
"""How often each is repeated in each of the later situations."""
CUSTOMERS = 5
REUSED = "REQUEST_ID_REUSED"


async def run(world: World, count: int) -> Result:
    """Each round one id, 50 calls; then all ids again in each of the later situations."""
    async with scene(world, "same_request") as stage:
        await stage.serve(2)
        await stage.populate(CUSTOMERS)
        pairs = []
        for number in range(count):
            pair = await _pair(stage, number)
            await _at_once(stage, *pair)
            pairs.append(pair)
            stage.result.injected += 1
        await _again(stage, pairs, "at once")
        await _restart(stage)
        await _again(stage, pairs, "after the wallets left memory")
        await _restart(stage, _dearer(world.build / stage.name / "dearer"))
        await _again(stage, pairs, "after the card changed")
        await _spend_all(stage)
        await _again(stage, pairs, "after the credits are gone")
        await stage.settle()
        await stage.check()
    return stage.result


async def _pair(stage: Scene, number: int) -> tuple[Record, Record]:
    """A request and another one under its id, as records."""
    rng = stage.rng
    customer = stage.customers[number % len(stage.customers)]
    held = await sure(
        stage.servers[0], stage.journal, stage.journal.open("Reserve", _reserve(stage, customer))
    )
    reservation = held.reservation.reservation_id
    request_id = stage.journal.request_id()
    amounts = rng.sample(range(1, CREDIT), 2)
    kind = ("Reserve", "Charge", "CommitReservation", "ReleaseReservation")[number % 4]
    requests: list[Any] = []
    for amount in amounts:
        match kind:
            case "Reserve":
                request: Any = ReserveRequest(customer_id=customer, ttl=Duration(seconds=600))
                request.usage.CopyFrom(usage(rng))
            case "Charge":
                request = ChargeRequest(customer_id=customer)
                request.usage.CopyFrom(usage(rng))
            case "CommitReservation":
                request = CommitReservationRequest(
                    customer_id=customer, reservation_id=reservation, amount_micros=amount, final=True
                )
            case _:
                request = ReleaseReservationRequest(customer_id=customer, reservation_id=reservation)
        request.request_id = request_id
        requests.append(request)
    if kind == "ReleaseReservation":
        # A release has nothing else to say: the other body is another method's.
        requests[1] = ChargeRequest(request_id=request_id, customer_id=customer, amount_micros=amounts[1])
        return stage.journal.open(kind, requests[0]), stage.journal.open("Charge", requests[1])
    return stage.journal.open(kind, requests[0]), stage.journal.open(kind, requests[1])


def _reserve(stage: Scene, customer: str) -> ReserveRequest:
    return ReserveRequest(
        request_id=stage.journal.request_id(),
        customer_id=customer,
        amount_micros=CREDIT,
        ttl=Duration(seconds=3600),
    )


async def _at_once(stage: Scene, first: Record, other: Record) -> None:
    """All 50 at once, on both servers: one of the two requests has its effect, once."""
    records = [first] * (AT_ONCE - OTHER_BODIES) + [other] * OTHER_BODIES
    stage.rng.shuffle(records)
    await asyncio.gather(
        *(
            attempt(stage.servers[number % 2].ledger, stage.journal, record)
            for number, record in enumerate(records)
        )
    )
    findings = stage.result.findings
    winners = [record for record in (first, other) if record.replies]
    expect(findings, len(winners) == 1, f"{first.key}: {len(winners)} of two requests were acknowledged")
    for record in winners:
        news = sum(not reply.replayed for reply in record.replies)
        expect(findings, news == 1, f"{record.key}: answered as new {news} times")
    for record in (first, other):
        wanted = Answered if record in winners else Refused
        for outcome in record.outcomes:
            right = isinstance(outcome, wanted) and getattr(outcome, "reason", REUSED) == REUSED
            expect(findings, right, f"{record.key}: {record.method} at once: {outcome}")


async def _again(stage: Scene, pairs: Sequence[tuple[Record, Record]], when: str) -> None:
    """Repeats of what had its effect get the same answer; the other request is still told of the id's use."""
    findings = stage.result.findings
    before = {record: len(record.outcomes) for pair in pairs for record in pair}
    repeats = [record for pair in pairs for record in pair] * AGAIN
    random.Random(when).shuffle(repeats)  # noqa: S311 -- chances, not secrets
    limit = asyncio.Semaphore(AT_ONCE)

    async def repeat(number: int, record: Record) -> None:
        async with limit:
            await attempt(stage.servers[number % 2].ledger, stage.journal, record)

    await asyncio.gather(*(repeat(number, record) for number, record in enumerate(repeats)))
    for record, seen in before.items():
        won = isinstance(record.outcomes[0], Answered)
        for outcome in record.outcomes[seen:]:
            right = _repeats(outcome, record.replies[0]) if won else outcome == Refused(REUSED)
            expect(findings, right, f"{record.key}: {record.method} {when}: {outcome}")


def _repeats(outcome: Outcome, first: Any) -> bool:
    """Whether it is the first answer again, marked as a repeat."""
    return isinstance(outcome, Answered) and outcome.reply.replayed and _same(outcome.reply, first)


def _same(reply: Any, first: Any) -> bool:
    """Whether two replies are the same but for the mark of a repeat."""
    copies = [type(reply).FromString(each.SerializeToString()) for each in (reply, first)]
    for copy in copies:
        copy.replayed = False
    return bool(copies[0] == copies[1])


async def _restart(stage: Scene, config: Path | None = None) -> None:
    """New processes, whose memory is empty; with other prices, if wanted."""
    for server in stage.servers:
        await server.stop()
        server.config = config
        await server.start()


def _dearer(directory: Path) -> Path:
    """The sample configuration with a new revision of its first card."""
    shutil.copytree(SAMPLE_CONFIG, directory)
    card = directory / "cards" / "agents.yaml"
    text = card.read_text(encoding="utf-8")
    dearer = text.replace("revision: 1", "revision: 2").replace('margin: "30%"', 'margin: "90%"')
    dearer = dearer.replace('per_hour: "0.50"', 'per_hour: "5"')
    card.write_text(dearer, encoding="utf-8")
    return directory


async def _spend_all(stage: Scene) -> None:
    """Nothing is available any more to any customer."""
    for customer in stage.customers:
        everything = _reserve(stage, customer)
        everything.amount_micros = 10**15
        everything.fill = FILL_UP_TO
        reply = await sure(stage.servers[0], stage.journal, stage.journal.open("Reserve", everything))
        expect(stage.result.findings, reply.balance.available_micros == 0, f"{customer}: credits are left")
