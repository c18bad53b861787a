"""What a run leaves behind: `build/bench.json`, a table on the terminal, and the documentation's table."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table as Printed

from tests.benchmarks.figures import HEADINGS, Figures, rows
from tests.benchmarks.parts import Costs, table

DOCUMENT = Path("docs/benchmarks.md")
_BUSY = 0.5
Say = Callable[[str], None]
"""Tells whoever waits for a run how far it is."""


def write_json(figures: Figures, path: Path) -> None:
    """The figures by their keys."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rounded = {key: float(f"{value:.6g}") for key, value in figures.items()}
    path.write_text(json.dumps(rounded, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def print_table(figures: Figures, console: Console) -> None:
    """Each figure beside its ceiling; a missed target in red."""
    printed = Printed(*HEADINGS)
    for cells, met in rows(figures):
        style = {True: "green", False: "red", None: ""}[met]
        printed.add_row(*cells[:3], f"[{style}]{cells[3]}[/]" if style else cells[3], cells[4])
    console.print(printed)


def write_document(figures: Figures, load_before: float, path: Path = DOCUMENT) -> None:
    """Replaces the table of the documentation, with when and on what it was measured."""
    lines = [
        _measured("`make bench`", load_before),
        "",
        "| " + " | ".join((*HEADINGS, "met")) + " |",
        "|---" * (len(HEADINGS) + 1) + "|",
    ]
    words = {True: "yes", False: "no", None: ""}
    lines += ["| " + " | ".join((*cells, words[met])) + " |" for cells, met in rows(figures)]
    _replace("figures", lines, path)


def write_parts(costs: Costs, load_before: float, path: Path = DOCUMENT) -> None:
    """Replaces the documentation's table of a profile, likewise."""
    _replace("parts", [_measured("`make bench PROFILE=1`", load_before), "", *table(costs)], path)


def _measured(command: str, load_before: float) -> str:
    day = datetime.now(UTC).date()
    busy = " The machine was busy: read nothing but the ratios." if load_before > _BUSY else ""
    return f"{command}, {day:%Y-%m-%d}, on {machine()}. Load before the run: {load_before:.2f}.{busy}"


def _replace(name: str, lines: list[str], path: Path) -> None:
    """What stands between the page's marks of this name."""
    text = path.read_text(encoding="utf-8")
    before, rest = text.split(begin := f"<!-- {name} -->\n", 1)
    after = rest.split(end := f"<!-- end of {name} -->", 1)[1]
    path.write_text(before + begin + "\n".join(lines) + "\n" + end + after, encoding="utf-8")


def load_average() -> float:
    """Of the last minute: what else runs on the machine."""
    return os.getloadavg()[0]


def machine() -> str:
    """The kind of the machine, and what runs on it."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores ({platform.machine()}, {_processor()}), {memory_gib:.0f} GiB, "
        f"{platform.system()} {platform.release().split('-')[0]}, Python {platform.python_version()}"
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "processor unknown"
