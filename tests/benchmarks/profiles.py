"""Where the time goes: flame graphs of server and client under load, by py-spy."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

from ledger.store.embedded import EmbeddedPostgres
from tests.benchmarks import load
from tests.benchmarks.measures import BATCH, BATCH_IN_FLIGHT, SPREAD, UNARY_IN_FLIGHT
from tests.benchmarks.postgres import make_books
from tests.benchmarks.sizes import Size
from tests.benchmarks.stage import Say, Service, service

SAMPLES_PER_SECOND = 200
_SECONDS = 10


def py_spy() -> str:
    """The program. Ends the run where there is none."""
    beside = Path(sys.executable).with_name("py-spy")
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    if found is None:
        raise SystemExit("PROFILE=1 needs py-spy, in .venv/bin or on the PATH: .venv/bin/pip install py-spy")
    return found


async def profile(server: EmbeddedPostgres, size: Size, directory: Path, say: Say) -> None:
    """Writes the graphs: unary-server.svg, unary-client.svg, batch-server.svg, batch-client.svg."""
    program = py_spy()
    books = await make_books(server, "bench_profile", size.customers, 0)
    async with service(books, directory / "server.log") as where:
        for name in ("unary", "batch"):
            await _under(name, where, program, directory)
            say(f"Wrote {directory / name}-server.svg and {name}-client.svg")


async def _under(name: str, where: Service, program: str, directory: Path) -> None:
    """Records both processes while the load runs, a little longer than the recording."""
    window = load.Window(warm_seconds=1.0, seconds=_SECONDS + 2.0)
    customers = load.customers(SPREAD)
    rate = (
        load.unary_rate(where.credits, customers, UNARY_IN_FLIGHT, window)
        if name == "unary"
        else load.batch_rate(where.credits, customers, BATCH, BATCH_IN_FLIGHT, window)
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(rate)
        for role, pid in (("server", where.server.pid), ("client", os.getpid())):
            group.create_task(_record(program, pid, directory / f"{name}-{role}.svg"))


async def _record(program: str, pid: int, path: Path) -> None:
    options = {"--pid": pid, "--output": path, "--duration": _SECONDS, "--rate": SAMPLES_PER_SECOND}
    arguments = [str(word) for option in options.items() for word in option]
    process = await asyncio.create_subprocess_exec(program, "record", *arguments)
    if await process.wait():
        raise SystemExit("py-spy failed; on Linux it may need the right to trace other processes")
