"""`kill -9` of the server under load from 8 clients, a hot customer among theirs."""

from __future__ import annotations

from tests.faults.scene import Result, World, scene

RECOVERY_SECONDS = 60.0


async def run(world: World, count: int) -> Result:
    """Kills the server in the middle of its work, and starts another on the same database at once."""
    async with scene(world, "server_killed") as stage:
        server = await stage.serve()
        await stage.populate()
        stage.start_load()
        left: set[int] = set()
        for _ in range(count):
            await stage.journal.acknowledgements(stage.rng.randrange(20, 200), RECOVERY_SECONDS)
            left |= await stage.kill(server)
            await server.start()
            stage.result.injected += 1
        await stage.journal.acknowledgements(100, RECOVERY_SECONDS)
        await stage.stop_load()
        await world.postgres.gone(stage.database, left)
        await stage.settle()
        await stage.check()
    return stage.result
