"""`acu-ledger grants`: credits that ops issue, confirm, take back, extend and look up on a running server."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import typer
from google.protobuf.message import Message
from rich.table import Table

from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.cli.commands.options import AdminTarget, AsJson, RequestId, at_server, reach, stamp
from ledger.cli.output.amounts import micros, show_credits
from ledger.cli.output.console import USAGE, fail, note, out, print_json, table
from ledger.cli.run import run
from ledger.cli.services import call
from ledger.v1.wallet_service_pb2 import Grant, GrantKind, GrantStatus

grants = typer.Typer(no_args_is_help=True, help="Grants of credits, on a running server.")

PAGE_SIZE = 1_000

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]
_Reason = Annotated[str, typer.Option(help="A sentence for whoever audits it.")]
_GrantId = Annotated[str, typer.Argument(help="As `issue` and `list` print it.")]


# An amount below 0 is no option: it is reported as what it is.
@grants.command("issue", context_settings={"ignore_unknown_options": True})
@at_server
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
    request_id: RequestId = None,
    target: AdminTarget = "127.0.0.1:50052",
    as_json: AsJson = False,
) -> None:
    """Issue a grant of credits."""
    request = pb.IssueGrantRequest(
        request_id=_id(request_id),
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
    _show(run(_answer(target, "IssueGrant", request)), customer_id, as_json=as_json)


@grants.command("confirm")
@at_server
def confirm(
    customer_id: str,
    grant_id: _GrantId,
    paid_total_usd: Annotated[
        str, typer.Option(help="What was really paid, in dollars; what was stated, if not given.")
    ] = "",
    request_id: RequestId = None,
    target: AdminTarget = "127.0.0.1:50052",
    as_json: AsJson = False,
) -> None:
    """Issue a grant whose payment was pending."""
    request = pb.ConfirmGrantRequest(
        request_id=_id(request_id),
        customer_id=customer_id,
        grant_id=grant_id,
        paid_total_usd=paid_total_usd,
    )
    _show(run(_answer(target, "ConfirmGrant", request)), customer_id, as_json=as_json)


@grants.command("void")
@at_server
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
    request_id: RequestId = None,
    target: AdminTarget = "127.0.0.1:50052",
    as_json: AsJson = False,
) -> None:
    """Take back what nobody holds of a grant."""
    request = pb.VoidGrantRequest(
        request_id=_id(request_id),
        customer_id=customer_id,
        grant_id=grant_id,
        reason=reason,
        used=pb.UsedCredits.Value(f"USED_CREDITS_{used or 'UNSPECIFIED'}"),
        only_pending_payment=only_pending_payment,
    )
    _show(run(_answer(target, "VoidGrant", request)), customer_id, as_json=as_json)


@grants.command("extend")
@at_server
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
    request_id: RequestId = None,
    target: AdminTarget = "127.0.0.1:50052",
    as_json: AsJson = False,
) -> None:
    """Give a grant another expiry, another priority, or both."""
    if expires_at is not None and never_expires:
        fail("--expires-at and --never-expires: say one of the two", USAGE)
    request = pb.ExtendGrantRequest(
        request_id=_id(request_id),
        customer_id=customer_id,
        grant_id=grant_id,
        expires_at=stamp(expires_at),
        priority=priority,
    )
    if never_expires:
        request.never_expires = True
    _show(run(_answer(target, "ExtendGrant", request)), customer_id, as_json=as_json)


# An amount below 0 is no option: it is reported as what it is.
@grants.command("refund", context_settings={"ignore_unknown_options": True})
@at_server
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
    request_id: RequestId = None,
    target: AdminTarget = "127.0.0.1:50052",
    as_json: AsJson = False,
) -> None:
    """Take credits of a grant back for money, which you pay back by your payment system."""
    request = pb.RefundGrantRequest(
        request_id=_id(request_id),
        customer_id=customer_id,
        grant_id=grant_id,
        amount_micros=_amount_micros(amount) if amount else None,
        refund_usd=refund_usd,
        reason=reason,
    )
    answer = run(_answer(target, "RefundGrant", request))
    _show(answer, customer_id, as_json=as_json)
    if not as_json:
        note(f"{show_credits(answer.refunded_micros)} credits are taken back: pay ${answer.refund_usd} back.")


@grants.command("dispute")
@at_server
def dispute(
    customer_id: str,
    grant_id: _GrantId,
    reason: _Reason,
    request_id: RequestId = None,
    target: AdminTarget = "127.0.0.1:50052",
    as_json: AsJson = False,
) -> None:
    """Set aside what nobody holds of a grant whose payment is disputed, until `resolve`."""
    request = pb.DisputeGrantRequest(
        request_id=_id(request_id), customer_id=customer_id, grant_id=grant_id, reason=reason
    )
    _show(run(_answer(target, "DisputeGrant", request)), customer_id, as_json=as_json)


@grants.command("resolve")
@at_server
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
    request_id: RequestId = None,
    target: AdminTarget = "127.0.0.1:50052",
    as_json: AsJson = False,
) -> None:
    """Give a disputed grant back, or take it back as `void` does."""
    request = pb.ResolveDisputeRequest(
        request_id=_id(request_id),
        customer_id=customer_id,
        grant_id=grant_id,
        outcome=pb.DisputeOutcome.Value(f"DISPUTE_OUTCOME_{outcome}"),
        used=pb.UsedCredits.Value(f"USED_CREDITS_{used}") if used else pb.USED_CREDITS_UNSPECIFIED,
        reason=reason,
    )
    _show(run(_answer(target, "ResolveDispute", request)), customer_id, as_json=as_json)


@grants.command("write-off")
@at_server
def write_off(
    customer_id: str,
    grant_id: _GrantId,
    reason: _Reason,
    amount_usd: Annotated[
        str,
        typer.Option(help="In dollars; all that its used and expired credits were sold for, if not given."),
    ] = "",
    request_id: RequestId = None,
    target: AdminTarget = "127.0.0.1:50052",
    as_json: AsJson = False,
) -> None:
    """Give up what a grant was sold for: nobody will pay it."""
    request = pb.WriteOffGrantRequest(
        request_id=_id(request_id),
        customer_id=customer_id,
        grant_id=grant_id,
        amount_usd=amount_usd,
        reason=reason,
    )
    _given_up(run(_answer(target, "WriteOffGrant", request)), customer_id, as_json=as_json)


@grants.command("write-off-debt", context_settings={"ignore_unknown_options": True})
@at_server
def write_off_debt(
    customer_id: str,
    reason: _Reason,
    amount: Annotated[
        str, typer.Option(help="Credits, with at most 6 decimal places; all that is owed, if not given.")
    ] = "",
    request_id: RequestId = None,
    target: AdminTarget = "127.0.0.1:50052",
    as_json: AsJson = False,
) -> None:
    """Give up what a customer owes: a grant that nobody pays for pays it."""
    request = pb.WriteOffDebtRequest(
        request_id=_id(request_id),
        customer_id=customer_id,
        amount_micros=_amount_micros(amount) if amount else None,
        reason=reason,
    )
    _given_up(run(_answer(target, "WriteOffDebt", request)), customer_id, as_json=as_json)


def _given_up(answer: Any, customer_id: str, *, as_json: bool) -> None:
    _show(answer, customer_id, as_json=as_json)
    if not as_json:
        note(f"${answer.written_off_usd} is written off.")


@grants.command("list")
@at_server
def list_grants(
    customer_id: Annotated[str, typer.Argument(help="All customers, if not given.")] = "",
    reference: Annotated[str, typer.Option(help="Only those of this external reference.")] = "",
    expires_within_days: Annotated[
        int | None, typer.Option(min=0, max=36_500, help="Only those with credits left that expire by then.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    target: AdminTarget = "127.0.0.1:50052",
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
    found, there_is_more = run(_listed(target, request, limit))
    if as_json:
        print_json(pb.ListCustomerGrantsResponse(grants=found))
    else:
        out().print(_table([(each.customer_id, each.grant, each.note) for each in found]))
    if there_is_more:
        note(f"There is more: these are the first {limit}. --limit shows more.")


@grants.command("upcoming")
@at_server
def upcoming(customer_id: str, target: AdminTarget = "127.0.0.1:50052", as_json: AsJson = False) -> None:
    """Show what a customer's plan grants next, and when."""
    answer = run(_answer(target, "GetCustomer", pb.GetCustomerRequest(customer_id=customer_id)))
    if as_json:
        print_json(answer)
    else:
        out().print(upcoming_table(answer))


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


def _id(request_id: str | None) -> str:
    return request_id or secrets.token_hex(16)


def _amount_micros(amount: str) -> int:
    try:
        amount_micros = micros(amount)
    except (ArithmeticError, ValueError):
        amount_micros = 0
    if amount_micros <= 0:
        says = "is no number of credits above 0 with at most 6 decimal places, e.g. 12.5"
        fail(f"AMOUNT: {amount!r} {says}", USAGE)
    return amount_micros


def _show(answer: Any, customer_id: str, *, as_json: bool) -> None:
    """What an answer says of its grant, and of what is available now."""
    if as_json:
        print_json(answer)
        return
    made = table("Grant", "id", "customer", "status", "credits", "left", "available now", numbers=3)
    made.add_row(
        answer.grant.grant_id,
        customer_id,
        _status(answer.grant),
        show_credits(answer.grant.amount_micros),
        show_credits(answer.grant.remaining_micros),
        show_credits(answer.balance.available_micros),
    )
    out().print(made)


def _table(found: list[tuple[str, Grant, str]]) -> Table:
    figures = ("credits", "left", "held", "consumed", "expired", "voided", "refunded", "rolled over")
    texts = ("recurs as", "reference", "note")
    made = table(
        "Grants", "id", "customer", "status", "expires (UTC)", *texts, *figures, numbers=len(figures)
    )
    for customer_id, grant, remark in found:
        expires = (
            f"{grant.expires_at.ToDatetime():%Y-%m-%d %H:%M:%S}" if grant.HasField("expires_at") else "never"
        )
        made.add_row(
            grant.grant_id,
            customer_id,
            _status(grant),
            expires,
            grant.recurring or "-",
            grant.external_reference or "-",
            remark or "-",
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


async def _answer(target: str, method: str, request: Message) -> Any:
    async with reach(target) as ledger:
        return await call(getattr(ledger.admin, method), request)


async def _listed(
    target: str, request: pb.ListCustomerGrantsRequest, limit: int
) -> tuple[list[pb.CustomerGrant], bool]:
    """The first of those asked for, and whether there are others."""
    found: list[pb.CustomerGrant] = []
    async with reach(target) as ledger:
        while True:
            page = await call(ledger.admin.ListCustomerGrants, request)
            found += page.grants
            request.page_token = page.next_page_token
            if len(found) >= limit or not page.next_page_token:
                return found[:limit], len(found) > limit or bool(page.next_page_token)
