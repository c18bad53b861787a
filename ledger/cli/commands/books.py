"""`acu-ledger books`: finance's reading of the books of a running server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

import typer
from google.protobuf.timestamp_pb2 import Timestamp
from rich.table import Table

from ledger.cli.commands.calls import ask
from ledger.cli.commands.options import BACK_OFFICE, AdminTarget, AsJson, at_server
from ledger.cli.output.amounts import nanousd, show_credits, show_dollars, show_margin
from ledger.cli.output.console import REFUSED, note, out, print_answer, print_json, print_table, table
from ledger.finance.v1 import finance_service_pb2 as pb

books = typer.Typer(
    no_args_is_help=True, help="Trial balance, margin, verification and findings of a running server."
)


class ReportDimension(StrEnum):
    """What a margin report is grouped by."""

    CUSTOMER = "customer"
    PLAN = "plan"
    CARD = "card"
    MODEL = "model"
    KIND = "kind"
    LEVER = "lever"
    DAY = "day"
    KEY_OWNER = "key_owner"


@books.command("trial-balance")
@at_server
def trial_balance(
    as_of: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="What was booked until then, UTC."),
    ] = None,
    customer: Annotated[str, typer.Option(help="One customer; all, if not given.")] = "",
    target: AdminTarget = BACK_OFFICE,
    as_json: AsJson = False,
) -> None:
    """The balance of every account; each commodity sums to 0."""
    request = pb.GetTrialBalanceRequest(customer_id=customer)
    if as_of is not None:
        instant = Timestamp()
        instant.FromDatetime(as_of.replace(tzinfo=UTC))
        request.as_of.CopyFrom(instant)
    answer = ask(target, lambda ledger: ledger.finance.GetTrialBalance, request)
    print_answer(answer, trial_balance_table(answer), as_json=as_json)


def trial_balance_table(answer: pb.GetTrialBalanceResponse) -> Table:
    """Both commodities, account by account, with their sums."""
    made = table("Trial balance", "commodity", "account", "balance", numbers=1)
    for commodity, accounts in (("credits", answer.credits), ("dollars", answer.dollars)):
        for account in accounts:
            made.add_row(commodity, account.account, f"{Decimal(account.balance):,f}")
        total = sum((Decimal(account.balance) for account in accounts), Decimal(0))
        made.add_row(commodity, "sum", f"{total:,f}", style="bold", end_section=True)
    return made


@books.command("margin")
@at_server
def margin(
    by: Annotated[list[ReportDimension] | None, typer.Option(help="Group by this; may be repeated.")] = None,
    first_day: Annotated[str, typer.Option(help="YYYY-MM-DD, UTC, included.")] = "",
    last_day: Annotated[str, typer.Option(help="YYYY-MM-DD, UTC, included.")] = "",
    customer: Annotated[str, typer.Option(help="One customer; all, if not given.")] = "",
    target: AdminTarget = BACK_OFFICE,
    as_json: AsJson = False,
) -> None:
    """Revenue, cost and margin."""
    dimensions = by or []
    request = pb.GetMarginReportRequest(
        group_by=[pb.MarginDimension.Value(f"MARGIN_DIMENSION_{dimension.name}") for dimension in dimensions],
        first_day=first_day,
        last_day=last_day,
        customer_id=customer,
    )
    answer = ask(target, lambda ledger: ledger.finance.GetMarginReport, request)
    print_answer(answer, margin_table(answer, dimensions), as_json=as_json)


def margin_table(answer: pb.GetMarginReportResponse, dimensions: list[ReportDimension]) -> Table:
    """A row a group, and the sum."""
    names = [dimension.value for dimension in dimensions]
    rows = list(answer.rows)
    shown = [name for name in _figures(rows) if name not in _RARE or any(map(_RARE[name], rows))]
    made = table("Revenue, cost and margin", *(names or [""]), *shown, numbers=len(shown))
    for row in rows:
        labels = [str(getattr(row, _FIELDS[dimension])) or "-" for dimension in dimensions] or ["all"]
        made.add_row(*labels, *map(_figures([row]).get, shown))
    if len(rows) > 1:
        made.add_section()
        made.add_row("sum", *[""] * (len(names) - 1), *map(_figures(rows).get, shown), style="bold")
    return made


_RARE: Mapping[str, Callable[[pb.MarginRow], int]] = {
    "uncosted": lambda row: row.uncosted_lines,
    "own-key cost": lambda row: nanousd(row.own_key_cost_usd),
}
"""Figures with a column where there are any: lines whose cost nobody knows, keys of customers' own."""
_FIELDS = {dimension: dimension.value for dimension in ReportDimension} | {
    ReportDimension.CUSTOMER: "customer_id"
}


def _figures(rows: list[pb.MarginRow]) -> dict[str, str]:
    revenue_nanousd = sum(nanousd(row.revenue_usd) for row in rows)
    cost_nanousd = sum(nanousd(row.cost_usd) for row in rows)
    saved_nanousd = sum(nanousd(row.saved_usd) for row in rows)
    return {
        "lines": f"{sum(row.lines for row in rows):,}",
        "unpriced": f"{sum(row.unpriced_lines for row in rows):,}",
        "uncosted": f"{sum(row.uncosted_lines for row in rows):,}",
        "credits": show_credits(sum(row.credits_micros for row in rows)),
        "revenue": show_dollars(revenue_nanousd),
        "cost": show_dollars(cost_nanousd),
        "margin": show_dollars(revenue_nanousd - cost_nanousd),
        "margin %": show_margin(revenue_nanousd, cost_nanousd),
        "saved": show_dollars(saved_nanousd),
        "baseline": show_dollars(cost_nanousd + saved_nanousd),
        "own-key cost": show_dollars(sum(nanousd(row.own_key_cost_usd) for row in rows)),
    }


@books.command("findings")
@at_server
def findings(target: AdminTarget = BACK_OFFICE, as_json: AsJson = False) -> None:
    """List what the watch over the books has found and still stands; exit status 1 where something does."""
    answer = ask(target, lambda ledger: ledger.finance.ListFindings, pb.ListFindingsRequest())
    if as_json:
        print_json(answer)
    elif answer.findings:
        print_table(findings_table(answer))
    else:
        out().print("No finding stands.")
    if answer.findings:
        raise typer.Exit(REFUSED)


def findings_table(answer: pb.ListFindingsResponse) -> Table:
    """A row a finding, with the first violation of each invariant."""
    title = "Findings, the newest; there are more" if answer.there_are_more else "Findings"
    made = table(title, "found at (UTC)", "customer", "id", "writes", "times", "what")
    for each in answer.findings:
        made.add_row(
            f"{each.found_at.ToDatetime(tzinfo=UTC):%Y-%m-%d %H:%M:%S}",
            each.customer_id or "(not in the directory)",
            each.finding_id,
            "stopped" if each.stops else "taken",
            f"{each.violations:,}",
            each.description,
        )
    return made


@books.command("verify")
@at_server
def verify(target: AdminTarget = BACK_OFFICE, as_json: AsJson = False) -> None:
    """Check the invariants of the books over the whole journal; exit status 1 where one does not hold."""
    answer = ask(target, lambda ledger: ledger.finance.VerifyJournal, pb.VerifyJournalRequest())
    if as_json:
        print_json(answer)
    else:
        for violation in answer.violations:
            note(f"{violation.invariant}: {violation.customer_id}: {violation.description}")
        out().print(verification_line(answer))
    if not answer.holds:
        raise typer.Exit(REFUSED)


def verification_line(answer: pb.VerifyJournalResponse) -> str:
    """What was checked, and whether it holds."""
    checked = f"{answer.entries:,} entries of {answer.customers:,} customers"
    return (
        f"The books hold: {checked} verified."
        if answer.holds
        else f"The books DO NOT HOLD: {checked} checked."
    )
