"""The database's disk is full, then has space again: a small tmpfs of its own, which takes root to mount.

In every other injection PostgreSQL also needs new files for its log of writes while there is no space: it
stops, and is started again when there is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import asyncpg

from tests.faults.compare import expect
from tests.faults.postgres import Postgres
from tests.faults.scene import Result, World, scene

SIZE_MIB = 320
CHUNK_BYTES = 1 << 16
SETTINGS = ("max_wal_size=64MB", "min_wal_size=32MB")
"""The log of writes keeps within the disk by itself."""
WAL_FILES = 8
"""So many new ones are more than PostgreSQL keeps ready."""
FULL_SECONDS = 5.0
RECOVERY_SECONDS = 90.0
NO_SPACE = "No space left on device"


async def run(world: World, count: int) -> Result:
    """Fills the disk under load, waits, and empties it; the server goes on by itself."""
    disk = world.directory / "disk"
    with contextlib.ExitStack() as life:
        try:
            life.enter_context(_mounted(disk))
        except (PermissionError, subprocess.CalledProcessError) as error:
            return Result("disk_full", notes={"left_out": f"no tmpfs can be mounted here: {error}"})
        postgres = Postgres.create(disk / "data", SETTINGS)
        life.callback(postgres.stop)
        await postgres.start()
        return await _run(replace(world, postgres=postgres), disk, count)


async def _run(world: World, disk: Path, count: int) -> Result:
    async with scene(world, "disk_full") as stage:
        await stage.serve()
        await stage.populate()
        stage.start_load()
        for number in range(count):
            await stage.journal.acknowledgements(stage.rng.randrange(20, 200), RECOVERY_SECONDS)
            met_before = world.postgres.log().count(NO_SPACE)
            with _full(disk):
                if number % 2:
                    await _need_log_files(world.postgres, stage.database)
                await asyncio.sleep(FULL_SECONDS)
            await world.postgres.start()
            met = world.postgres.log().count(NO_SPACE) - met_before
            expect(stage.result.findings, met > 0, f"injection {number}: PostgreSQL has not met a full disk")
            stage.result.injected += 1
        await stage.journal.acknowledgements(100, RECOVERY_SECONDS)
        await stage.stop_load()
        await stage.settle()
        await stage.check()
        stage.result.notes["disk"] = f"tmpfs of {SIZE_MIB} MiB"
    return stage.result


@contextlib.contextmanager
def _mounted(disk: Path) -> Iterator[None]:
    """A tmpfs, until the block ends. Raises PermissionError, or CalledProcessError where it cannot be had."""
    if os.geteuid() != 0:
        raise PermissionError("only root mounts")
    disk.mkdir()
    size = f"size={SIZE_MIB}m,mode=0755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", disk], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", disk], check=True, capture_output=True)


@contextlib.contextmanager
def _full(disk: Path) -> Iterator[None]:
    """A file takes all the space that is left, until the block ends."""
    filler = disk / "filler"
    try:
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(CHUNK_BYTES))
        yield
    finally:
        filler.unlink()


async def _need_log_files(postgres: Postgres, database: str) -> None:
    """Asks for new files of the log of writes; PostgreSQL panics where it can have none."""
    with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        async with postgres.session(database) as connection:
            for _ in range(WAL_FILES):
                await connection.execute(
                    "SELECT pg_logical_emit_message(false, 'fill', 'x'), pg_switch_wal()"
                )
