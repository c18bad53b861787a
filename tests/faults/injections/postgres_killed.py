"""`kill -9` of a backend in the middle of a batch, or of the postmaster; the server recovers by itself."""

from __future__ import annotations

import os
import signal

import asyncpg

from tests.faults.postgres import WRITERS
from tests.faults.scene import Result, Scene, World, scene

RECOVERY_SECONDS = 60.0
LOOKS_MAX = 2_000
"""For a backend that is at a batch; then any writer's is taken."""


async def run(world: World, count: int) -> Result:
    """Kills backends and postmasters in turns. Someone starts a killed postmaster again, as in production."""
    async with scene(world, "postgres_killed") as stage:
        await stage.serve()
        await stage.populate()
        stage.start_load()
        for number in range(count):
            await stage.journal.acknowledgements(stage.rng.randrange(20, 200), RECOVERY_SECONDS)
            if number % 2:
                world.postgres.kill()
                await world.postgres.start()
            else:
                await _kill_backend(stage)
            stage.result.injected += 1
        await stage.journal.acknowledgements(100, RECOVERY_SECONDS)
        await stage.stop_load()
        await stage.settle()
        await stage.check()
    return stage.result


async def _kill_backend(stage: Scene) -> None:
    """SIGKILL to the backend of the cell's writer, if possible while it is at a batch.

    The postmaster then ends all backends and recovers from the log.
    """
    async with stage.world.postgres.session(stage.database) as connection:
        pid = None
        while pid is None:
            pid, in_a_batch = await _look_for_writer(connection, stage.database)
        os.kill(pid, signal.SIGKILL)
        stage.result.notes["in_a_batch"] = int(str(stage.result.notes.get("in_a_batch", 0))) + in_a_batch
        try:
            while True:  # Until the postmaster has ended this session too.
                await connection.fetch("SELECT pg_sleep(0.01)")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return


async def _look_for_writer(
    connection: asyncpg.Connection[asyncpg.Record], database: str
) -> tuple[int | None, bool]:
    """The process of the writer's backend, and whether it is at a batch, as it should be."""
    rows: list[asyncpg.Record] = []
    for _ in range(LOOKS_MAX):
        rows = await connection.fetch(WRITERS, database)
        for row in rows:
            if row["state"] == "active":
                return row["pid"], True
    return (rows[0]["pid"], False) if rows else (None, False)
