"""`acu-ledger topups`: what was bought anew for a customer, or is to be, on a running server."""

from __future__ import annotations

from typing import Annotated

import typer
from google.protobuf.timestamp_pb2 import Timestamp
from rich.table import Table

from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.cli.commands.calls import ask
from ledger.cli.commands.options import BACK_OFFICE, AdminTarget, AsJson, at_server
from ledger.cli.output.amounts import show_credits
from ledger.cli.output.console import note, print_json, print_table, table

topups = typer.Typer(no_args_is_help=True, help="Top-ups of a customer, as its plan says.")


@topups.command("list")
@at_server
def list_top_ups(
    customer_id: str,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="How many at most.")] = 50,
    target: AdminTarget = BACK_OFFICE,
    as_json: AsJson = False,
) -> None:
    """List the top-ups of a customer, the newest first, and whether another one is needed."""
    request = pb.ListTopUpsRequest(customer_id=customer_id, page_size=limit)
    answer = ask(target, lambda ledger: ledger.admin.ListTopUps, request)
    if as_json:
        print_json(answer)
        return
    print_table(_table(answer))
    if answer.needed:
        after = f"; next attempt {_when(answer.next_attempt_at)}" if answer.failed_attempts else ""
        note(f"A top-up is needed, or on its way: {answer.failed_attempts} attempts have failed{after}.")


@topups.command("retry")
@at_server
def retry(customer_id: str, target: AdminTarget = BACK_OFFICE) -> None:
    """Ask for a top-up at once after some have failed, as if none had."""
    request = pb.RetryTopUpRequest(customer_id=customer_id)
    if ask(target, lambda ledger: ledger.admin.RetryTopUp, request).needed:
        note("It will be requested within a second or two, if it is still needed.")
    else:
        note("The customer needs no top-up.")


def _table(answer: pb.ListTopUpsResponse) -> Table:
    texts = ("state", "failure", "grant", "requested (UTC)", "answer by (UTC)")
    made = table("Top-ups", "number", *texts, "attempt", "credits", "price USD", numbers=3)
    for each in answer.top_ups:
        made.add_row(
            str(each.number),
            _word(pb.TopUpState.Name(each.state), "TOP_UP_STATE_"),
            _word(pb.TopUpFailure.Name(each.failure), "TOP_UP_FAILURE_") if each.failure else "-",
            each.grant_id or "-",
            _when(each.requested_at),
            _when(each.answer_by),
            str(each.attempt),
            show_credits(each.amount_micros),
            each.price_usd,
        )
    return made


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower().replace("_", " ")


def _when(instant: Timestamp) -> str:
    return f"{instant.ToDatetime():%Y-%m-%d %H:%M:%S}" if instant.seconds else "none"
