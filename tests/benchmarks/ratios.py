"""What two commits cost, one over the other: a table on the terminal, and `build/compare.json`."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from tests.benchmarks.figures import number

WORK = {
    "pair_cpu_us": ("a pair in Batch of 500, 100 customers, the server's processor", "us"),
    "call_cpu_us": ("a unary call, 32 in flight, the server's processor", "us"),
    "pair_postgres_cpu_us": ("a pair, PostgreSQL's processor, all its processes", "us"),
    "pair_text_bytes": ("a pair, text sent to PostgreSQL", "bytes"),
    "pair_python_calls": ("a pair, Python calls from the message to the answer", "calls"),
    "pair_c_calls": ("a pair, calls of built-in functions", "calls"),
    "code_lines": ("code of engine, books, api, store and pricing", "lines"),
}
"""What is compared: what each means, and its unit."""

Turns = dict[str, list[float]]
"""Of one commit: each figure's turns."""


def print_ratios(commit: str, before: Turns, now: Turns, console: Console) -> None:
    """Each figure of the commit and of what is here, and the second over the first."""
    table = Table("work", commit, "here", "ratio")
    for key, (work, unit) in WORK.items():
        old, new = median(before[key]), median(now[key])
        table.add_row(work, f"{number(old)} {unit}", f"{number(new)} {unit}", f"{new / old:.2f}")
    console.print(table)


def write_ratios(commit: str, before: Turns, now: Turns, path: Path) -> None:
    """The same by keys, with every turn."""
    figures = {}
    for key in WORK:
        old, new = median(before[key]), median(now[key])
        turns = {"before_turns": before[key], "now_turns": now[key]}
        figures[key] = {"before": old, "now": new, "ratio": new / old, **turns}
    text = json.dumps({"before": commit, "figures": figures}, indent=2)
    path.write_text(text + "\n", encoding="utf-8")
