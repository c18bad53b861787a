"""`acu-ledger webhooks`: where a server delivers events to.

A secret goes to stdout alone, what is said of it to stderr, so that it can be piped into where it is stored.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from rich.table import Table

from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.cli.commands.calls import ask
from ledger.cli.commands.options import BACK_OFFICE, AdminTarget, AsJson, at_server, duration, stamp
from ledger.cli.output.console import REFUSED, USAGE, fail, note, print_answer, print_json, table

webhooks = typer.Typer(no_args_is_help=True, help="Endpoints that a server delivers events to.")

EndpointId = Annotated[str, typer.Argument(help="As `list` shows it.")]
RequestId = Annotated[
    str | None, typer.Option(help="A repeat with the same one does nothing more; random, if not given.")
]


@webhooks.command("create")
@at_server
def create(
    url: Annotated[str, typer.Argument(help="https, and an address that is public.")],
    event_type: Annotated[
        list[str] | None,
        typer.Option("--type", help="Of events; may be repeated. All that customers may see, if not given."),
    ] = None,
    customer: Annotated[
        list[str] | None, typer.Option(help="The only ones; may be repeated. All, if not given.")
    ] = None,
    description: Annotated[str, typer.Option(help="Whose it is.")] = "",
    request_id: RequestId = None,
    target: AdminTarget = BACK_OFFICE,
    as_json: AsJson = False,
) -> None:
    """Have events delivered from now on, and show the secret that signs: once, and nowhere else."""
    request = pb.CreateWebhookRequest(
        request_id=request_id or secrets.token_hex(16),
        url=url,
        description=description,
        types=event_type or (),
        customer_ids=customer or (),
    )
    _show(ask(target, lambda ledger: ledger.admin.CreateWebhook, request), as_json=as_json)


@webhooks.command("list")
@at_server
def list_webhooks(target: AdminTarget = BACK_OFFICE, as_json: AsJson = False) -> None:
    """List all endpoints, with what waits for them and what was given up."""
    answer = ask(target, lambda ledger: ledger.admin.ListWebhooks, pb.ListWebhooksRequest())
    print_answer(answer, _table(answer.webhooks), as_json=as_json)


@webhooks.command("update")
@at_server
def update(
    endpoint_id: EndpointId,
    url: Annotated[str | None, typer.Option(help="https, and an address that is public.")] = None,
    event_type: Annotated[
        list[str] | None, typer.Option("--type", help="Of events, instead of those so far; may be repeated.")
    ] = None,
    all_types: Annotated[bool, typer.Option("--all-types", help="All that customers may see.")] = False,
    customer: Annotated[
        list[str] | None, typer.Option(help="The only ones, instead of those so far; may be repeated.")
    ] = None,
    all_customers: Annotated[bool, typer.Option("--all-customers")] = False,
    description: Annotated[str | None, typer.Option(help="Whose it is.")] = None,
    target: AdminTarget = BACK_OFFICE,
) -> None:
    """Change where an endpoint leads, and what for; what is not given stays as it is."""
    if (event_type and all_types) or (customer and all_customers):
        fail("Name types or --all-types, and customers or --all-customers: not both", USAGE)
    changes: dict[str, Any] = {
        "url": url,
        "description": description,
        "types": [] if all_types else event_type,
        "customer_ids": [] if all_customers else customer,
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    if not changes:
        fail("Name what changes: --url, --type, --customer, --description", USAGE)
    request = pb.UpdateWebhookRequest(
        webhook=pb.Webhook(endpoint_id=endpoint_id, **changes), update_mask=FieldMask(paths=list(changes))
    )
    ask(target, lambda ledger: ledger.admin.UpdateWebhook, request)
    note(f"Endpoint {endpoint_id} is changed.")


@webhooks.command("delete")
@at_server
def delete(endpoint_id: EndpointId, target: AdminTarget = BACK_OFFICE) -> None:
    """End an endpoint, with what waits for it."""
    ask(target, lambda ledger: ledger.admin.DeleteWebhook, pb.DeleteWebhookRequest(endpoint_id=endpoint_id))
    note(f"Endpoint {endpoint_id} is deleted.")


@webhooks.command("rotate")
@at_server
def rotate(
    endpoint_id: EndpointId,
    overlap: Annotated[
        str, typer.Option(help="How long the first secret signs too: 90s, 30m, 24h, 7d; 30d at most.")
    ] = "24h",
    request_id: RequestId = None,
    target: AdminTarget = BACK_OFFICE,
    as_json: AsJson = False,
) -> None:
    """Draw another secret, and show it; the one before signs beside it for a while."""
    request = pb.RotateWebhookSecretRequest(
        request_id=request_id or secrets.token_hex(16), endpoint_id=endpoint_id, overlap=duration(overlap)
    )
    _show(ask(target, lambda ledger: ledger.admin.RotateWebhookSecret, request), as_json=as_json)


@webhooks.command("replay")
@at_server
def replay(
    endpoint_id: EndpointId,
    since: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"],
            help="All events from then on (UTC), delivered or not; what was given up alone, if not given.",
        ),
    ] = None,
    target: AdminTarget = BACK_OFFICE,
) -> None:
    """Deliver what was given up again, or all from an instant on."""
    request = pb.ReplayEventsRequest(endpoint_id=endpoint_id, since=stamp(since))
    answer = ask(target, lambda ledger: ledger.admin.ReplayEvents, request)
    note(f"{answer.events} events will be delivered.")


def _show(answer: pb.CreateWebhookResponse | pb.RotateWebhookSecretResponse, *, as_json: bool) -> None:
    """The secret on stdout, and whose it is on stderr."""
    endpoint_id = answer.webhook.endpoint_id
    if answer.replayed:
        fail(
            f"The secret of {endpoint_id} was drawn by an earlier request of this id, and is not shown again:"
            " rotate it if it was lost",
            REFUSED,
        )
    note(f"Endpoint {endpoint_id}: {answer.webhook.url}. The secret is not shown again.")
    if as_json:
        print_json(answer)
    else:
        typer.echo(answer.secret)


def _table(found: Iterable[pb.Webhook]) -> Table:
    made = table("Webhooks", "id", "url", "types", "customers", "waiting", "dead", "last failure")
    for each in found:
        failed = f"{each.last_failure} ({_when(each.last_failed_at)})" if each.last_failure else "-"
        made.add_row(
            each.endpoint_id,
            each.url,
            ", ".join(each.types) or "all",
            ", ".join(each.customer_ids) or "all",
            str(each.waiting_events),
            str(each.dead_events),
            failed,
        )
    return made


def _when(stamp_: Timestamp) -> str:
    return f"{stamp_.ToDatetime(tzinfo=UTC):%Y-%m-%d %H:%M:%SZ}"
