"""A command imports what it needs: who calls a server does not wait for what serves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from ledger.cli.main import app
from tests.serving import COMMAND, REPOSITORY

HEAVY = ("asyncpg", "ledger.app", "ledger.settings", "pydantic_settings", "pricing.public", "sqlalchemy")
IMPORTED = f"""
import sys
from ledger.cli.start import main
sys.argv = ["acu-ledger", *sys.argv[1:]]
try:
    main()
finally:
    print(*(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)
"""


def started(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A program that has run in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("--version",),
        ("audit", "--help"),
        ("books", "--help"),
        ("customers", "--help"),
        ("grants", "--help"),
        ("keys", "--help"),
        ("rates", "list", "--help"),
    ],
)
def test_a_client_imports_no_server(arguments: tuple[str, ...]) -> None:
    """Neither the driver of the database, nor the settings of a server, nor what prices and migrates."""
    ran = started(IMPORTED, *arguments)
    assert (ran.returncode, ran.stderr.split()) == (0, [])
    assert ran.stdout


def test_the_probe_imports_no_server() -> None:
    """It asks every few seconds: of what serves it reads the settings, and nothing else."""
    ran = started("import sys, ledger.cli.probe; print(*sys.modules)")
    imported = set(ran.stdout.split())
    assert {"grpc", "ledger.settings"} <= imported
    assert not imported & {"asyncpg", "ledger.app", "pricing.public", "sqlalchemy", "typer"}


def test_a_server_imports_what_it_uses() -> None:
    """Nothing that applies migrations where there is none to apply, or sends traces that nobody collects."""
    ran = started("import sys, ledger.app, ledger.cli.main; print(*sys.modules)")
    imported = {name.partition(".")[0] for name in ran.stdout.split()}
    assert {"ledger", "asyncpg"} <= imported
    assert not imported & {"alembic", "sqlalchemy", "opentelemetry"}


def _commands(group: typer.core.TyperGroup, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    context = typer.Context(group)
    found = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        inner = isinstance(command, typer.core.TyperGroup)
        found += _commands(command, (*path, name)) if inner else [(*path, name)]
    return found


def test_every_command_is_found_where_it_is_said_to_be() -> None:
    """Each is imported by its name, and says in its help what it is called."""
    commands = _commands(typer.main.get_command(app))
    assert {("serve",), ("rates", "check"), ("rates", "import"), ("keys", "rotate")} <= set(commands)
    for path in commands:
        reported = CliRunner().invoke(app, [*path, "--help"])
        assert reported.exit_code == 0, reported.output
        assert " ".join(path) in reported.output


def test_a_command_that_is_not_there_is_told_with_those_that_are_alike() -> None:
    """Whether it is imported by then or not."""
    refused = CliRunner().invoke(app, ["serv"])
    assert (refused.exit_code, "'serve'" in refused.output) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["webhooks", "update", "whe_1"], "Name what changes"),
        (["webhooks", "update", "whe_1", "--type", "grant.issued", "--all-types"], "not both"),
        (["webhooks", "update", "whe_1", "--customer", "acme", "--all-customers"], "not both"),
    ],
)
def test_a_change_of_nothing_is_a_slip(arguments: list[str], says: str) -> None:
    """It makes no sense, whatever a server would say: nobody asks one."""
    refused = CliRunner().invoke(app, arguments)
    assert (refused.exit_code, says in refused.output) == (2, True)


def test_what_cannot_be_written_is_said_in_a_line() -> None:
    """Without a trace: what is printed, or the file, and why."""
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [*COMMAND, "rates", "check", "deploy/config"],
            cwd=REPOSITORY,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (ran.returncode, ran.stderr) == (1, "what is printed: No space left on device\n")
