"""The entry point of `acu-ledger`."""

from __future__ import annotations

import errno
from importlib.metadata import version
from typing import Annotated, ClassVar

import typer

from ledger.cli.lazy import LazyGroup
from ledger.cli.output.console import REFUSED, fail

_LIBRARY_PREFIX = "Value error, "
_NO_ROOM = frozenset({errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC})
"""Why nothing can be written to stdout; a pipe that is closed is no failure of ours, and ends the command."""


class _MainCommands(LazyGroup):
    """All commands: what is wrong with a value, or with a file to be written, is said in words of ours."""

    elsewhere: ClassVar = {
        "serve": "ledger.cli.commands.serve:serve",
        "migrate": "ledger.cli.commands.serve:migrate",
        "backup": "ledger.cli.commands.backup:backup",
        "restore": "ledger.cli.commands.backup:restore",
        "demo": "ledger.cli.commands.demo:demo",
        "replay": "ledger.cli.commands.replay:replay",
        "audit": "ledger.cli.commands.audit:audit",
        "books": "ledger.cli.commands.books:books",
        "rates": "ledger.cli.commands.rates:rates",
        "customers": "ledger.cli.commands.customers:customers",
        "grants": "ledger.cli.commands.grants:grants",
        "import": "ledger.cli.commands.imports:imports",
        "statement": "ledger.cli.commands.statement:statement",
        "topups": "ledger.cli.commands.topups:topups",
        "events": "ledger.cli.commands.events:events",
        "webhooks": "ledger.cli.commands.webhooks:webhooks",
        "keys": "ledger.cli.commands.keys:keys",
    }

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]  # typer's base class is private
        try:
            return super().invoke(ctx)
        except typer.BadParameter as wrong:
            wrong.message = wrong.message.removeprefix(_LIBRARY_PREFIX)
            raise
        except OSError as failed:
            if failed.filename is None and failed.errno not in _NO_ROOM:
                raise
            fail(f"{failed.filename or 'what is printed'}: {failed.strerror}", REFUSED)


app = typer.Typer(
    cls=_MainCommands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"acu-ledger {version('acu-ledger')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version, and end."),
    ] = False,
) -> None:
    """Sells abstract compute credits for agent work."""


def main() -> None:
    """Runs the command line."""
    app()
