"""Failovers under two servers that run on: one that loses the last writes, and one that loses nothing.

A standby is made by `pg_basebackup`; the primary is killed, and the standby promoted on the same address.
What was acknowledged and is lost may be missing, and is sent again to be settled; nothing else may be wrong.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

import asyncpg

from ledger.v1.credit_service_pb2 import ChargeRequest
from tests.faults.journal import Record, Unknown
from tests.faults.postgres import Postgres
from tests.faults.scene import Result, Scene, World, scene
from tests.faults.workload import CREDIT, make_customer, sure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

RECOVERY_SECONDS = 60.0
LONE_CREDITS = 100
BACK_SECONDS = 15.0
"""From the promotion to the next write that is acknowledged."""
QUIET_SECONDS = 0.5
"""Without a reply when the primary has been killed: none is on its way any more."""
_FOLLOWS = "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = $1)"
_KNOWN = """
    SELECT c.customer_id, e.request_id
    FROM cell_00.entries e JOIN ledger.customers c USING (customer) WHERE e.request_id IS NOT NULL
"""


class Pair:
    """A primary and the standbys or backups made of it, one after the other, all on one address."""

    def __init__(self, directory: Path, primary: Postgres) -> None:
        self._directory = directory
        self.primary = primary
        self.address = directory / "address"
        self._servers = [primary]
        self._numbers = count(1)
        self.lead()

    def lead(self) -> None:
        """The address leads to the primary."""
        self.address.unlink(missing_ok=True)
        self.address.symlink_to(self.primary.sockets)

    async def standby(self, *, synchronous: bool) -> Postgres:
        """A standby that follows the primary."""
        made = await self.primary.standby(self._directory / f"standby-{next(self._numbers)}")
        self._servers.append(made)
        async with self.primary.session("postgres") as connection:
            if synchronous:
                await connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
                await connection.execute("SELECT pg_reload_conf()")
            await _until(connection, _FOLLOWS, "sync" if synchronous else "async")
        return made

    async def back_up(self, *, to_another_timeline: bool) -> Postgres:
        """A base backup of the primary as it is now, to be restored later."""
        directory = self._directory / f"backup-{next(self._numbers)}"
        return await self.primary.back_up(directory, to_another_timeline=to_another_timeline)

    async def restore(self, backup: Postgres) -> None:
        """The backup takes the place of the primary, which is stopped; nobody is led there yet."""
        self._servers.append(backup)
        await backup.start()
        self.primary.remove()
        self._servers.remove(self.primary)
        self.primary = backup

    async def promote(self, standby: Postgres) -> None:
        """The standby is the primary from here on; nobody is led there yet."""
        async with standby.session("postgres") as connection:
            await connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
            await connection.execute("SELECT pg_reload_conf()")
            await connection.fetchval("SELECT pg_promote()")
        self.primary = standby

    def stop(self) -> None:
        for server in self._servers:
            server.stop()


@asynccontextmanager
async def open_pair(world: World, name: str) -> AsyncIterator[Pair]:
    directory = world.directory / f"{name}{'_planted' if world.bug else ''}"
    directory.mkdir()
    pair = Pair(directory, Postgres.create(directory / "first"))
    try:
        await pair.primary.start()
        yield pair
    finally:
        pair.stop()


async def run_lossy(world: World, count: int) -> Result:
    """Replication is cut, then the primary is killed under load: the standby has not got the last writes."""
    return await _run(world, "history_lost", count, synchronous=False)


async def run_lossless(world: World, count: int) -> Result:
    """The standby has all that was acknowledged: nothing is lost, and writes go on within 15 s."""
    return await _run(world, "failover", count, synchronous=True)


async def _run(world: World, name: str, count: int, *, synchronous: bool) -> Result:
    async with AsyncExitStack() as life:
        pair = await life.enter_async_context(open_pair(world, name))
        own = replace(world, postgres=pair.primary)
        stage = await life.enter_async_context(scene(own, name, pair.address))
        await stage.serve(2)
        await stage.populate()
        stage.start_load()
        slowest = 0.0
        # One call may hold writes that were booked before a failover and others that wait for its end: its
        # reply tells of the former when they are lost.
        under_way: list[Record] = []
        for number in range(count):
            lone = f"lone-{number}"
            await make_customer(stage.servers[0], stage.journal, lone, LONE_CREDITS)
            standby = await pair.standby(synchronous=synchronous)
            if not synchronous:
                await standby.cut_replication()
            await stage.journal.acknowledgements(stage.rng.randrange(40, 200), RECOVERY_SECONDS)
            await charge(stage, 0, lone)
            pair.primary.kill()
            await quiet(stage)
            started = time.monotonic()
            await pair.promote(standby)
            own.postgres = standby
            if not synchronous:
                under_way += stage.journal.unknown()
                await reopen_lost(stage, stage.journal)
            pair.lead()
            await stage.journal.acknowledgements(1, RECOVERY_SECONDS)
            slowest = max(slowest, time.monotonic() - started)
            # At the sequence that the first server knows there is now what the second one wrote.
            await charge(stage, 1, lone)
            await charge(stage, 0, lone)
            stage.result.injected += 1
        await finish(stage, under_way)
        stage.result.notes["back_seconds_max"] = round(slowest, 1)
        if synchronous and slowest > BACK_SECONDS:
            stage.result.findings.other.append(f"back after {slowest:.1f} s; {BACK_SECONDS:.0f} is allowed")
    return stage.result


async def _until(connection: asyncpg.Connection[asyncpg.Record], question: str, *arguments: object) -> None:
    """Asks until it is so."""
    while not await connection.fetchval(question, *arguments):
        await connection.execute("SELECT pg_sleep(0.05)")


async def quiet(stage: Scene) -> None:
    """Waits until the replies have come that were on their way."""
    heard = -1
    while heard != stage.journal.acknowledged:
        heard = stage.journal.acknowledged
        await asyncio.sleep(QUIET_SECONDS)


async def finish(stage: Scene, under_way: Iterable[Record]) -> None:
    """Ends the load, settles what has no outcome or was lost, and compares."""
    await stage.journal.acknowledgements(100, RECOVERY_SECONDS)
    await stage.stop_load()
    await reopen_lost(stage, under_way)
    await stage.settle()
    await stage.check()


async def charge(stage: Scene, server: int, customer_id: str) -> None:
    """Of a customer whom no worker charges: each time another amount."""
    charge = ChargeRequest(
        request_id=stage.journal.request_id(),
        customer_id=customer_id,
        amount_micros=stage.rng.randrange(1, CREDIT),
    )
    await sure(stage.servers[server], stage.journal, stage.journal.open("Charge", charge))


async def reopen_lost(stage: Scene, records: Iterable[Record]) -> None:
    """What was acknowledged and is not in the primary is open again: it will be sent once more."""
    async with stage.world.postgres.session(stage.database) as connection:
        known = {tuple(row) for row in await connection.fetch(_KNOWN)}
    lost = [record for record in records if record.replies and record.key not in known]
    for record in lost:
        record.outcomes[:] = [Unknown("LOST", "the database has lost it")]
    stage.result.notes["lost_with_the_database"] = len(lost) + int(
        str(stage.result.notes.get("lost_with_the_database", 0))
    )
