"""The entry point of `acu-ledger`."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer
from typer.core import TyperGroup

from ledger.cli.commands.audit import audit
from ledger.cli.commands.back_office import customers, grants
from ledger.cli.commands.backup import backup, restore
from ledger.cli.commands.books import books
from ledger.cli.commands.demo import demo
from ledger.cli.commands.keys import keys
from ledger.cli.commands.rates import rates
from ledger.cli.commands.rates_simulate import fit, import_costs, simulate
from ledger.cli.commands.replay import replay
from ledger.cli.commands.serve import migrate, serve

_LIBRARY_PREFIX = "Value error, "


class _Commands(TyperGroup):
    """All commands, which tell a wrong value without what a library puts before it."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]  # typer's base class is private
        try:
            return super().invoke(ctx)
        except typer.BadParameter as wrong:
            wrong.message = wrong.message.removeprefix(_LIBRARY_PREFIX)
            raise


app = typer.Typer(
    cls=_Commands,
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
    """Sell abstract compute credits for agent work."""


app.command()(serve)
app.command()(migrate)
app.command()(backup)
app.command()(restore)
app.command()(demo)
app.command()(replay)
app.command()(audit)
rates.command("simulate")(simulate)
rates.command("fit")(fit)
rates.command("import")(import_costs)
app.add_typer(books, name="books")
app.add_typer(rates, name="rates")
app.add_typer(customers, name="customers")
app.add_typer(grants, name="grants")
app.add_typer(keys, name="keys")


def main() -> None:
    """Runs the command line."""
    app()
