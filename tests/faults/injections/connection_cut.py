"""The database's connection is cut between COMMIT and its reply, by a proxy that reads PostgreSQL's messages.

Four places: the reply is lost whole; all of it but its last message arrives; the cut comes when the commit
has been asked for and not answered; and the commit is asked for late, when the server has heard of the cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tests.faults.proxy import Link, Proxy
from tests.faults.scene import Result, World, scene

RECOVERY_SECONDS = 60.0
LATE_SECONDS_MAX = 0.3
EVENTS = ("write.unknown_outcome", "round.lost")
PLACES = ("reply lost", "reply cut short", "commit under way", "commit late")


class Cutter:
    """Cuts one link at the next batch, at the place that is asked for."""

    def __init__(self, proxy: Proxy) -> None:
        self._place = ""
        self._late_seconds = 0.0
        self.under_the_lock = 0
        """Cuts of transactions that decided under the lock: their COMMIT is a message of its own."""
        self.done = asyncio.Event()
        proxy.before_write = self._before_write
        proxy.after_commit = self._after_commit

    async def cut(self, place: str, late_seconds: float) -> None:
        """Waits until it is done. Raises TimeoutError where nothing was written."""
        self._place, self._late_seconds = place, late_seconds
        self.done.clear()
        async with asyncio.timeout(RECOVERY_SECONDS):
            await self.done.wait()

    def _is_at(self, place: str, link: Link) -> bool:
        if self._place != place:
            return False
        self.under_the_lock += link.commits_apart
        self._place = ""
        self.done.set()
        return True

    async def _before_write(self, link: Link) -> None:
        if self._is_at("commit late", link):
            link.client[1].transport.abort()
            await asyncio.sleep(self._late_seconds)
        elif self._is_at("commit under way", link):
            link.client[1].transport.abort()

    async def _after_commit(self, link: Link, reply: Sequence[bytes]) -> bool:
        if self._is_at("reply lost", link):
            link.cut()
            return False
        if self._is_at("reply cut short", link):
            link.client[1].write(b"".join(reply[:-1]))
            await link.client[1].drain()
            link.client[1].close()
            return False
        return True


async def run(world: World, count: int) -> Result:
    """Cuts under load, in turns at each of the places; two servers share the customers."""
    sockets = world.directory / "cut"
    proxy = Proxy(sockets, world.postgres.sockets)
    await proxy.open()
    async with scene(world, "connection_cut", sockets) as stage:
        await stage.serve(2)
        await stage.populate()
        cutter = Cutter(proxy)
        stage.start_load()
        for number in range(count):
            await stage.journal.acknowledgements(stage.rng.randrange(5, 60), RECOVERY_SECONDS)
            await cutter.cut(PLACES[number % len(PLACES)], stage.rng.random() * LATE_SECONDS_MAX)
            stage.result.injected += 1
        await stage.journal.acknowledgements(100, RECOVERY_SECONDS)
        await stage.stop_load()
        await stage.settle()
        await stage.check()
        stage.result.notes["under_the_lock"] = cutter.under_the_lock
        unknown_seen = sum(server.log().count(event) for server in stage.servers for event in EVENTS)
        stage.result.notes["unknown_outcomes_in_the_log"] = unknown_seen
        if unknown_seen < count:
            stage.result.findings.other.append(
                f"{count} cuts, and only {unknown_seen} unknown outcomes logged"
            )
    return stage.result
