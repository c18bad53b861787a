"""`acu-ledger audit`: who did what in the back office of a running server."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.cli.commands.options import AdminTarget, AsJson, at_server, reach, stamp
from ledger.cli.output.console import USAGE, fail, note, out, print_json, table
from ledger.cli.run import run
from ledger.cli.services import call

PAGE_SIZE = 1_000

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
    target: AdminTarget = "127.0.0.1:50052",
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
    events, there_is_more = run(_listed(target, request, limit))
    if as_json:
        print_json(pb.ListAuditEventsResponse(events=events))
    else:
        out().print(_table(events))
    if there_is_more:
        note(f"There is more: these are the newest {limit}. --limit shows more, --until what was before.")


async def _listed(
    target: str, request: pb.ListAuditEventsRequest, limit: int
) -> tuple[list[pb.AuditEvent], bool]:
    """The newest, and whether there are others."""
    found: list[pb.AuditEvent] = []
    async with reach(target) as ledger:
        while True:
            page = await call(ledger.admin.ListAuditEvents, request)
            found += page.events
            request.page_token = page.next_page_token
            if len(found) >= limit or not page.next_page_token:
                return found[:limit], len(found) > limit or bool(page.next_page_token)


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
