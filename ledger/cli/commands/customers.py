"""`acu-ledger customers`: made, given fields of their own, and looked at on a running server."""

from __future__ import annotations

import json
import secrets
from datetime import UTC
from typing import Annotated

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from rich.table import Table

from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.cli.commands.calls import PAGE_SIZE, ask, listed
from ledger.cli.commands.options import (
    BACK_OFFICE,
    PUBLIC,
    AdminTarget,
    AsJson,
    PublicTarget,
    RequestId,
    at_server,
)
from ledger.cli.output.amounts import show_credits
from ledger.cli.output.console import USAGE, fail, note, print_answer, print_json, table
from ledger.cli.output.usage_text import label, show_quantities
from ledger.client.requests import put_labels
from ledger.client.usage_report import added_up
from ledger.v1 import credit_service_pb2 as credit
from ledger.v1 import wallet_service_pb2 as wallet

customers = typer.Typer(no_args_is_help=True, help="Customers of a running server.")


@customers.command("create")
@at_server
def create(
    customer_id: Annotated[str, typer.Argument(help="1 to 128 characters, your own.")],
    plan: Annotated[str, typer.Option(help="The customer's plan.")] = "standard",
    card: Annotated[str, typer.Option(help="A card that replaces the plan's.")] = "",
    name: Annotated[str, typer.Option(help="For people to read.")] = "",
    zone: Annotated[str, typer.Option(help="IANA time zone.")] = "UTC",
    multiplier: Annotated[str, typer.Option(help="What its prices are multiplied by.")] = "1",
    request_id: RequestId = None,
    target: AdminTarget = BACK_OFFICE,
    as_json: AsJson = False,
) -> None:
    """Create a customer."""
    customer = pb.Customer(
        customer_id=customer_id,
        display_name=name,
        plan=plan,
        rate_card=card,
        zone=zone,
        multiplier=multiplier,
    )
    request = pb.CreateCustomerRequest(request_id=request_id or secrets.token_hex(16), customer=customer)
    answer = ask(target, lambda ledger: ledger.admin.CreateCustomer, request)
    print_answer(answer, _customer_table([answer.customer]), as_json=as_json)


@customers.command("override")
@at_server
def override(
    customer_id: str,
    fields: Annotated[
        list[str] | None,
        typer.Argument(help="FIELD=VALUE, as plans.yaml writes them: all that the customer has of its own."),
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="Back to all of the plan's.")] = False,
    request_id: RequestId = None,
    target: AdminTarget = BACK_OFFICE,
    as_json: AsJson = False,
) -> None:
    """Give a customer its own of single fields of its plan, in place of those that it has."""
    if bool(fields) is none:
        fail("write the fields that the customer has of its own, FIELD=VALUE, or --none", USAGE)
    request = pb.UpdateCustomerRequest(
        request_id=request_id or secrets.token_hex(16),
        customer=pb.Customer(customer_id=customer_id, plan_overrides=_overrides(fields or [])),
        update_mask=FieldMask(paths=["plan_overrides"]),
    )
    answer = ask(target, lambda ledger: ledger.admin.UpdateCustomer, request)
    if as_json:
        print_json(answer)
    else:
        typer.echo(f"{customer_id}: {answer.customer.plan_overrides or 'all as its plan has it'}")
        for warning in answer.warnings:
            note(f"warning: {warning.message} ({warning.hint})")


def _overrides(fields: list[str]) -> str:
    """The fields as a text of YAML. A list, a mapping and null are written as such; all else is text."""
    lines = []
    for field in fields:
        name, is_stated, value = field.partition("=")
        if not (name and is_stated):
            fail(f"{field}: write FIELD=VALUE", USAGE)
        is_yaml = value == "null" or value.startswith(("{", "["))
        lines.append(f"{name}: {value if is_yaml else json.dumps(value)}")
    return "\n".join(lines)


@customers.command("list")
@at_server
def list_customers(target: AdminTarget = BACK_OFFICE, as_json: AsJson = False) -> None:
    """List all customers, by id."""
    request = pb.ListCustomersRequest(page_size=PAGE_SIZE)
    found, _ = listed(target, lambda ledger: ledger.admin.ListCustomers, request, lambda page: page.customers)
    print_answer(pb.ListCustomersResponse(customers=found), _customer_table(found), as_json=as_json)


@customers.command("usage")
@at_server
def usage(
    customer_id: str,
    first_day: Annotated[str, typer.Argument(help="YYYY-MM-DD, in the customer's time zone, included.")],
    last_day: Annotated[str, typer.Argument(help="Included; the first, if not given.")] = "",
    by: Annotated[list[str] | None, typer.Option(help="Label to tell apart by; may be repeated.")] = None,
    target: PublicTarget = PUBLIC,
    as_json: AsJson = False,
) -> None:
    """Show what a customer has used: by day, label, kind and measured unit."""
    keys = by or []
    request = wallet.GetUsageReportRequest(
        customer_id=customer_id, first_day=first_day, last_day=last_day, label_keys=keys, page_size=PAGE_SIZE
    )
    pieces, _ = listed(target, lambda ledger: ledger.wallet.GetUsageReport, request, lambda page: page.rows)
    try:
        rows = added_up(pieces)
    except ValueError:
        fail("a row adds up to more micro-credits than 64 bits hold: tell it apart by more labels", USAGE)
    print_answer(wallet.GetUsageReportResponse(rows=rows), usage_table(rows, keys), as_json=as_json)


def usage_table(rows: list[wallet.UsageRow], keys: list[str]) -> Table:
    """A row a group: measured units beside credits."""
    figures = ("items", "quantities", "measured", "credits")
    made = table("Usage", "day", *keys, "kind", *figures, numbers=len(figures))
    for row in rows:
        made.add_row(
            row.day,
            *(label(row.labels, key) or "-" for key in keys),
            row.kind or "-",
            f"{row.items:,}",
            show_quantities(row.quantities) or "-",
            f"{row.measured} {row.unit}" if row.unit else "-",
            show_credits(row.credits_micros),
        )
    return made


@customers.command("budgets")
@at_server
def budgets(
    customer_id: str,
    labels: Annotated[
        list[str] | None,
        typer.Option("--label", help="NAME=VALUE, of whose counts are shown; may be repeated."),
    ] = None,
    target: PublicTarget = PUBLIC,
    as_json: AsJson = False,
) -> None:
    """Show a customer's budgets, what each has counted and what it leaves."""
    request = wallet.GetBudgetsRequest(customer_id=customer_id)
    put_labels(request.labels, _labels(labels or []))
    answer = ask(target, lambda ledger: ledger.wallet.GetBudgets, request)
    print_answer(answer, budgets_table(answer), as_json=as_json)


def _labels(stated: list[str]) -> dict[str, str]:
    labels = {}
    for each in stated:
        name, is_stated, value = each.partition("=")
        if not (name and is_stated):
            fail(f"{each}: write NAME=VALUE", USAGE)
        if name in labels:
            fail(f"{each}: {name} stands here twice; keep one of them", USAGE)
        labels[name] = value
    return labels


def budgets_table(answer: wallet.GetBudgetsResponse) -> Table:
    """A row a budget; a dash for the counts of one by labels that were not asked for."""
    figures = ("limit", "used", "left")
    made = table("Budgets", "name", "window", "by", "where", "ends (UTC)", *figures, numbers=len(figures))
    for budget in answer.budgets:
        is_counted = budget.HasField("used_micros")
        has_end = budget.HasField("window_ends_at")
        made.add_row(
            budget.name,
            credit.BudgetWindow.Name(budget.window).removeprefix("BUDGET_WINDOW_"),
            ", ".join(budget.by) or "-",
            ", ".join(f"{name}={value}" for name, value in sorted(budget.where.items())) or "-",
            f"{budget.window_ends_at.ToDatetime():%Y-%m-%d %H:%M:%S}" if has_end else "-",
            show_credits(budget.limit_micros),
            show_credits(budget.used_micros) if is_counted else "-",
            show_credits(budget.left_micros) if is_counted else "-",
        )
    return made


def _customer_table(found: list[pb.Customer]) -> Table:
    made = table("Customers", "id", "name", "plan", "card", "zone", "created")
    for customer in found:
        created = customer.created_at.ToDatetime(tzinfo=UTC)
        card = customer.rate_card or "(the plan's)"
        made.add_row(
            customer.customer_id,
            customer.display_name,
            customer.plan,
            card,
            customer.zone,
            f"{created:%Y-%m-%d %H:%M:%SZ}",
        )
    return made
