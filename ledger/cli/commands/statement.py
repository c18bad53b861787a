"""`acu-ledger statement`: what a month began with, what came and went in it, and what was left."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from rich.table import Table

from ledger.cli.commands.calls import PAGE_SIZE, listed
from ledger.cli.commands.options import PUBLIC, AsJson, PublicTarget, at_server
from ledger.cli.output.amounts import show_credits
from ledger.cli.output.console import REFUSED, USAGE, fail, print_json, print_table, table
from ledger.cli.output.statement_csv import statement_csv
from ledger.cli.output.statement_html import statement_html
from ledger.cli.output.statement_sheet import StatementSheet, sheet_of
from ledger.client.usage_report import added_up
from ledger.v1 import wallet_service_pb2 as wallet


@at_server
def statement(
    customer_id: str,
    month: Annotated[str, typer.Option(help="YYYY-MM, of the customer's time zone.")],
    by: Annotated[list[str] | None, typer.Option(help="Label to tell apart by; may be repeated.")] = None,
    form: Annotated[
        Literal["text", "csv", "html"],
        typer.Option("--format", help="A table for people, rows for spreadsheets, or a page to print."),
    ] = "text",
    target: PublicTarget = PUBLIC,
    as_json: AsJson = False,
) -> None:
    """Print a customer's statement of a month, in credits."""
    keys = by or []
    request = wallet.GetStatementRequest(
        customer_id=customer_id, month=month, label_keys=keys, page_size=PAGE_SIZE
    )
    pages, _ = listed(target, lambda ledger: ledger.wallet.GetStatement, request, lambda page: [page])
    whole = pages[0]
    try:
        lines = added_up(line for page in pages for line in page.lines)
    except ValueError:
        fail("a line adds up to more micro-credits than 64 bits hold: tell it apart by more labels", USAGE)
    del whole.lines[:]
    whole.lines.extend(lines)
    whole.next_page_token = ""
    if as_json:
        print_json(whole)
        return
    sheet = sheet_of(customer_id, month, keys, whole)
    if sheet.off_micros:
        fail(f"the rows and the balances differ by {sheet.off_micros} micro-credits: say so", REFUSED)
    if form == "text":
        print_table(statement_table(sheet))
    else:
        typer.echo(statement_csv(sheet) if form == "csv" else statement_html(sheet), nl=False)


def statement_table(sheet: StatementSheet) -> Table:
    """A row an amount, between the opening and the closing balance."""
    figures = ("items", "credits")
    title = f"Statement of {sheet.customer_id}, {sheet.month} ({sheet.zone}). {sheet.state}"
    made = table(
        title, "", "title", "kind", "name", *sheet.label_keys, "quantities", *figures, numbers=len(figures)
    )
    empty = [""] * (4 + len(sheet.label_keys) + 1)
    made.add_row("Opening balance", *empty, show_credits(sheet.opening_micros))
    for row in sheet.rows:
        made.add_row(
            row.section,
            row.title,
            row.kind,
            row.name,
            *(row.labels.get(key, "") for key in sheet.label_keys),
            "; ".join(filter(None, (row.quantities, row.measured))),
            "" if row.items is None else f"{row.items:,}",
            show_credits(row.credits_micros),
        )
    made.add_row("Closing balance", *empty, show_credits(sheet.closing_micros))
    return made
