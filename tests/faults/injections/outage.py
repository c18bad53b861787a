"""The server is away for a while, under sessions of the client of products' backends, by both its policies.

With `allow` no agent is refused, and what was used is charged late; with `refuse` each is, within the time of
a call, and what had no answer is charged from a recovery on. Nothing that was added is lost, or charged
twice.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count as counted
from pathlib import Path

from ledger.client.delivery import OnOutage
from tests.faults.compare import expect
from tests.faults.planted import FORGOTTEN
from tests.faults.scene import Result, Scene, World, scene
from tests.faults.servers import Server
from tests.faults.sessions import Agents, Key, WatchedCredits, charged, compare_added
from tests.faults.workload import PAUSE_SECONDS

POLICIES: tuple[OnOutage, ...] = ("allow", "refuse")
AWAY_SECONDS = (5.0, 30.0)
"""By turns: shorter and longer than a client's call with all its attempts."""
RECOVERY_SECONDS = 90.0
BEFORE = 100
"""Writes that are answered before each outage, and after it."""


async def run(world: World, count: int) -> Result:
    """Both clients work for the same customers before, in and after each outage."""
    async with scene(world, "outage") as stage:
        server = await stage.serve()
        await stage.populate()
        journals = world.build / stage.name / (world.bug or "clients")
        shutil.rmtree(journals, ignore_errors=True)
        numbers, left = counted(1), set[int]()
        async with AsyncExitStack() as clients:
            agents = [
                await clients.enter_async_context(_agents(stage, policy, journals, numbers))
                for policy in POLICIES
            ]
            for number in range(count):
                left |= await _outage(stage, server, AWAY_SECONDS[number % len(AWAY_SECONDS)], agents)
                stage.result.injected += 1
            await _recover(agents)
        _check_clients(stage, agents, journals)
        await world.postgres.gone(stage.database, left)
        added = sum((each.added for each in agents), Counter[Key]())
        compare_added(stage.result.findings, added, await charged(server, stage.customers))
        await stage.settle()
        await stage.check()
    return stage.result


@asynccontextmanager
async def _agents(
    stage: Scene, policy: OnOutage, journals: Path, numbers: Iterator[int]
) -> AsyncIterator[Agents]:
    """Those of one client, which is closed at the end."""
    findings = stage.result.findings
    credits = WatchedCredits(
        stage.servers[0].public, stage.journal, findings, on_outage=policy, journal=journals / policy
    )
    async with credits:
        if stage.world.bug == FORGOTTEN and credits._delivery is not None:
            credits._delivery.leave = lambda _: None
        yield Agents(credits, stage.customers, numbers, findings, stage.world.rng(f"outage {policy}"))


async def _outage(stage: Scene, server: Server, seconds: float, agents: Sequence[Agents]) -> set[int]:
    """The server is killed, and is back later; the backends that it left behind."""
    for each in agents:
        each.start()
    await stage.journal.acknowledgements(BEFORE, RECOVERY_SECONDS)
    left = await stage.kill(server)
    await asyncio.sleep(seconds)
    await server.start(same_ports=True)
    await stage.journal.acknowledgements(BEFORE, RECOVERY_SECONDS)
    for each in agents:
        await each.stop()
    return left


async def _recover(agents: Sequence[Agents]) -> None:
    """Until nothing has no answer, or for so long: what has none then is for the comparison to find."""
    with suppress(TimeoutError):
        async with asyncio.timeout(RECOVERY_SECONDS):
            for each in agents:
                while not (await each.credits.recover()).complete:  # noqa: ASYNC110 -- nothing tells of it
                    await asyncio.sleep(PAUSE_SECONDS)


def _check_clients(stage: Scene, agents: Sequence[Agents], journals: Path) -> None:
    """Both were away from the server, and leave nothing."""
    findings, notes = stage.result.findings, stage.result.notes
    for each in agents:
        policy = each.credits.on_outage
        each.credits.check_answers()
        files = [path.name for path in (journals / policy).iterdir()]
        expect(findings, not files, f"{policy}: the journal has {files}")
        notes[f"added_by_{policy}"] = each.added.total()
        if policy == "refuse":
            expect(findings, each.refused > 0, "nobody was refused while the service was away")
            notes["refused"], notes["refused_seconds_max"] = each.refused, round(each.refused_seconds_max, 1)
