"""The command line as a user runs it: processes, with their output and exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
COMMAND = (sys.executable, "-c", "from ledger.cli.main import main; main()")


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended."""

    status: int
    stdout: str
    stderr: str

    def json(self) -> dict[str, object]:
        """The one object on stdout; the command succeeded."""
        assert self.status == 0, self.stderr
        answer = json.loads(self.stdout)
        assert isinstance(answer, dict)
        return answer


def environment() -> Mapping[str, str]:
    """Answers with this process's, without settings of the ledger."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name != "DATABASE_URL" and not name.startswith("ACU_LEDGER_")
    }
    return {**kept, "PYTHONWARNINGS": "error"}


def acu_ledger(*arguments: object) -> Ran:
    """Runs `acu-ledger` to its end."""
    ran = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def replay(data: Path, record_format: str, file: Path, *options: object) -> Ran:
    """Replays a file on an embedded database, for a program to read."""
    return acu_ledger("replay", "--format", record_format, file, "--data", data, "--json", *options)


def write_config(directory: Path, costs: str, **cards: str) -> Path:
    """A directory of costs.yaml and cards, without revisions and plans."""
    (directory / "cards").mkdir(parents=True)
    (directory / "costs.yaml").write_text(costs)
    for name, card in cards.items():
        (directory / "cards" / f"{name}.yaml").write_text(f"card: {name}\n{card}")
    return directory


def lines(*rows: Sequence[object]) -> str:
    """Rows as CSV."""
    return "".join(",".join(map(str, row)) + "\n" for row in rows)
