"""`python -m tests.faults [small|large] [FAULT …]`: injects faults, compares, and prints a table.

The figures, and all violations, are in build/faults.json.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from tests.faults.injections import (
    client_gone,
    clock_apart,
    connection_cut,
    database_away,
    postgres_killed,
    races,
    same_request,
    server_killed,
)
from tests.faults.postgres import Postgres
from tests.faults.scene import Result, World

BUILD = Path("build")
SEED = 4
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
    "client_gone": Fault(client_gone.run, 200, 5_000),
    "database_away": Fault(database_away.run, 10, 100),
    "clock_apart": Fault(clock_apart.run, 10, 100),
}


def main(arguments: list[str]) -> int:
    """Exit status 0 if everything held, 1 if not, 2 for a size or a fault that there is none of."""
    size, *names = arguments or ["small"]
    if size not in ("small", "large") or not FAULTS.keys() >= set(names):
        sys.stderr.write(f"usage: python -m tests.faults [small|large] [FAULT ...], of {', '.join(FAULTS)}\n")
        return 2
    results = asyncio.run(_inject(size, names or list(FAULTS)))
    BUILD.mkdir(exist_ok=True)
    (BUILD / "faults.json").write_text(json.dumps({"size": size, "faults": results}, indent=2) + "\n")
    return 1 if any(_broken(result) for result in results.values()) else 0


async def _inject(size: str, names: list[str]) -> dict[str, dict[str, object]]:
    results: dict[str, dict[str, object]] = {}
    console = Console(highlight=False)
    shutil.rmtree(BUILD / "faults", ignore_errors=True)
    # Not below the build directory: as root the database's server is another user, who has to reach it.
    with TemporaryDirectory(prefix="acu-faults-") as directory:
        postgres = Postgres.create(Path(directory) / "data")
        await postgres.start()
        try:
            world = World(postgres, Path(directory), (BUILD / "faults").resolve(), SEED)
            for name in names:
                fault = FAULTS[name]
                results[name] = await _run(world, name, fault.run, getattr(fault, size))
                console.print(_line(name, results[name]), soft_wrap=True)
                await postgres.start()
        finally:
            postgres.stop()
    console.print(_table(results))
    return results


async def _run(
    world: World, name: str, run: Callable[[World, int], Awaitable[Result]], count: int
) -> dict[str, object]:
    """One fault's figures. A harness that fails has proved nothing, so that is a violation too."""
    started = time.monotonic()
    try:
        result = await run(world, count)
    except Exception:  # noqa: BLE001 -- the other faults are still worth injecting
        result = Result(name)
        result.findings.other.append(f"the fault could not be carried through:\n{traceback.format_exc()}")
    found = result.findings
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


def _broken(result: dict[str, object]) -> bool:
    return bool(result["violations"])


def _line(name: str, result: dict[str, object]) -> str:
    violations = result["violations"]
    if not isinstance(violations, list) or not violations:
        return f"{name}: {result['effects_checked']} effects held in {result['seconds']} s"
    return "\n  ".join([f"{name}: {len(violations)} violations", *violations[:SHOWN_MAX]])


def _table(results: dict[str, dict[str, object]]) -> Table:
    columns = ("injected", "effects_checked", "lost", "doubled", "other_violations", "seconds")
    table = Table("fault", *(column.replace("_", " ") for column in columns))
    for name, result in results.items():
        table.add_row(name, *(str(result[column]) for column in columns))
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
