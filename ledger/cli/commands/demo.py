"""`acu-ledger demo`: real records sold end to end, and what everybody then sees of it."""

from __future__ import annotations

import asyncio
import secrets
import urllib.request
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ledger.app import Stack
from ledger.cli.access import key_of
from ledger.cli.commands.books import ReportDimension, margin_table, trial_balance_table, verification_line
from ledger.cli.demonstration.selling import (
    PARTS,
    ROUNDS_CARD,
    STYLE_PARTS,
    Blend,
    open_studio,
    read_agent_sessions,
    sell_part,
    sell_rounds,
)
from ledger.cli.demonstration.styles_table import STYLES, Row, Sold, World, sell, survivals
from ledger.cli.output.amounts import show_credits, show_dollars, show_margin, show_whole_dollars
from ledger.cli.output.console import REFUSED, note, out, progress, table
from ledger.cli.own_server import connected, own_stack, run_here
from ledger.cli.replaying.replay import ReplayTally
from ledger.cli.services import Ledger, call
from ledger.finance.v1 import finance_service_pb2 as finance
from ledger.sample import SAMPLE_CONFIG
from ledger.settings import default_data_dir
from ledger.v1 import wallet_service_pb2 as wallet
from pricing import load

_POLLS_MAX = 200
_POLL_SECONDS = 0.1
_METRIC_LINES = 6
_STATEMENT_LINES = 30


def demo(
    data: Annotated[
        Path | None, typer.Option(file_okay=False, help="Directory of the embedded database.")
    ] = None,
) -> None:
    """Sell real agent work end to end: reserve, price, commit, book; then show the books."""
    holds = run_here(_demo(data or default_data_dir().with_name("demo")))
    if not holds:
        raise typer.Exit(REFUSED)


async def _demo(data: Path) -> bool:
    run_id = f"demo-{secrets.token_hex(4)}"
    async with own_stack(SAMPLE_CONFIG, data) as stack, connected(stack) as ledger:
        note(f"Serving on {stack.public_target} (public) and {stack.back_office_target} (back office)")
        note(f"Metrics at {stack.operations_url} and, with dollars, {stack.finance_url}")
        studio = await open_studio(ledger, run_id)
        blend = Blend()
        tallies = await _sell(ledger, studio, run_id, blend)
        console = out()
        await _print_wallet(console, ledger, studio)
        _print_sales(console, tallies)
        _print_styles(console, tallies)
        _print_blend(console, blend)
        holds = await _print_books(console, ledger, tallies)
        await _print_metrics(console, stack)
        return holds


async def _sell(ledger: Ledger, studio: str, run_id: str, blend: Blend) -> dict[str, ReplayTally]:
    """What became of each part, by title and card."""
    tallies: dict[str, ReplayTally] = {}
    with progress() as bars:
        bar = bars.add_task("Agent sessions, round by round", total=None)
        tally = await sell_rounds(ledger, studio, run_id, partial(bars.advance, bar))
        bars.update(bar, total=tally.records)
        tallies[ROUNDS_CARD] = tally
        for part in PARTS:
            bar = bars.add_task(part.title, total=None)
            tally = await sell_part(
                ledger,
                part,
                run_id,
                advance=partial(bars.advance, bar),
                warn=note,
                observe=blend.observe if part is STYLE_PARTS[0] else None,
            )
            bars.update(bar, total=tally.records)
            tallies[part.card] = tally
    return tallies


async def _print_wallet(console: Console, ledger: Ledger, customer_id: str) -> None:
    """Credits only: what the customer is shown."""
    balance = await ledger.credits.balance(customer_id)
    shown = table(f"Balance of {customer_id}", "available", "held", "pending", "debt", numbers=4)
    shown.add_row(
        show_credits(balance.available_micros),
        show_credits(balance.held_micros),
        show_credits(balance.pending_micros),
        show_credits(balance.debt_micros),
    )
    console.print(shown)
    request = wallet.ListTransactionsRequest(customer_id=customer_id, page_size=_STATEMENT_LINES)
    page = await call(ledger.wallet.ListTransactions, request)
    columns = ("available", "held", "used", "available after")
    statement = table("Statement, newest first", "time (UTC)", "what", "session", *columns, numbers=4)
    for line in page.transactions:
        statement.add_row(
            f"{line.effective_at.ToDatetime():%H:%M:%S.%f}",
            wallet.TransactionType.Name(line.type).removeprefix("TRANSACTION_TYPE_").lower(),
            line.labels.session,
            show_credits(line.available_change_micros),
            show_credits(line.held_change_micros),
            show_credits(line.consumed_micros),
            show_credits(line.balance_after.available_micros),
        )
    console.print(statement)


def _print_sales(console: Console, tallies: dict[str, ReplayTally]) -> None:
    columns = ("records", "committed", "credits", "revenue", "cost", "of it absorbed", "margin")
    sales = table("This run, by card", "card", *columns, numbers=len(columns))
    for card, tally in tallies.items():
        sales.add_row(
            card,
            f"{tally.records:,}",
            f"{tally.committed:,}",
            show_credits(tally.credits_micros),
            show_dollars(tally.revenue_nanousd),
            show_dollars(tally.cost_nanousd),
            show_dollars(tally.absorbed_cost_nanousd),
            show_margin(tally.revenue_nanousd, tally.cost_nanousd),
        )
    console.print(sales)
    for card, tally in tallies.items():
        for what, counts in (("refused", tally.refused), ("skipped", tally.skipped)):
            for reason, count in sorted(counts.items()):
                console.print(f"{card}: {count} {what}: {reason}")


def _print_styles(console: Console, tallies: dict[str, ReplayTally]) -> None:
    """Today as it was booked; the other worlds are the same usage, priced again by the same cards."""
    sessions, config, now = read_agent_sessions(), load(SAMPLE_CONFIG), datetime.now(UTC)
    columns = [
        f"{heading}\n{amount}" for world in World for heading, amount in ((world, "pays"), ("", "left"))
    ]
    shown = table(
        f"The same {len(sessions)} agent sessions in every style: what customers pay, and what is left",
        "style",
        *columns,
        numbers=len(columns),
    )
    shown.add_column("survives")
    for style in STYLES:
        tally = tallies[style]
        row: Row = {
            world: sell(config, style, world, sessions, now) for world in World if world is not World.TODAY
        } | {World.TODAY: Sold(tally.revenue_nanousd, tally.cost_nanousd)}
        amounts = [amount for world in World for amount in (row[world].paid_nanousd, row[world].left_nanousd)]
        shown.add_row(style, *map(show_whole_dollars, amounts), survivals(row))
    console.print(shown)
    console.print("A style survives a change that leaves at least half of what today does.")


def _print_blend(console: Console, blend: Blend) -> None:
    """The split of the sessions' input into cached and not is not recorded: blended rates stand for it."""
    shown = table(
        "Cost of the agent sessions' tokens, at blended rates",
        "model",
        "booked",
        "reported",
        "difference",
        numbers=3,
    )
    for model, booked_nanousd in sorted(blend.booked_nanousd.items()):
        reported_nanousd = blend.reported_nanousd[model]
        difference = (booked_nanousd - reported_nanousd) / reported_nanousd
        shown.add_row(
            model, show_dollars(booked_nanousd), show_dollars(reported_nanousd), f"{difference:+.2%}"
        )
    console.print(shown)


async def _print_books(console: Console, ledger: Ledger, tallies: dict[str, ReplayTally]) -> bool:
    """Finance's view of everything in this database; whether the books hold."""
    report = await _settled_report(ledger, tallies)
    console.print(margin_table(report, [ReportDimension.CARD]))
    balance = await call(ledger.finance.GetTrialBalance, finance.GetTrialBalanceRequest())
    console.print(trial_balance_table(balance))
    verification = await call(ledger.finance.VerifyJournal, finance.VerifyJournalRequest())
    console.print(verification_line(verification))
    for violation in verification.violations:
        note(f"{violation.invariant}: {violation.customer_id}: {violation.description}")
    return verification.holds


async def _settled_report(ledger: Ledger, tallies: dict[str, ReplayTally]) -> finance.GetMarginReportResponse:
    """The margin by card, once it holds everything that this run has booked."""
    booked_at = max(tally.booked_at for tally in tallies.values() if tally.booked_at is not None)
    request = finance.GetMarginReportRequest(group_by=[finance.MARGIN_DIMENSION_CARD])
    for _ in range(_POLLS_MAX):
        report = await call(ledger.finance.GetMarginReport, request)
        if report.as_of.ToDatetime(tzinfo=booked_at.tzinfo) >= booked_at:
            return report
        await asyncio.sleep(_POLL_SECONDS)
    note(f"the margin report has not reached {booked_at:%H:%M:%S} in time")
    raise typer.Exit(REFUSED)


async def _print_metrics(console: Console, stack: Stack) -> None:
    for url in (stack.operations_url, stack.finance_url):
        console.print(f"From {url}:", style="bold")
        for line in (await asyncio.to_thread(_scrape, url))[:_METRIC_LINES]:
            console.print(f"  {line}", soft_wrap=True)


def _scrape(url: str) -> list[str]:
    """The samples of a metrics port, histograms' buckets left out."""
    request = urllib.request.Request(url)  # noqa: S310 (a URL of our own)
    if key := key_of():
        request.add_header("Authorization", f"Bearer {key}")
    # A proxy of the environment does not lead to this machine, and the key is none of its business.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return [line for line in lines if not line.startswith("#") and "_bucket{" not in line]
