"""A server's own clock is hours, days or decades apart from the database's, from the start or by a jump.

All instants of the books are the database's: what is booked is booked now, a hold lives as long as was asked.
"""

from __future__ import annotations

import os
import signal
import time
from datetime import datetime, timedelta

from google.protobuf.duration_pb2 import Duration

from ledger.v1.credit_service_pb2 import ReserveRequest
from tests.faults.compare import expect
from tests.faults.scene import Result, Scene, World, scene
from tests.faults.workload import CREDIT, sure

HOUR, DAY = 3_600.0, 86_400.0
TTL_SECONDS = 600
SLACK = timedelta(seconds=1)
RECOVERY_SECONDS = 60.0
_OUTSIDE = """
    SELECT c.customer_id, e.sequence, e.booked_at, e.effective_at
    FROM cell_00.entries e JOIN ledger.customers c USING (customer)
    WHERE e.booked_at NOT BETWEEN $1 AND $2 OR e.effective_at NOT BETWEEN $1 AND $2
"""


def shifts() -> tuple[float, ...]:
    """±1 h, ±1 day, and to 1970."""
    return HOUR, -HOUR, DAY, -DAY, -time.time()


async def run(world: World, count: int) -> Result:
    """In turns a start under a shift, and a jump from it to its opposite; beside a server that is right."""
    async with scene(world, "clock_apart") as stage:
        began_at = await _database_time(stage)
        file = world.build / stage.name / "shift"
        for number in range(count):
            shift = shifts()[number // 2 % len(shifts())]
            if number % 2 == 0:
                await _restart(stage, shift, str(file))
            else:
                file.write_text(str(-shift), encoding="utf-8")
                os.kill(stage.servers[0].pid, signal.SIGUSR1)
            stage.start_load()
            await stage.journal.acknowledgements(100, RECOVERY_SECONDS)
            await _check_hold(stage)
            await stage.stop_load()
            stage.result.injected += 1
        await stage.settle()
        await _check_instants(stage, began_at)
        shown = stage.servers[0].log().count("shifted clock: ")
        expect(stage.result.findings, shown >= count, f"{count} shifts, and only {shown} in force")
        await stage.check()
    return stage.result


async def _restart(stage: Scene, shift: float, file: str) -> None:
    """The first server anew, with its clock off; the second, made once, is right."""
    arguments = ("--shift", str(shift), file)
    if not stage.servers:
        await stage.serve(arguments=arguments)
        await stage.serve()
        await stage.populate()
        return
    await stage.servers[0].stop()
    stage.servers[0].command = stage.command(arguments)
    await stage.servers[0].start()


async def _check_hold(stage: Scene) -> None:
    """A hold made by the server whose clock is off begins now, and ends after its time to live."""
    request = ReserveRequest(
        request_id=stage.journal.request_id(),
        customer_id=stage.customers[1],
        amount_micros=CREDIT,
        ttl=Duration(seconds=TTL_SECONDS),
    )
    before = await _database_time(stage)
    reply = await sure(stage.servers[0], stage.journal, stage.journal.open("Reserve", request))
    after = await _database_time(stage)
    created = reply.reservation.created_at.ToDatetime(before.tzinfo)
    expires = reply.reservation.expires_at.ToDatetime(before.tzinfo)
    findings = stage.result.findings
    lived = expires - created
    expect(findings, lived == timedelta(seconds=TTL_SECONDS), f"a hold of {TTL_SECONDS} s lives {lived}")
    expect(
        findings,
        before - SLACK <= created <= after + SLACK,
        f"made at {created}, between {before} and {after}",
    )


async def _check_instants(stage: Scene, began_at: datetime) -> None:
    """Everything is booked, and due by the clock, while it happened."""
    async with stage.world.postgres.session(stage.database) as connection:
        ended_at = await connection.fetchval("SELECT clock_timestamp()")
        for row in await connection.fetch(_OUTSIDE, began_at - SLACK, ended_at + SLACK):
            stage.result.findings.other.append(f"booked outside of the run: {tuple(row)}")


async def _database_time(stage: Scene) -> datetime:
    async with stage.world.postgres.session(stage.database) as connection:
        now = await connection.fetchval("SELECT clock_timestamp()")
    if not isinstance(now, datetime):
        raise TypeError("the database tells an instant")
    return now
