"""`acu-ledger audit`: who did what in the back office of a running server."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.cli.commands.calls import PAGE_SIZE, listed
from ledger.cli.commands.options import BACK_OFFICE, AdminTarget, AsJson, at_server, stamp
from ledger.cli.output.console import USAGE, fail, note, print_answer, table

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]


@at_server
def audit(
    method: Annotated[
        str, typer.Option(help="Only this one: IssueGrant, RevokeKey …; files for what servers read.")
    ] = "",
    key: Annotated[str, typer.Option(help="Only what was done with the key of this id.")] = "",
    resource: Annotated[
        str,
        typer.Option(help="Only what concerns customers/ID, keys/ID, rateCards/NAME, costs or plans."),
    ] = "",
    customer: Annotated[str, typer.Option(help="The same as --resource customers/ID.")] = "",
    since: Annotated[datetime | None, typer.Option(formats=_FORMATS, help="UTC.")] = None,
    until: Annotated[datetime | None, typer.Option(formats=_FORMATS, help="UTC, not included.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    target: AdminTarget = BACK_OFFICE,
    as_json: AsJson = False,
) -> None:
    """Show who did what in the back office, the newest first."""
    if customer and resource:
        fail("--customer and --resource: say one of the two", USAGE)
    request = pb.ListAuditEventsRequest(
        page_size=min(limit, PAGE_SIZE),
        method=method,
        key_id=key,
        resource=f"customers/{customer}" if customer else resource,
        since=stamp(since),
        until=stamp(until),
    )
    events, there_is_more = listed(
        target, lambda ledger: ledger.admin.ListAuditEvents, request, lambda page: page.events, limit
    )
    print_answer(pb.ListAuditEventsResponse(events=events), _table(events), as_json=as_json)
    if there_is_more:
        note(f"There is more: these are the newest {limit}. --limit shows more, --until what was before.")


def _table(events: list[pb.AuditEvent]) -> Table:
    made = table("Audit", "at (UTC)", "who", "key", "method", "resource", "what")
    for event in events:
        made.add_row(
            f"{event.at.ToDatetime(tzinfo=UTC):%Y-%m-%d %H:%M:%S}",
            event.name,
            event.key_id or "-",
            event.method,
            event.resource,
            _changes(event),
        )
    return made


def _changes(event: pb.AuditEvent) -> str:
    """What is other than before, in one line."""
    before = json.loads(event.before) if event.before else {}
    after = json.loads(event.after)
    return ", ".join(
        f"{name}: {_shown(before[name])} -> {_shown(value)}" if name in before else f"{name}: {_shown(value)}"
        for name, value in after.items()
        if value != before.get(name)
    )


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
