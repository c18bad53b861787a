"""The command line as a user runs it: processes, with their output and exit status."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

from typer.testing import CliRunner

from ledger.cli.main import app
from tests import forks
from tests.serving import Server, clean_environment

_SECONDS: Final = 200
"""Of a command that hangs."""


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


def acu_ledger(*arguments: object, environment: Mapping[str, str] | None = None) -> Ran:
    """Runs `acu-ledger` to its end, with these settings."""
    settings = {**clean_environment(), **(environment or {})}
    with TemporaryFile("w+", encoding="utf-8") as stdout, TemporaryFile("w+", encoding="utf-8") as stderr:
        process = forks.start([str(each) for each in arguments], settings, stdout.fileno(), stderr.fileno())
        try:
            status = process.wait(_SECONDS)
        finally:
            process.kill()
        for file in (stdout, stderr):
            file.seek(0)
        return Ran(status, stdout.read(), stderr.read())


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
