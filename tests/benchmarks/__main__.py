"""`python -m tests.benchmarks`: settings come from the environment: SIZE, PROFILE, COMPARE."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from time import monotonic

import uvloop
from rich.console import Console

from ledger.store.postgres.embedded import EmbeddedPostgres
from tests.benchmarks import compare, parts, profiles, ratios, report
from tests.benchmarks.measures import Measures
from tests.benchmarks.postgres import postgres
from tests.benchmarks.report import Say
from tests.benchmarks.sizes import FULL, SIZES, Size
from tests.benchmarks.stage import staged

BUILD = Path("build")
PIPE_COLUMNS = 160
"""Of a table that no terminal cuts."""


def main() -> None:
    """One run."""
    size = SIZES.get(os.environ.get("SIZE", FULL.name))
    if size is None:
        raise SystemExit(f"SIZE is {os.environ['SIZE']}: {' or '.join(SIZES)} is allowed")
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_COLUMNS)
    began, load_before = monotonic(), report.load_average()

    def say(text: str) -> None:
        console.print(f"{monotonic() - began:6.0f} s  {text}", soft_wrap=True, markup=False)

    (BUILD / "bench").mkdir(parents=True, exist_ok=True)
    if commit := os.environ.get("COMPARE"):
        before, now = uvloop.run(compare.compare(commit, size, say))
        turns = (before.checkout.commit, before.turns, now.turns)
        ratios.write_ratios(*turns, BUILD / "compare.json")
        ratios.print_ratios(*turns, console)
        say(f"Wrote {BUILD / 'compare.json'}")
        return
    with postgres(BUILD / "bench" / "data") as server:
        if os.environ.get("PROFILE") == "1":
            costs = uvloop.run(profiles.profile(server, size, BUILD / "bench", say))
            console.print("\n".join(parts.table(costs)), markup=False)
            if size is FULL:
                report.write_parts(costs, load_before)
            return
        figures = uvloop.run(_measure(server, size, say))
    report.write_json(figures, BUILD / "bench.json")
    report.print_table(figures, console)
    if size is FULL:
        report.write_document(figures, load_before)
    say(f"Wrote {BUILD / 'bench.json'}" + (f" and {report.DOCUMENT}" if size is FULL else ""))


async def _measure(server: EmbeddedPostgres, size: Size, say: Say) -> dict[str, float]:
    async with staged(server, size, BUILD / "bench", say) as stage:
        measures = await Measures.of(stage, say)
        return await measures.take_all()


if __name__ == "__main__":
    main()
