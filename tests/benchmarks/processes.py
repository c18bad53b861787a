"""The other processes of a run: servers of the service, and the bare server that they are held against."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import ssl
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.request import Request, urlopen

from psutil import NoSuchProcess  # type: ignore[import-untyped]
from psutil import Process as Running

from ledger.client.channel import Access
from tests.serving import FREE_PORTS, REPOSITORY, address, without_settings

_START_LINES = 5
"""What `serve` says first: a heading, and four addresses."""
_BEHIND = re.compile(r"^acu_ledger_rollup_entries_behind (\S+)$", re.MULTILINE)
_SETTLE_SECONDS = 120.0
_TAILER_SECONDS = 1.2
"""By then the tailer has looked at what there is: it looks once a second while there is nothing."""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_MIB = 2**20
_UTIME = 11
"""Where the user's time stands in `/proc/PID/stat` after the name; the system's follows."""
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_ALONE, _WITH_CHILDREN = 2, 4
"""Of the times of a process: the user's and the system's, then those of its children that ended."""
_OPEN = Access()


class Program(NamedTuple):
    """What a server is started by."""

    command: tuple[str, ...]
    directory: Path = REPOSITORY
    """Where it runs."""


SERVE = Program((str(Path(sys.executable).with_name("acu-ledger")), "serve"))
"""As anyone starts it, of this environment."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running `acu-ledger serve`."""

    pid: int
    target: str
    """Of the public API."""
    back_office_target: str
    finance_url: str
    access: Access
    """How it is reached, and what it is shown."""

    def rss_mib(self) -> float:
        """Its resident memory now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * _PAGE_BYTES / _MIB

    def cpu_seconds(self) -> float:
        """Time that it has had of processors, until now."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[_UTIME]) + int(fields[_UTIME + 1])) / _TICKS_PER_SECOND

    async def settle(self) -> None:
        """Waits until the rollups have caught up with the journal: no turn pays for the one before."""
        async with asyncio.timeout(_SETTLE_SECONDS):
            await asyncio.sleep(_TAILER_SECONDS)
            while await asyncio.to_thread(self._entries_behind):  # noqa: ASYNC110 -- of another process
                await asyncio.sleep(0.2)

    def _entries_behind(self) -> float:
        request = Request(self.finance_url)  # noqa: S310 -- our own server, on loopback
        if self.access.key:
            request.add_header("Authorization", f"Bearer {self.access.key}")
        authorities = (self.access.authorities or b"").decode("ascii")
        context = ssl.create_default_context(cadata=authorities) if authorities else None
        with urlopen(request, timeout=10, context=context) as answer:  # noqa: S310 -- the same
            found = _BEHIND.search(answer.read().decode())
        return float(found[1]) if found else 1.0


def postgres_cpu_seconds(data: Path) -> float:
    """Time that PostgreSQL on this directory has had of processors, with its processes that ended."""
    postmaster = Running(int((data / "postmaster.pid").read_text(encoding="ascii").split()[0]))
    seconds = sum(postmaster.cpu_times()[:_WITH_CHILDREN])
    for child in postmaster.children():
        with suppress(NoSuchProcess):
            seconds += sum(child.cpu_times()[:_ALONE])
    return seconds


@asynccontextmanager
async def serving(
    settings: Mapping[str, str], log: Path, access: Access = _OPEN, program: Program = SERVE
) -> AsyncIterator[Server]:
    """A server with these settings and no others, on free ports. Raises AssertionError if there is none."""
    environment = {**without_settings(), **FREE_PORTS, **settings}
    async with _started(program, environment, log) as (process, stdout):
        said = b"".join([await stdout.readline() for _ in range(_START_LINES)]).decode()
        targets = (address(said, "public API"), address(said, "back office"))
        yield Server(process.pid, *targets, address(said, "finance metrics"), access)


@asynccontextmanager
async def echoing(log: Path) -> AsyncIterator[str]:
    """The bare server; its address."""
    program = Program((sys.executable, "-m", "tests.benchmarks.echo"))
    async with _started(program, dict(os.environ), log) as (_, stdout):
        yield (await stdout.readline()).decode().strip()


@asynccontextmanager
async def _started(
    program: Program, environment: Mapping[str, str], log: Path
) -> AsyncIterator[tuple[Process, asyncio.StreamReader]]:
    """A process that is told to end when the block does; what it says on stderr goes to the log."""
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *program.command, cwd=program.directory, env=environment, stdout=PIPE, stderr=stderr
        )
    if process.stdout is None:
        raise AssertionError("it was asked for")
    try:
        yield process, process.stdout
    finally:
        process.send_signal(signal.SIGTERM)
        await process.communicate()
