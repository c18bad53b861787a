"""The database is away, silent, slow, or out of connections, for a while; the server recovers by itself."""

from __future__ import annotations

import asyncio

from ledger.store.postgres.database import ROLES
from tests.faults.proxy import Proxy
from tests.faults.scene import Result, Scene, World, scene

WAYS = ("away", "silent", "slow", "out of connections")
RECOVERY_SECONDS = 90.0
SECONDS_MAX = {True: 30.0, False: 6.0}
"""Of one injection; the long ones in the large run only, whose count tells."""
LARGE_COUNT = 50
SLOW_SECONDS = 0.15
"""Of each message to the database."""


async def run(world: World, count: int) -> Result:
    """In turns each of the ways, under load, for 1 to 30 s (to 6 s in a small run)."""
    sockets = world.directory / "away"
    proxy = Proxy(sockets, world.postgres.sockets)
    await proxy.open()
    async with scene(world, "database_away", sockets) as stage:
        await stage.serve()
        await stage.populate()
        stage.start_load()
        for number in range(count):
            seconds = stage.rng.uniform(1.0, SECONDS_MAX[count >= LARGE_COUNT])
            await stage.journal.acknowledgements(stage.rng.randrange(20, 200), RECOVERY_SECONDS)
            await _inject(stage, proxy, WAYS[number % len(WAYS)], seconds)
            stage.result.injected += 1
        await stage.journal.acknowledgements(100, RECOVERY_SECONDS)
        await stage.stop_load()
        await stage.settle()
        await stage.check()
    return stage.result


async def _inject(stage: Scene, proxy: Proxy, way: str, seconds: float) -> None:
    match way:
        case "away":
            await proxy.refuse()
            await asyncio.sleep(seconds)
            await proxy.open()
        case "silent":
            proxy.stall()
            await asyncio.sleep(seconds)
            proxy.flow()
        case "slow":
            proxy.delay_seconds = SLOW_SECONDS
            await asyncio.sleep(seconds)
            proxy.delay_seconds = 0.0
        case _:
            await _allow_connections(stage, 0)
            await asyncio.sleep(seconds)
            await _allow_connections(stage, -1)


async def _allow_connections(stage: Scene, limit: int) -> None:
    """Sets how many connections the service's roles may have (-1: any number); 0 ends those there are."""
    async with stage.world.postgres.session(stage.database) as connection:
        for role in ROLES:
            await connection.execute(f"ALTER ROLE {role} CONNECTION LIMIT {limit}")
        if limit == 0:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ANY($1::text[])",
                list(ROLES),
            )
