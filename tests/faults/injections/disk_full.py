"""The database's disk is full, then has space again.

The disk is a small tmpfs of its own, which takes root to mount. Elsewhere a quota stands for it: no file of
PostgreSQL's processes may grow past a limit (RLIMIT_FSIZE), which they meet as they grow a table. The figures
say which it was.

In every other injection PostgreSQL also needs space for its log of writes while there is none: it stops, and
is started again when there is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import asyncpg

from tests.faults.compare import expect
from tests.faults.postgres import Postgres
from tests.faults.scene import Result, Scene, World, scene

SIZE_MIB = 320
CHUNK_BYTES = 1 << 16
SETTINGS = (
    # The log of writes keeps within the disk by itself.
    "max_wal_size=64MB",
    "min_wal_size=32MB",
    # What the server says is short: its statements are long, and each fails again and again.
    "log_min_error_statement=panic",
)
WAL_FILE_BYTES = 16 << 20
WAL_FILES = 8
"""So many new ones are more than PostgreSQL keeps ready."""
FULL_SECONDS = 5.0
LOOK_SECONDS = 0.1
LOOKS_MAX = 600
"""For PostgreSQL's meeting the end of the space."""
RECOVERY_SECONDS = 90.0

_PAD_ROWS = 10_000
_PAD = f"""
    INSERT INTO cell_00.entries
    SELECT padding.*
    FROM (SELECT e FROM cell_00.entries e LIMIT 1) AS one(entry),
         generate_series(1000001, 1000000 + {_PAD_ROWS}) AS sequence,
         jsonb_populate_record(entry, jsonb_build_object('sequence', sequence, 'request_id', NULL)) AS padding
"""
"""To be rolled back: the file keeps its size, and its pages stay full as long as nothing vacuums them."""


class Disk(Protocol):
    """What can be full."""

    @property
    def name(self) -> str:
        """For the figures."""

    @property
    def error(self) -> str:
        """What PostgreSQL says when it meets the end of the space."""

    async def prepare(self, stage: Scene) -> None:
        """Before the load begins."""

    def full(self, stage: Scene, *, log_of_writes: bool) -> contextlib.AbstractAsyncContextManager[None]:
        """There is no space until the block ends; if wanted, none for the log of writes either."""


class Tmpfs:
    """A disk of its own, which a file fills."""

    name = f"tmpfs of {SIZE_MIB} MiB"
    error = "No space left on device"

    def __init__(self, directory: Path) -> None:
        self._filler = directory / "filler"

    async def prepare(self, _: Scene) -> None:
        """Nothing."""

    @contextlib.asynccontextmanager
    async def full(self, _: Scene, *, log_of_writes: bool) -> AsyncIterator[None]:
        """The log of writes is on the same disk: it has no space in any case."""
        del log_of_writes
        try:
            with contextlib.suppress(OSError), self._filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(CHUNK_BYTES))
            yield
        finally:
            self._filler.unlink()


class Quota:
    """A limit to the size of each file that PostgreSQL's processes write."""

    name = "quota: PostgreSQL's files may not grow (RLIMIT_FSIZE)"
    error = "File too large"

    async def prepare(self, stage: Scene) -> None:
        """Makes the journal the largest file, so that a limit stops it, and not the log of writes."""
        async with stage.world.postgres.session(stage.database) as connection:
            await connection.execute("ALTER TABLE cell_00.entries SET (autovacuum_enabled = false)")
            while await _journal_bytes(connection) <= WAL_FILE_BYTES:
                transaction = connection.transaction()
                await transaction.start()
                await connection.execute(_PAD)
                await transaction.rollback()

    @contextlib.asynccontextmanager
    async def full(self, stage: Scene, *, log_of_writes: bool) -> AsyncIterator[None]:
        postgres = stage.world.postgres
        async with postgres.session(stage.database) as connection:
            journal_bytes = await _journal_bytes(connection)
        try:
            _limit_files(postgres, WAL_FILE_BYTES // 2 if log_of_writes else journal_bytes)
            yield
        finally:
            _limit_files(postgres, None)


async def _journal_bytes(connection: asyncpg.Connection[asyncpg.Record]) -> int:
    size = await connection.fetchval("SELECT pg_relation_size('cell_00.entries')")
    return int(size)


def _limit_files(postgres: Postgres, size_bytes: int | None) -> None:
    """Limits, or no longer limits, what the processes write: the first one before its children-to-be."""
    for pid in postgres.processes():
        with contextlib.suppress(ProcessLookupError):
            _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (most if size_bytes is None else size_bytes, most))


async def run(world: World, count: int) -> Result:
    """Fills the disk under load, waits, and empties it; the server goes on by itself."""
    with contextlib.ExitStack() as life:
        directory = world.directory / "disk"
        directory.mkdir()
        disk: Disk
        try:
            life.enter_context(_mounted(directory))
            disk = Tmpfs(directory)
        except (PermissionError, FileNotFoundError, subprocess.CalledProcessError):
            disk = Quota()
        # What it says of a full disk would not fit on that disk.
        postgres = Postgres.create(directory / "data", SETTINGS, directory.with_suffix(".log"))
        life.callback(postgres.stop)
        await postgres.start()
        return await _run(replace(world, postgres=postgres), disk, count)


async def _run(world: World, disk: Disk, count: int) -> Result:
    async with scene(world, "disk_full") as stage:
        stage.result.notes["disk"] = disk.name
        await stage.serve()
        await stage.populate()
        await disk.prepare(stage)
        stage.start_load()
        for number in range(count):
            await stage.journal.acknowledgements(stage.rng.randrange(20, 200), RECOVERY_SECONDS)
            met = await _fill(stage, disk, log_of_writes=bool(number % 2))
            await world.postgres.start()
            expect(stage.result.findings, met, f"injection {number}: PostgreSQL has not met a full disk")
            stage.result.injected += met
        await stage.journal.acknowledgements(100, RECOVERY_SECONDS)
        await stage.stop_load()
        await stage.settle()
        await stage.check()
    return stage.result


async def _fill(stage: Scene, disk: Disk, *, log_of_writes: bool) -> bool:
    """Leaves no space until some seconds after PostgreSQL has met the end of it. False: it has not."""
    postgres = stage.world.postgres
    met_before = postgres.log().count(disk.error)
    async with disk.full(stage, log_of_writes=log_of_writes):
        if log_of_writes:
            await _need_log_files(postgres, stage.database)
        for _ in range(LOOKS_MAX):
            await asyncio.sleep(LOOK_SECONDS)
            if postgres.log().count(disk.error) > met_before:
                await asyncio.sleep(FULL_SECONDS)
                return True
    return False


@contextlib.contextmanager
def _mounted(disk: Path) -> Iterator[None]:
    """A tmpfs, until the block ends. Raises PermissionError, or CalledProcessError where it cannot be had."""
    if os.geteuid() != 0:
        raise PermissionError("only root mounts")
    size = f"size={SIZE_MIB}m,mode=0755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", disk], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", disk], check=True, capture_output=True)


async def _need_log_files(postgres: Postgres, database: str) -> None:
    """Asks for new files of the log of writes; PostgreSQL panics where it can have none."""
    with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        async with postgres.session(database) as connection:
            for _ in range(WAL_FILES):
                await connection.execute(
                    "SELECT pg_logical_emit_message(false, 'fill', 'x'), pg_switch_wal()"
                )
