"""`acu-ledger grants`: credits that ops issue, confirm, take back, extend and look up on a running server."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Annotated, Any, Literal

import typer
from google.protobuf.message import Message
from rich.table import Table

from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.cli.commands.calls import PAGE_SIZE, ask, listed
from ledger.cli.commands.options import (
    BACK_OFFICE,
    AdminTarget,
    AsJson,
    RequestId,
    at_server,
    stamp,
    take_options,
)
from ledger.cli.output.amounts import micros, show_credits
from ledger.cli.output.console import USAGE, fail, note, print_answer, table
from ledger.v1.wallet_service_pb2 import Grant, GrantKind, GrantStatus

grants = typer.Typer(no_args_is_help=True, help="Grants of credits, on a running server.")

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]
_Reason = Annotated[str, typer.Option(help="A sentence for whoever audits it.")]
_GrantId = Annotated[str, typer.Argument(help="As `issue` and `list` print it.")]


def _changes_a_grant(stating: Callable[..., Message]) -> Callable[..., None]:
    """Makes a command of what states a request of the back office, whose answer says how a grant is now."""

    @wraps(stating)
    def command(*args: Any, request_id: str | None, target: str, as_json: bool, **kwargs: Any) -> None:
        request: Any = stating(*args, **kwargs)
        request.request_id = request_id or secrets.token_hex(16)
        method = type(request).__name__.removesuffix("Request")
        answer = ask(target, lambda ledger: getattr(ledger.admin, method), request)
        print_answer(answer, _grant_table(answer, request.customer_id), as_json=as_json)
        if not as_json:
            _note_what_is_to_be_done(answer)

    take_options(
        command,
        stating,
        {"request_id": (RequestId, None), "target": (AdminTarget, BACK_OFFICE), "as_json": (AsJson, False)},
    )
    return at_server(command)


def _note_what_is_to_be_done(answer: Message) -> None:
    """Money that is to be paid back, or will not come."""
    if isinstance(answer, pb.RefundGrantResponse):
        note(f"{show_credits(answer.refunded_micros)} credits are taken back: pay ${answer.refund_usd} back.")
    elif isinstance(answer, (pb.WriteOffGrantResponse, pb.WriteOffDebtResponse)):
        note(f"${answer.written_off_usd} is written off.")


# An amount below 0 is no option: it is reported as what it is.
@grants.command("issue", context_settings={"ignore_unknown_options": True})
@_changes_a_grant
def issue(
    customer_id: str,
    amount: Annotated[str, typer.Argument(help="Credits, with at most 6 decimal places.")],
    kind: Annotated[Literal["PAID", "PROMO", "SUBSCRIPTION", "ADJUSTMENT"], typer.Option()] = "PAID",
    paid_total_usd: Annotated[str, typer.Option(help="Paid for the whole grant, in dollars.")] = "0",
    expires_at: Annotated[
        datetime | None, typer.Option(formats=_FORMATS, help="UTC; never, if not given.")
    ] = None,
    scope: Annotated[
        str,
        typer.Option(
            help="Pays for this alone: tokens, compute, units, outcome or pool:NAME; for any, if not given."
        ),
    ] = "",
    pending_payment: Annotated[
        bool, typer.Option("--pending-payment", help="Nobody can draw it until `confirm`.")
    ] = False,
    reference: Annotated[str, typer.Option(help="Your own, an invoice's number say; customers see it.")] = "",
    remark: Annotated[str, typer.Option("--note", help="For the back office alone.")] = "",
) -> pb.IssueGrantRequest:
    """Issue a grant of credits."""
    return pb.IssueGrantRequest(
        customer_id=customer_id,
        amount_micros=_amount_micros(amount),
        kind=GrantKind.Value(f"GRANT_KIND_{kind}"),
        paid_total_usd=paid_total_usd,
        expires_at=stamp(expires_at),
        scope=scope,
        pending_payment=pending_payment,
        external_reference=reference,
        note=remark,
    )


@grants.command("confirm")
@_changes_a_grant
def confirm(
    customer_id: str,
    grant_id: _GrantId,
    paid_total_usd: Annotated[
        str, typer.Option(help="What was really paid, in dollars; what was stated, if not given.")
    ] = "",
) -> pb.ConfirmGrantRequest:
    """Issue a grant whose payment was pending."""
    return pb.ConfirmGrantRequest(
        customer_id=customer_id,
        grant_id=grant_id,
        paid_total_usd=paid_total_usd,
    )


@grants.command("void")
@_changes_a_grant
def void(
    customer_id: str,
    grant_id: _GrantId,
    reason: _Reason,
    used: Annotated[
        Literal["STAY_PAID", "BECOME_DEBT"] | None,
        typer.Option(
            help="Used credits: their payment stays, or was taken back (a chargeback); as the customer's plan"
            " has it, if not given."
        ),
    ] = None,
    only_pending_payment: Annotated[
        bool, typer.Option("--only-pending-payment", help="Not if it has been paid for meanwhile.")
    ] = False,
) -> pb.VoidGrantRequest:
    """Take back what nobody holds of a grant."""
    return pb.VoidGrantRequest(
        customer_id=customer_id,
        grant_id=grant_id,
        reason=reason,
        used=pb.UsedCredits.Value(f"USED_CREDITS_{used or 'UNSPECIFIED'}"),
        only_pending_payment=only_pending_payment,
    )


@grants.command("extend")
@_changes_a_grant
def extend(
    customer_id: str,
    grant_id: _GrantId,
    expires_at: Annotated[
        datetime | None, typer.Option(formats=_FORMATS, help="UTC, in the future; as it is, if not given.")
    ] = None,
    never_expires: Annotated[
        bool, typer.Option("--never-expires", help="It does not expire at all.")
    ] = False,
    priority: Annotated[int | None, typer.Option(help="Lower burns first; as it is, if not given.")] = None,
) -> pb.ExtendGrantRequest:
    """Give a grant another expiry, another priority, or both."""
    if expires_at is not None and never_expires:
        fail("--expires-at and --never-expires: say one of the two", USAGE)
    request = pb.ExtendGrantRequest(
        customer_id=customer_id,
        grant_id=grant_id,
        expires_at=stamp(expires_at),
        priority=priority,
    )
    if never_expires:
        request.never_expires = True
    return request


# An amount below 0 is no option: it is reported as what it is.
@grants.command("refund", context_settings={"ignore_unknown_options": True})
@_changes_a_grant
def refund(
    customer_id: str,
    grant_id: _GrantId,
    reason: _Reason,
    amount: Annotated[
        str, typer.Option(help="Credits, with at most 6 decimal places; all that nobody holds, if not given.")
    ] = "",
    refund_usd: Annotated[
        str, typer.Option(help="To be paid back, in dollars; what the credits are worth, if not given.")
    ] = "",
) -> pb.RefundGrantRequest:
    """Take credits of a grant back for money, which you pay back by your payment system."""
    return pb.RefundGrantRequest(
        customer_id=customer_id,
        grant_id=grant_id,
        amount_micros=_amount_micros(amount) if amount else None,
        refund_usd=refund_usd,
        reason=reason,
    )


@grants.command("dispute")
@_changes_a_grant
def dispute(
    customer_id: str,
    grant_id: _GrantId,
    reason: _Reason,
) -> pb.DisputeGrantRequest:
    """Set aside what nobody holds of a grant whose payment is disputed, until `resolve`."""
    return pb.DisputeGrantRequest(customer_id=customer_id, grant_id=grant_id, reason=reason)


@grants.command("resolve")
@_changes_a_grant
def resolve(
    customer_id: str,
    grant_id: _GrantId,
    outcome: Annotated[
        Literal["WON", "LOST"], typer.Argument(help="The payment stands, or it was taken back.")
    ],
    reason: _Reason,
    used: Annotated[
        Literal["STAY_PAID", "BECOME_DEBT"] | None,
        typer.Option(help="Used credits of one that is lost; as its plan has it, if not given."),
    ] = None,
) -> pb.ResolveDisputeRequest:
    """Give a disputed grant back, or take it back as `void` does."""
    return pb.ResolveDisputeRequest(
        customer_id=customer_id,
        grant_id=grant_id,
        outcome=pb.DisputeOutcome.Value(f"DISPUTE_OUTCOME_{outcome}"),
        used=pb.UsedCredits.Value(f"USED_CREDITS_{used}") if used else pb.USED_CREDITS_UNSPECIFIED,
        reason=reason,
    )


@grants.command("write-off")
@_changes_a_grant
def write_off(
    customer_id: str,
    grant_id: _GrantId,
    reason: _Reason,
    amount_usd: Annotated[
        str,
        typer.Option(help="In dollars; all that its used and expired credits were sold for, if not given."),
    ] = "",
) -> pb.WriteOffGrantRequest:
    """Give up what a grant was sold for: nobody will pay it."""
    return pb.WriteOffGrantRequest(
        customer_id=customer_id,
        grant_id=grant_id,
        amount_usd=amount_usd,
        reason=reason,
    )


@grants.command("write-off-debt", context_settings={"ignore_unknown_options": True})
@_changes_a_grant
def write_off_debt(
    customer_id: str,
    reason: _Reason,
    amount: Annotated[
        str, typer.Option(help="Credits, with at most 6 decimal places; all that is owed, if not given.")
    ] = "",
) -> pb.WriteOffDebtRequest:
    """Give up what a customer owes: a grant that nobody pays for pays it."""
    return pb.WriteOffDebtRequest(
        customer_id=customer_id,
        amount_micros=_amount_micros(amount) if amount else None,
        reason=reason,
    )


@grants.command("list")
@at_server
def list_grants(
    customer_id: Annotated[str, typer.Argument(help="All customers, if not given.")] = "",
    reference: Annotated[str, typer.Option(help="Only those of this external reference.")] = "",
    expires_within_days: Annotated[
        int | None, typer.Option(min=0, max=36_500, help="Only those with credits left that expire by then.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    target: AdminTarget = BACK_OFFICE,
    as_json: AsJson = False,
) -> None:
    """List grants of a customer, of a reference, or that expire soon, with what became of each."""
    if not customer_id and not reference and expires_within_days is None:
        fail("name a CUSTOMER_ID, --reference or --expires-within-days", USAGE)
    until = None
    if expires_within_days is not None:
        until = datetime.now(UTC) + timedelta(days=expires_within_days)
    request = pb.ListCustomerGrantsRequest(
        customer_id=customer_id,
        external_reference=reference,
        expires_before=stamp(until),
        page_size=min(limit, PAGE_SIZE),
    )
    found, there_is_more = listed(
        target, lambda ledger: ledger.admin.ListCustomerGrants, request, lambda page: page.grants, limit
    )
    print_answer(pb.ListCustomerGrantsResponse(grants=found), grants_table(found), as_json=as_json)
    if there_is_more:
        note(f"There is more: these are the first {limit}. --limit shows more.")


@grants.command("upcoming")
@at_server
def upcoming(customer_id: str, target: AdminTarget = BACK_OFFICE, as_json: AsJson = False) -> None:
    """Show what a customer's plan grants next, and when."""
    request = pb.GetCustomerRequest(customer_id=customer_id)
    answer = ask(target, lambda ledger: ledger.admin.GetCustomer, request)
    print_answer(answer, upcoming_table(answer), as_json=as_json)


def upcoming_table(answer: pb.GetCustomerResponse) -> Table:
    """What a customer's plan grants next, a row each."""
    made = table("Upcoming", "name", "at (UTC)", "kind", "credits", "dollars", numbers=2)
    for each in answer.upcoming_grants:
        made.add_row(
            each.name,
            f"{each.at.ToDatetime():%Y-%m-%d %H:%M:%S}",
            GrantKind.Name(each.kind).removeprefix("GRANT_KIND_"),
            show_credits(each.amount_micros),
            each.paid_total_usd,
        )
    return made


def _amount_micros(amount: str) -> int:
    try:
        amount_micros = micros(amount)
    except (ArithmeticError, ValueError):
        amount_micros = 0
    if amount_micros <= 0:
        says = "is no number of credits above 0 with at most 6 decimal places, e.g. 12.5"
        fail(f"AMOUNT: {amount!r} {says}", USAGE)
    return amount_micros


def _grant_table(answer: Any, customer_id: str) -> Table:
    """What an answer says of its grant, and of what is available now."""
    made = table("Grant", "id", "customer", "status", "credits", "left", "available now", numbers=3)
    made.add_row(
        answer.grant.grant_id,
        customer_id,
        _status(answer.grant),
        show_credits(answer.grant.amount_micros),
        show_credits(answer.grant.remaining_micros),
        show_credits(answer.balance.available_micros),
    )
    return made


def grants_table(found: Iterable[pb.CustomerGrant]) -> Table:
    """A row a grant, with what became of its credits."""
    figures = ("credits", "left", "held", "consumed", "expired", "voided", "refunded", "rolled over")
    texts = ("recurs as", "reference", "note")
    made = table(
        "Grants", "id", "customer", "status", "expires (UTC)", *texts, *figures, numbers=len(figures)
    )
    for each in found:
        grant = each.grant
        expires = (
            f"{grant.expires_at.ToDatetime():%Y-%m-%d %H:%M:%S}" if grant.HasField("expires_at") else "never"
        )
        made.add_row(
            grant.grant_id,
            each.customer_id,
            _status(grant),
            expires,
            grant.recurring or "-",
            grant.external_reference or "-",
            each.note or "-",
            show_credits(grant.amount_micros),
            show_credits(grant.remaining_micros),
            show_credits(grant.held_micros),
            show_credits(grant.consumed_micros),
            show_credits(grant.expired_micros),
            show_credits(grant.voided_micros),
            show_credits(grant.refunded_micros),
            show_credits(grant.rolled_over_micros),
        )
    return made


def _status(grant: Grant) -> str:
    return GrantStatus.Name(grant.status).removeprefix("GRANT_STATUS_").lower().replace("_", " ")
