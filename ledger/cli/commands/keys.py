"""`acu-ledger keys`: who may call a server.

A key goes to stdout alone, all that is said of it to stderr, so that it can be piped into where it is stored.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from google.protobuf.timestamp_pb2 import Timestamp
from rich.table import Table

from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.cli.commands.calls import PAGE_SIZE, ask, listed
from ledger.cli.commands.options import BACK_OFFICE, AdminTarget, AsJson, at_server, duration, reach, stamp
from ledger.cli.output.console import REFUSED, fail, note, print_answer, print_json, table, whoever
from ledger.cli.run import run
from ledger.cli.services import call

keys = typer.Typer(
    no_args_is_help=True,
    help="Keys of a server's callers. The first is made at the database: set DATABASE_URL, give no --target.",
)

_STATES: Final = {
    pb.KEY_STATE_ACTIVE: "active",
    pb.KEY_STATE_EXPIRED: "expired",
    pb.KEY_STATE_REVOKED: "revoked",
}

Expiry = Annotated[
    datetime | None,
    typer.Option("--expires-at", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="UTC."),
]
RequestId = Annotated[
    str | None, typer.Option(help="A repeat with the same one makes no second key; random, if not given.")
]


@keys.command("create")
@at_server
def create(
    name: Annotated[str, typer.Option(help="Whom it is for: what it does is audited under this name.")],
    scope: Annotated[
        list[str], typer.Option(help="backend, refund, wallet, ops or finance; may be repeated.")
    ],
    customer: Annotated[
        list[str] | None,
        typer.Option(help="The only ones that it may name; may be repeated. Any, if not given."),
    ] = None,
    expires_at: Expiry = None,
    request_id: RequestId = None,
    target: Annotated[
        str | None,
        typer.Option(
            help=f"HOST:PORT of a server's back office; {BACK_OFFICE}, if neither it nor a database is given."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            file_okay=False, help="Make it at the embedded database in this directory; its server is stopped."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key, and show it: once, and nowhere else.

    With DATABASE_URL set and no --target it is made at the database, with no server and no key.
    """
    request = pb.CreateKeyRequest(
        request_id=request_id or secrets.token_hex(16),
        name=name,
        scopes=scope,
        customer_ids=customer or (),
        expires_at=stamp(expires_at),
    )
    answer = run(_create(target, data, request))
    _show(answer, answer.key, answer.secret, as_json=as_json)


async def _create(
    target: str | None, data: Path | None, request: pb.CreateKeyRequest
) -> pb.CreateKeyResponse:
    if target is None:
        from ledger.cli.first_key import made_at_database  # noqa: PLC0415 -- with it comes all that serves

        made = await made_at_database(data, request)
        if made is not None:
            return made
    async with reach(target or BACK_OFFICE) as ledger:
        return await call(ledger.admin.CreateKey, request)


@keys.command("list")
@at_server
def list_keys(target: AdminTarget = BACK_OFFICE, as_json: AsJson = False) -> None:
    """List all keys that were ever made, the newest first."""
    request = pb.ListKeysRequest(page_size=PAGE_SIZE)
    found, _ = listed(target, lambda ledger: ledger.admin.ListKeys, request, lambda page: page.keys)
    print_answer(pb.ListKeysResponse(keys=found), _table(found), as_json=as_json)


@keys.command("revoke")
@at_server
def revoke(
    key_id: Annotated[str, typer.Argument(help="As `list` shows it.")],
    target: AdminTarget = BACK_OFFICE,
    as_json: AsJson = False,
) -> None:
    """End a key: within 2 s no server takes it."""
    answer = ask(target, lambda ledger: ledger.admin.RevokeKey, pb.RevokeKeyRequest(key_id=key_id))
    print_answer(answer, _table([answer.key]), as_json=as_json)


@keys.command("rotate")
@at_server
def rotate(
    key_id: Annotated[str, typer.Argument(help="As `list` shows it.")],
    overlap: Annotated[
        str, typer.Option(help="How long the first one goes on: 90s, 30m, 24h, 7d; 30d at most.")
    ] = "24h",
    expires_at: Expiry = None,
    request_id: RequestId = None,
    target: AdminTarget = BACK_OFFICE,
    as_json: AsJson = False,
) -> None:
    """Make the successor of a key, with its name, scopes and customers, and show it."""
    request = pb.RotateKeyRequest(
        request_id=request_id or secrets.token_hex(16),
        key_id=key_id,
        overlap=duration(overlap),
        expires_at=stamp(expires_at),
    )
    answer = ask(target, lambda ledger: ledger.admin.RotateKey, request)
    note(f"Key {answer.replaced.key_id} ends at {_when(answer.replaced.expires_at)}.")
    _show(answer, answer.key, answer.secret, as_json=as_json)


def _show(
    answer: pb.CreateKeyResponse | pb.RotateKeyResponse, key: pb.Key, secret: str, *, as_json: bool
) -> None:
    """The key on stdout, and what it is on stderr."""
    if answer.replayed:
        fail(
            f"Key {key.key_id} was made by an earlier request of this id, and is not shown again:"
            " rotate it if it was lost",
            REFUSED,
        )
    bound = f" for {', '.join(key.customer_ids)}" if key.customer_ids else ""
    end = f", until {_when(key.expires_at)}" if key.HasField("expires_at") else ""
    note(f"Key {key.key_id} of {key.name}: {', '.join(key.scopes)}{bound}{end}. It is not shown again.")
    if as_json:
        print_json(answer)
    else:
        typer.echo(secret)


def _table(found: list[pb.Key]) -> Table:
    made = table("Keys", "id", "name", "scopes", "customers", "state", "created", "by", "ends", "last used")
    for key in found:
        end = key.revoked_at if key.HasField("revoked_at") else key.expires_at
        made.add_row(
            key.key_id,
            key.name,
            ", ".join(key.scopes),
            ", ".join(key.customer_ids) or "any",
            _STATES.get(key.state, str(key.state)),
            _when(key.created_at),
            whoever(key.created_by, key.created_by_key_id),
            _when(end) if end.seconds else "never",
            key.last_used_day or "never",
        )
    return made


def _when(stamp: Timestamp) -> str:
    return f"{stamp.ToDatetime(tzinfo=UTC):%Y-%m-%d %H:%M:%SZ}"
