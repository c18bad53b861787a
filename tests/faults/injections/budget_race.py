"""Four servers race for what one budget leaves: never more of it than its limit, and at last all of it.

More holds and charges come at once than it has room for; then commits and releases of those holds, beside
others that want the room; then holds of whatever is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from ledger.environment import environment_name
from ledger.v1.credit_service_pb2 import (
    FILL_UP_TO,
    ChargeRequest,
    CommitReservationRequest,
    ReleaseReservationRequest,
    ReserveRequest,
)
from tests.faults.calls import attempt
from tests.faults.compare import expect
from tests.faults.journal import Record, Refused, Unknown
from tests.faults.scene import Result, Scene, World, scene
from tests.faults.workload import CREDIT, PAUSE_SECONDS, make_customer
from tests.sample_plans import sample_with

SERVERS = 4
ROOM = 5
"""Holds or charges of one credit each, and a micro-credit more, are what the budget lets be taken."""
LIMIT_MICROS = ROOM * CREDIT + 1
TRIES = 16
"""Of one credit each, at once: most of them too many."""
ATTEMPTS_MAX = 100
CUSTOMER_CREDITS = 1_000
AT_ONCE = 20
"""Rounds under way at the same time, each of a customer of its own."""
PLAN = "limited"
_PLANS = f"""\
  {PLAN}: {{card: agents, budgets: {{all: {{limit: "{ROOM}.000001", window: TOTAL, notify: [50, 100]}}}}}}
"""
# What is counted: what is held, and what was charged. Nothing else happens to these customers.
_COUNTED = """
    SELECT c.customer_id, max(e.held_after + e.consumed_after) AS most, w.held + w.consumed AS now,
           (SELECT sum(s.state::bigint)::bigint FROM cell_00.states s
            WHERE s.customer = w.customer AND s.key LIKE 'budget:%') AS stored
    FROM cell_00.wallets w JOIN ledger.customers c USING (customer) JOIN cell_00.entries e USING (customer)
    GROUP BY c.customer_id, w.customer, w.held, w.consumed
"""


async def run(world: World, count: int) -> Result:
    """So many rounds; what was counted is added up from the entries at the end."""
    async with scene(world, "budget_race") as stage:
        config = sample_with(_PLANS, world.directory / f"plans-{stage.database}")
        await stage.serve(SERVERS, settings={environment_name("config_dir"): str(config)})
        for first in range(0, count, AT_ONCE):
            numbers = range(first, min(first + AT_ONCE, count))
            await asyncio.gather(*(_round(stage, f"spender-{number}") for number in numbers))
        await stage.settle()
        await _check_counts(stage)
        await stage.check()
    return stage.result


async def _round(stage: Scene, customer: str) -> None:
    await make_customer(stage.servers[0], stage.journal, customer, CUSTOMER_CREDITS, plan=PLAN)
    stage.customers.append(customer)
    tries = [_try(stage, customer, number) for number in range(TRIES)]
    taken = await _race(stage, tries)
    expect(
        stage.result.findings,
        len(taken) == ROOM,
        f"{customer}: {len(taken)} of {TRIES} were taken, where there is room for {ROOM}",
    )
    closers = [
        _closer(stage, record.replies[-1].reservation, number)
        for number, record in enumerate(record for record in taken if record.method == "Reserve")
    ]
    await _race(stage, [*closers, *(_try(stage, customer, number) for number in range(TRIES))])
    await _race(stage, [_rest(stage, customer) for _ in range(SERVERS)])
    stage.result.injected += 1


async def _race(stage: Scene, records: list[Record]) -> list[Record]:
    """Sends each by another server, all at once, until it is answered; those that were taken."""
    stage.rng.shuffle(records)
    await asyncio.gather(*(_send(stage, record, number) for number, record in enumerate(records)))
    reasons = {
        outcome.reason for record in records for outcome in record.outcomes if isinstance(outcome, Refused)
    }
    expect(stage.result.findings, reasons <= {"BUDGET_EXCEEDED"}, f"refused with {reasons}")
    return [record for record in records if record.state == "acknowledged"]


async def _send(stage: Scene, record: Record, number: int) -> None:
    """What a slow machine leaves without an outcome is sent again, as callers do."""
    server = stage.servers[number % len(stage.servers)]
    for _ in range(ATTEMPTS_MAX):
        if not isinstance(await attempt(server.ledger, stage.journal, record), Unknown):
            return
        await asyncio.sleep(PAUSE_SECONDS)


def _try(stage: Scene, customer: str, number: int) -> Record:
    """A hold or a charge of a credit."""
    request_id = stage.journal.request_id()
    if number % 4:
        return stage.journal.open(
            "Reserve", ReserveRequest(request_id=request_id, customer_id=customer, amount_micros=CREDIT)
        )
    return stage.journal.open(
        "Charge", ChargeRequest(request_id=request_id, customer_id=customer, amount_micros=CREDIT)
    )


def _closer(stage: Scene, reservation: Any, number: int) -> Record:
    """A final commit of some of the hold, or a release: both give room back."""
    named = {
        "request_id": stage.journal.request_id(),
        "customer_id": reservation.customer_id,
        "reservation_id": reservation.reservation_id,
    }
    if number % 2:
        return stage.journal.open("ReleaseReservation", ReleaseReservationRequest(**named))
    commit = CommitReservationRequest(**named, amount_micros=CREDIT // 3, final=True)
    return stage.journal.open("CommitReservation", commit)


def _rest(stage: Scene, customer: str) -> Record:
    """A hold of whatever is left."""
    reserve = ReserveRequest(
        request_id=stage.journal.request_id(),
        customer_id=customer,
        amount_micros=2 * LIMIT_MICROS,
        fill=FILL_UP_TO,
    )
    return stage.journal.open("Reserve", reserve)


async def _check_counts(stage: Scene) -> None:
    """Of each customer no entry left more than the limit, and the last one left it reached."""
    async with stage.world.postgres.session(stage.database) as connection:
        counted: Iterable[Any] = await connection.fetch(_COUNTED)
    for customer, most, now, stored in counted:
        expect(
            stage.result.findings,
            most == now == stored == LIMIT_MICROS,
            f"{customer}: of {LIMIT_MICROS} were taken {most} at most, {now} in the end; counted is {stored}",
        )
