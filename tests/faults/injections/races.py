"""Two and four servers race for one customer's last credits, and for one reservation.

For the credits: more charges at once than there are credits for. For the reservation: final commits and
releases at once, in half of the rounds at the instant at which it expires.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from google.protobuf.duration_pb2 import Duration

from ledger.v1.credit_service_pb2 import (
    ChargeRequest,
    CommitReservationRequest,
    ReleaseReservationRequest,
    ReserveRequest,
)
from tests.faults.calls import attempt
from tests.faults.compare import expect
from tests.faults.journal import Record, Refused
from tests.faults.scene import Result, Scene, World, scene
from tests.faults.workload import CREDIT, make_customer, sure

SERVERS = (2, 4)
CREDITS = 5
CHARGES = 9
"""Of one credit each, at once: so many too many."""
CLOSERS = 8
"""Commits and releases of one reservation at once."""
AT_ONCE = 20
"""Rounds under way at the same time, each of a customer of its own."""
JITTER_SECONDS = 0.3


async def run(world: World, count: int) -> Result:
    """A third of the rounds for credits, the others for reservations; half of each with four servers."""
    async with scene(world, "races") as stage:
        tally: Counter[str] = Counter()
        for servers in SERVERS:
            await stage.serve(servers - len(stage.servers))
            rounds = count // len(SERVERS)
            for first in range(0, rounds, AT_ONCE):
                numbers = range(first, min(first + AT_ONCE, rounds))
                await asyncio.gather(
                    *(_round(stage, f"{servers}-{number}", number, tally) for number in numbers)
                )
        await stage.settle()
        await stage.check()
        stage.result.notes.update(tally)
    return stage.result


async def _round(stage: Scene, name: str, number: int, tally: Counter[str]) -> None:
    customer = f"racer-{name}"
    await make_customer(stage.servers[0], stage.journal, customer, CREDITS)
    stage.customers.append(customer)
    if number % 3 == 0:
        await _last_credits(stage, customer)
    else:
        await _one_reservation(stage, customer, expires=number % 3 == 1, tally=tally)
    stage.result.injected += 1


async def _race(stage: Scene, records: list[Record]) -> None:
    """Sends each by another server, all at once."""
    stage.rng.shuffle(records)
    await asyncio.gather(
        *(
            attempt(stage.servers[number % len(stage.servers)].ledger, stage.journal, record)
            for number, record in enumerate(records)
        )
    )


async def _last_credits(stage: Scene, customer: str) -> None:
    """As many charges succeed as there are credits for, and the others are refused for want of them."""
    records = [
        stage.journal.open(
            "Charge",
            ChargeRequest(request_id=stage.journal.request_id(), customer_id=customer, amount_micros=CREDIT),
        )
        for _ in range(CHARGES)
    ]
    await _race(stage, records)
    charged = sum(record.state == "acknowledged" for record in records)
    findings = stage.result.findings
    expect(findings, charged == CREDITS, f"{customer}: {charged} charges of {CREDITS} that can be paid")
    reasons = {
        outcome.reason for record in records for outcome in record.outcomes if isinstance(outcome, Refused)
    }
    expect(findings, reasons <= {"INSUFFICIENT_CREDITS"}, f"{customer}: refused with {reasons}")


async def _one_reservation(stage: Scene, customer: str, *, expires: bool, tally: Counter[str]) -> None:
    """One closes it: a final commit or a release, and the clock may be faster than either."""
    ttl_seconds = 1 if expires else 600
    reserve = ReserveRequest(
        request_id=stage.journal.request_id(),
        customer_id=customer,
        amount_micros=2 * CREDIT,
        ttl=Duration(seconds=ttl_seconds),
    )
    held = await sure(stage.servers[0], stage.journal, stage.journal.open("Reserve", reserve))
    if expires:
        await asyncio.sleep(ttl_seconds + (stage.rng.random() - 0.5) * JITTER_SECONDS)
    records = [_closer(stage, held.reservation, number) for number in range(CLOSERS)]
    await _race(stage, records)
    closed = [record for record in records if record.state == "acknowledged"]
    tally[f"closed by {closed[0].method}" if closed else "closed by nobody"] += 1
    findings = stage.result.findings
    expect(findings, len(closed) == 1, f"{customer}: closed {len(closed)} times: {closed}")
    allowed = {"RESERVATION_CLOSED", *(["RESERVATION_EXPIRED"] if expires else [])}
    reasons = {
        outcome.reason for record in records for outcome in record.outcomes if isinstance(outcome, Refused)
    }
    expect(findings, reasons <= allowed, f"{customer}: refused with {reasons}")


def _closer(stage: Scene, reservation: Any, number: int) -> Record:
    """A final commit, or a release."""
    request_id = stage.journal.request_id()
    if number % 2:
        release = ReleaseReservationRequest(
            request_id=request_id,
            customer_id=reservation.customer_id,
            reservation_id=reservation.reservation_id,
        )
        return stage.journal.open("ReleaseReservation", release)
    commit = CommitReservationRequest(
        request_id=request_id,
        customer_id=reservation.customer_id,
        reservation_id=reservation.reservation_id,
        amount_micros=CREDIT,
        final=True,
    )
    return stage.journal.open("CommitReservation", commit)
