"""`acu-ledger import`: customers, and grants of what is left of their lots, of another system."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ledger.cli.commands.options import BACK_OFFICE, AdminTarget, AsJson, at_server, reach
from ledger.cli.importing.importer import Importer, ImportTally
from ledger.cli.importing.requests import CUSTOMERS, GRANTS, ImportKind
from ledger.cli.importing.row_files import RowFileError, RowFormat, open_rows
from ledger.cli.output.amounts import dollars, show_credits, show_dollars
from ledger.cli.output.console import (
    REFUSED,
    USAGE,
    fail,
    note,
    print_json,
    print_table,
    progress,
    table,
)
from ledger.cli.run import run

imports = typer.Typer(
    no_args_is_help=True, help="Customers and opening grants of another system, from CSV or JSON lines."
)

File = Annotated[Path, typer.Argument(help="CSV with a header, or one JSON object a line; - for stdin.")]
Form = Annotated[
    RowFormat | None,
    typer.Option("--format", help="By the file's name, if not given: jsonl, else csv.", show_default=False),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be imported; no effect.")]


@imports.command("customers")
@at_server
def customers(
    file: File,
    form: Form = None,
    dry_run: DryRun = False,
    target: AdminTarget = BACK_OFFICE,
    as_json: AsJson = False,
) -> None:
    """Create the customers of a file: customer_id, plan, display_name, rate_card, zone, multiplier."""
    _import(CUSTOMERS, file, form, target, dry_run=dry_run, as_json=as_json)


@imports.command("grants")
@at_server
def grants(
    file: File,
    form: Form = None,
    dry_run: DryRun = False,
    target: AdminTarget = BACK_OFFICE,
    as_json: AsJson = False,
) -> None:
    """Issue what is left of lots: id, customer_id, credits, kind, paid_total_usd, dates, priority, scope."""
    _import(GRANTS, file, form, target, dry_run=dry_run, as_json=as_json)


def _import(
    kind: ImportKind[Any], file: Path, form: RowFormat | None, target: str, *, dry_run: bool, as_json: bool
) -> None:
    try:
        with open_rows(file, form, kind.columns, kind.required) as rows, progress() as bars:
            bar = bars.add_task(f"Reading {kind.what}", total=None)
            tally = run(_carry_out(kind, rows, target, lambda: bars.advance(bar), dry_run=dry_run))
    except RowFileError as wrong:
        fail(str(wrong), USAGE)
    for problem in sorted(tally.problems, key=lambda each: each.line):
        note(f"{file}:{problem.line}: {problem.field}{': ' if problem.field else ''}{problem.problem}")
    if as_json:
        print_json(_summary(tally))
    else:
        _print_summary(kind, tally, dry_run=dry_run)
    if tally.stopped:
        fail(f"stopped: {tally.stopped}. Run it again: what was imported is not imported twice", REFUSED)
    if tally.problems:
        raise typer.Exit(REFUSED)


async def _carry_out(
    kind: ImportKind[Any],
    rows: Any,
    target: str,
    advance: Callable[[], None],
    *,
    dry_run: bool,
) -> ImportTally:
    async with reach(target) as ledger:
        importer = Importer(ledger, kind, rows, advance)
        return await (importer.check() if dry_run else importer.run())


def _summary(tally: ImportTally) -> dict[str, object]:
    """Numbers of 64 bits as texts, as in protobuf's JSON."""
    return {
        "rows": tally.rows,
        "imported": tally.imported,
        "imported_before": tally.imported_before,
        "wrong": len(tally.wrong_lines),
        "credits_micros": str(tally.granted_micros),
        "paid_total_usd": dollars(tally.paid_nanousd),
        "stopped": tally.stopped,
        "problems": [
            {"line": each.line, "field": each.field, "problem": each.problem}
            for each in sorted(tally.problems, key=lambda each: each.line)
        ],
    }


def _print_summary(kind: ImportKind[Any], tally: ImportTally, *, dry_run: bool) -> None:
    columns = ["rows", "to be imported" if dry_run else "imported", "there before", "wrong"]
    cells = [tally.rows, tally.imported, tally.imported_before, len(tally.wrong_lines)]
    amounts = {"credits": show_credits(tally.granted_micros), "paid": show_dollars(tally.paid_nanousd)}
    shown = amounts if kind is GRANTS else {}
    title = f"{kind.what.capitalize()}{', a dry run' if dry_run else ''}"
    made = table(title, *columns, *shown, numbers=len(columns) + len(shown))
    made.add_row(*(f"{cell:,}" for cell in cells), *shown.values())
    print_table(made)
