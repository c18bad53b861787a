"""`acu-ledger events`: what happened to customers' credits, as a running server reports it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC
from typing import Annotated

import typer
from rich.table import Table

from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.cli.commands.calls import ask
from ledger.cli.commands.options import BACK_OFFICE, AdminTarget, AsJson, at_server
from ledger.cli.output.console import note, print_answer, table
from ledger.v1.wallet_service_pb2 import Event


@at_server
def events(
    event_type: Annotated[
        list[str] | None, typer.Option("--type", help="Only these; may be repeated. All, if not given.")
    ] = None,
    after: Annotated[str, typer.Option(help="A cursor: only what came after it.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="How many at most.")] = 50,
    target: AdminTarget = BACK_OFFICE,
    as_json: AsJson = False,
) -> None:
    """Show what happened to all customers' credits, the oldest first, and the cursor to go on with."""
    request = pb.ListAllEventsRequest(page_size=limit, page_token=after, types=event_type or ())
    page = ask(target, lambda ledger: ledger.admin.ListAllEvents, request)
    print_answer(page, _table(page.events), as_json=as_json)
    more = "There is more" if page.next_page_token else "There is no more for now"
    note(f"{more}: go on with --after {page.cursor}")


def _table(found: Iterable[Event]) -> Table:
    made = table("Events", "at (UTC)", "customer", "number", "type", "what")
    for event in found:
        made.add_row(
            f"{event.occurred_at.ToDatetime(tzinfo=UTC):%Y-%m-%d %H:%M:%S}",
            event.customer_id or "-",
            str(event.number),
            event.type,
            ", ".join(f"{name}: {value}" for name, value in json.loads(event.data).items() if value),
        )
    return made
