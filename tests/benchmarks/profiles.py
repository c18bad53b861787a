"""Where the time goes: of server and client under load, by py-spy."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from pathlib import Path

from ledger.store.postgres.embedded import EmbeddedPostgres
from tests.benchmarks import load, parts, processor
from tests.benchmarks.load import BATCH, SPREAD, UNARY_IN_FLIGHT
from tests.benchmarks.postgres import make_books
from tests.benchmarks.report import Say
from tests.benchmarks.sizes import Size
from tests.benchmarks.stacks import shares
from tests.benchmarks.stage import Service, service

SAMPLES_PER_SECOND = 200
_SECONDS = 10
_NATIVE_SAMPLES_PER_SECOND = 100
"""A native stack takes milliseconds, in which the process stands still."""
_BATCH_IN_FLIGHT = 2
Load = Callable[[load.Window], Coroutine[None, None, float]]


def py_spy() -> str:
    """The program. Ends the run where there is none."""
    beside = Path(sys.executable).with_name("py-spy")
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    if found is None:
        raise SystemExit("PROFILE=1 needs py-spy, in .venv/bin or on the PATH: .venv/bin/pip install py-spy")
    return found


async def profile(server: EmbeddedPostgres, size: Size, directory: Path, say: Say) -> parts.Costs:
    """Writes the graphs: unary-server.svg, unary-client.svg, batch-server.svg, batch-client.svg.

    And what the server's native stacks under the same loads say of its parts.
    """
    program = py_spy()
    books = await make_books(server, "bench_profile", size.customers, 0)
    costs: parts.Costs = {}
    async with service(books.environment, directory / "server.log") as where:
        for name, load_ in _loads(where).items():
            recorded = (("server", where.server.pid), ("client", os.getpid()))
            graphs = [
                _record(program, pid, directory / f"{name}-{role}.svg", "--rate", str(SAMPLES_PER_SECOND))
                for role, pid in recorded
            ]
            await _under(load_, *graphs)
            say(f"Wrote {directory / name}-server.svg and {name}-client.svg")
            stacks = directory / f"{name}-server.stacks"
            native = ("--native", "--format", "raw", "--rate", str(_NATIVE_SAMPLES_PER_SECOND))
            await _under(load_, _record(program, where.server.pid, stacks, *native))
            say(f"Wrote {stacks}")
            cost = await load.carried_out(where.server.settle, partial(_cost_us, name, where, size), say)
            costs[name] = parts.Cost(cost, shares(stacks.read_text(encoding="utf-8").splitlines()))
    return costs


def _loads(where: Service) -> dict[str, Load]:
    """By their names. Batches that are refused, as on a busy machine, are left out."""
    customers = load.customers(SPREAD)
    return {
        "batch": lambda window: load.batch_rate(
            where.credits, customers, BATCH, _BATCH_IN_FLIGHT, window, load.Calls()
        ),
        "unary": lambda window: load.unary_rate(where.credits, customers, UNARY_IN_FLIGHT, window),
    }


async def _cost_us(name: str, where: Service, size: Size) -> float:
    """Of the server's processor, while nothing records it."""
    if name == "unary":
        return await processor.call_us(where, SPREAD, size.seconds)
    clock = where.server.cpu_seconds
    (cost,) = await processor.pair_us(where, SPREAD, size.cpu_pairs, clock, in_flight=_BATCH_IN_FLIGHT)
    return cost


async def _under(load_: Load, *recordings: Coroutine[None, None, None]) -> None:
    """Records while the load runs, which takes a little longer."""
    window = load.Window(warm_seconds=1.0, seconds=_SECONDS + 2.0)
    async with asyncio.TaskGroup() as group:
        group.create_task(_keep_up(load_, window))
        for recording in recordings:
            group.create_task(recording)


async def _keep_up(load_: Load, window: load.Window) -> None:
    """Begins again where a call is not answered: a server that is recorded may stand still for seconds."""
    while window.is_open():
        with suppress(ExceptionGroup, load.WorkError):
            await load_(window)


async def _record(program: str, pid: int, path: Path, *more: str) -> None:
    options = {"--pid": pid, "--output": path, "--duration": _SECONDS}
    arguments = [str(word) for option in options.items() for word in option]
    process = await asyncio.create_subprocess_exec(program, "record", *arguments, *more, stdout=DEVNULL)
    if await process.wait():
        raise SystemExit("py-spy failed; on Linux it may need the right to trace other processes")
