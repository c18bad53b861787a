"""The command line as a user runs it: processes, with their output and exit status."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

from ledger.cli.main import app

REPOSITORY = Path(__file__).parents[3]
COMMAND = (sys.executable, "-c", "from ledger.cli.main import main; main()")
FREE_PORTS = {f"ACU_LEDGER_{name}_PORT": "0" for name in ("PUBLIC", "BACK_OFFICE", "OPERATIONS", "FINANCE")}
START_LINES = 9
"""What `serve` prints when it serves: a heading, four addresses, and calls to try."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended."""

    status: int
    stdout: str
    stderr: str

    def json(self, status: int = 0) -> dict[str, object]:
        """The one object on stdout; the command ended with this status, by default with success."""
        assert self.status == status, self.stderr
        answer = json.loads(self.stdout)
        assert isinstance(answer, dict)
        return answer


@dataclass(frozen=True, slots=True)
class Server:
    """A server in a process of its own; `said` is what it printed when it began to serve."""

    said: str

    def address(self, name: str) -> str:
        found = re.search(rf"{name} +(\S+)", self.said)
        assert found, self.said
        return found[1]

    @property
    def public(self) -> str:
        return self.address("public API")

    @property
    def back_office(self) -> str:
        return self.address("back office")


@contextmanager
def serving(config: Path, data: Path) -> Iterator[Server]:
    """Runs `acu-ledger serve` on free ports; it ends by SIGTERM with status 0."""
    with subprocess.Popen(
        [*COMMAND, "serve", "--config", str(config), "--data", str(data)],
        cwd=REPOSITORY,
        env={**clean_environment(), **FREE_PORTS},
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        yield Server("".join(server.stdout.readline() for _ in range(START_LINES)))
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=30) == 0


def clean_environment() -> Mapping[str, str]:
    """Answers with this process's, without settings of the ledger."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name != "DATABASE_URL" and not name.startswith("ACU_LEDGER_")
    }
    return {**kept, "PYTHONWARNINGS": "error"}


def acu_ledger(*arguments: object, environment: Mapping[str, str] | None = None) -> Ran:
    """Runs `acu-ledger` to its end, with these settings."""
    ran = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=REPOSITORY,
        env={**clean_environment(), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def refused_at_once(*arguments: object) -> str:
    """What a command that makes no sense says on stderr; it ends with status 2 and says nothing else."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert (result.exit_code, result.stdout) == (2, "")
    return result.stderr


def replay(on: Path | Server, record_format: str, file: Path, *options: object) -> Ran:
    """Replays a file, for a program to read: on an embedded database, or on a running server."""
    where = (
        ("--data", on) if isinstance(on, Path) else ("--target", on.public, "--admin-target", on.back_office)
    )
    return acu_ledger("replay", "--format", record_format, file, "--json", *where, *options)


def lines(*rows: Sequence[object]) -> str:
    """Rows as CSV."""
    return "".join(",".join(map(str, row)) + "\n" for row in rows)
