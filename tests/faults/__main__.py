"""`python -m tests.faults [small|large] [FAULT …]`: injects faults, compares, and prints a table.

The figures, and all violations, are in build/faults.json.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from tests.faults.injections import (
    budget_race,
    client_gone,
    clock_apart,
    connection_cut,
    database_away,
    disk_full,
    failover,
    outage,
    postgres_killed,
    races,
    receiver_failing,
    renewal_killed,
    restore,
    rolling_restart,
    same_request,
    server_killed,
)
from tests.faults.planted import BUGS
from tests.faults.postgres import Postgres
from tests.faults.scene import BrokenOffError, Result, World

BUILD = Path("build")
SEED = 4
PLANTED = "planted"
"""Not a fault: the harness is shown bugs, and has to see them."""
COLUMNS = ("injected", "effects_checked", "lost", "doubled", "other_violations", "seconds")
SHOWN_MAX = 20
"""Violations that are printed; the file has all."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault, and how often it is injected."""

    run: Callable[[World, int], Awaitable[Result]]
    small: int
    large: int


FAULTS = {
    "server_killed": Fault(server_killed.run, 20, 200),
    "postgres_killed": Fault(postgres_killed.run, 10, 100),
    "connection_cut": Fault(connection_cut.run, 50, 1_000),
    "same_request": Fault(same_request.run, 100, 5_000),
    "races": Fault(races.run, 200, 10_000),
    "budget_race": Fault(budget_race.run, 20, 1_000),
    "client_gone": Fault(client_gone.run, 200, 5_000),
    "outage": Fault(outage.run, 2, 20),
    "database_away": Fault(database_away.run, 10, 100),
    "clock_apart": Fault(clock_apart.run, 10, 100),
    "disk_full": Fault(disk_full.run, 2, 20),
    "history_lost": Fault(failover.run_lossy, 5, 50),
    "failover": Fault(failover.run_lossless, 5, 50),
    "restore": Fault(restore.run, 4, 50),
    "receiver_failing": Fault(receiver_failing.run, 3, 50),
    "renewal_killed": Fault(renewal_killed.run, 2, 50),
    "rolling_restart": Fault(rolling_restart.run, 3, 50),
}


def main(arguments: list[str]) -> int:
    """Exit status 0 if all was injected and held, 1 if not, 2 for a size or a fault that there is none of."""
    size, *names = arguments or ["small"]
    known = [*FAULTS, PLANTED]
    if size not in ("small", "large") or not set(known) >= set(names):
        sys.stderr.write(f"usage: python -m tests.faults [small|large] [FAULT ...], of {', '.join(known)}\n")
        return 2
    results, caught = asyncio.run(_inject(size, names or known))
    report = {"size": size, "faults": results, PLANTED: caught}
    (BUILD / "faults.json").write_text(json.dumps(report, indent=2) + "\n")
    return 1 if any(_broken(result) for result in results.values()) or not all(caught.values()) else 0


async def _inject(size: str, names: list[str]) -> tuple[dict[str, dict[str, object]], dict[str, str]]:
    """Figures by fault; and what each planted bug was caught by, empty if it was not."""
    results: dict[str, dict[str, object]] = {}
    caught: dict[str, str] = {}
    console = Console(highlight=False)
    # Ended from outside, it leaves no server running and nothing mounted.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _current_task().cancel)
    shutil.rmtree(BUILD / "faults", ignore_errors=True)
    # Not below the build directory: as root the database's server is another user, who has to reach it.
    with TemporaryDirectory(prefix="acu-faults-") as directory:
        postgres = Postgres.create(Path(directory) / "data")
        await postgres.start()
        try:
            world = World(postgres, Path(directory), (BUILD / "faults").resolve(), SEED)
            for name in [name for name in names if name in FAULTS]:
                results[name] = await _run(world, name, getattr(FAULTS[name], size))
                console.print(_line(name, results[name]), soft_wrap=True)
                await postgres.start()
            if PLANTED in names:
                for name in BUGS:
                    started = time.monotonic()
                    caught[name] = await _plant(world, name)
                    seconds = round(time.monotonic() - started, 1)
                    reported = caught[name] or "NOT CAUGHT"
                    console.print(f"planted, in {seconds} s: {name}: {reported}", soft_wrap=True)
        finally:
            postgres.stop()
    if results:
        console.print(_table(results))
    return results, caught


def _current_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("not in a task")
    return task


async def _plant(world: World, name: str) -> str:
    """What a fault finds, first of all, where a bug is planted; to be unable to go on is no find."""
    bug = BUGS[name]
    planted = replace(world, bug=name, build=world.build / PLANTED / name.replace(" ", "_"))
    result, failure = await _carry_through(planted, bug.fault, bug.injections)
    sys.stderr.write(failure)
    found = result.findings
    return next(iter([*found.lost, *found.doubled, *found.other]), "")


async def _run(world: World, name: str, count: int) -> dict[str, object]:
    """One fault's figures. A harness that fails has proved nothing, so that is a violation too."""
    started = time.monotonic()
    result, failure = await _carry_through(world, name, count)
    found = result.findings
    if failure:
        found.other.append(f"the fault could not be carried through:\n{failure}")
    if result.injected < count:
        found.other.append(f"{result.injected} of {count} injected")
    return {
        "injected": result.injected,
        "effects_checked": found.effects_checked,
        "lost": len(found.lost),
        "doubled": len(found.doubled),
        "other_violations": len(found.other),
        "seconds": round(time.monotonic() - started, 1),
        **result.notes,
        "violations": [*found.lost, *found.doubled, *found.other],
    }


async def _carry_through(world: World, name: str, count: int) -> tuple[Result, str]:
    """What was found, and what broke it off, empty if nothing did."""
    try:
        return await FAULTS[name].run(world, count), ""
    except BrokenOffError as error:
        return error.result, traceback.format_exc()
    except Exception:  # noqa: BLE001 -- the other faults are still worth injecting
        return Result(name), traceback.format_exc()


def _broken(result: dict[str, object]) -> bool:
    return bool(result["violations"])


def _line(name: str, result: dict[str, object]) -> str:
    violations = result["violations"]
    if not isinstance(violations, list) or not violations:
        notes = "; ".join(f"{key.replace('_', ' ')}: {value}" for key, value in _notes(result).items())
        return f"{name}: {result['effects_checked']} effects held in {result['seconds']} s ({notes})"
    return "\n  ".join([f"{name}: {len(violations)} violations", *violations[:SHOWN_MAX]])


def _notes(result: dict[str, object]) -> dict[str, object]:
    """The fault's own figures."""
    return {key: value for key, value in result.items() if key not in (*COLUMNS, "violations")}


def _table(results: dict[str, dict[str, object]]) -> Table:
    table = Table()
    table.add_column("fault", no_wrap=True)
    for column in COLUMNS:
        table.add_column(column.replace("_", " "), justify="right")
    for name, result in results.items():
        table.add_row(name, *(str(result[column]) for column in COLUMNS))
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
