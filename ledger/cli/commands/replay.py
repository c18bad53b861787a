"""`acu-ledger replay`: files of usage records, sent through the API."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from ledger.cli.commands.options import at_server, reach
from ledger.cli.output.amounts import margin, show_credits, show_dollars, show_margin
from ledger.cli.output.console import (
    REFUSED,
    USAGE,
    fail,
    note,
    out,
    print_json,
    print_table,
    progress,
    table,
)
from ledger.cli.own_server import connected, own_stack, run_here
from ledger.cli.replaying.csv_records import NAME_MAX, RecordFiles, RecordFormat, RecordOptions, RecordsError
from ledger.cli.replaying.customers import ReplayedCustomers, UnknownCardError, find_card
from ledger.cli.replaying.provider_records import FindingCount, ProviderFiles, open_usage
from ledger.cli.replaying.replay import Replay, ReplayTally
from ledger.cli.services import Ledger, call
from ledger.finance.v1.finance_service_pb2 import VerifyJournalRequest
from ledger.sample import SAMPLE_CONFIG
from ledger.settings import default_data_dir

_FINDINGS_SHOWN = 40

Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE...",
        exists=True,
        dir_okay=False,
        readable=True,
        help="CSV, or one JSON value a line; several are read as one.",
    ),
]
Config = Annotated[
    Path,
    typer.Option(
        exists=True, file_okay=False, show_default="the sample", help="Cards and costs of the embedded stack."
    ),
]
Spread = Annotated[
    int, typer.Option(min=1, max=10_000, help="Spread the records that name no customer over so many.")
]
RunId = Annotated[
    str | None, typer.Option(help="Names this run: the same one on the same data books nothing twice.")
]
Data = Annotated[Path | None, typer.Option(file_okay=False, help="Directory of the embedded database.")]


@dataclass(frozen=True, slots=True)
class _Options:
    card: str | None
    customers: int
    limit: int | None
    run_id: str


@dataclass(frozen=True, slots=True)
class _Targets:
    """Both addresses of a running server, or what a stack of our own rests on."""

    target: str | None
    admin_target: str | None
    config: Path
    data: Path


@dataclass(frozen=True, slots=True)
class _Replayed:
    tally: ReplayTally
    seconds: float
    verified: bool
    findings: Mapping[tuple[str, str], FindingCount] = field(default_factory=dict)
    mispriced: int = 0
    """Records that were read, and whose price may be wrong."""

    @property
    def complete(self) -> bool:
        """Whether all work in the files is booked, at a price that nothing speaks against."""
        return self.verified and self.tally.complete and not self.mispriced

    def as_json(self) -> dict[str, object]:
        tally = self.tally
        return {
            "records": tally.records,
            "committed": tally.committed,
            "refused": dict(sorted(tally.refused.items())),
            "skipped": dict(sorted(tally.skipped.items())),
            "credits_micros": tally.credits_micros,
            "revenue_nanousd": tally.revenue_nanousd,
            "cost_nanousd": tally.cost_nanousd,
            "absorbed_cost_nanousd": tally.absorbed_cost_nanousd,
            "margin": margin(tally.revenue_nanousd, tally.cost_nanousd),
            "seconds": round(self.seconds, 3),
            "verified": self.verified,
            "mispriced": self.mispriced,
            "findings": [
                {
                    "kind": kind,
                    "path": path,
                    "count": found.count,
                    "first_file": str(found.first.path),
                    "first_line": found.first.line,
                    "first": found.first_text,
                }
                for (kind, path), found in sorted(self.findings.items())
            ],
        }


@at_server
def replay(
    files: Files,
    record_format: Annotated[RecordFormat, typer.Option("--format", help="What its records are.")],
    card: Annotated[str | None, typer.Option(help="The customers' card; the only one, if not given.")] = None,
    model: Annotated[str | None, typer.Option(help="Of LLM requests that name none.")] = None,
    resource: Annotated[str | None, typer.Option(help="What GPU records ran on.")] = None,
    config: Config = SAMPLE_CONFIG,
    customers: Spread = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="Take so many records.")] = None,
    run_id: RunId = None,
    data: Data = None,
    target: Annotated[str | None, typer.Option(help="HOST:PORT of a running server's public API.")] = None,
    admin_target: Annotated[str | None, typer.Option(help="HOST:PORT of its back office.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Send files of usage records: each is one reservation and its final commit.

    Exit status 1 if one was refused, cannot be read, or its price may be wrong: the others are booked.
    """
    if (target is None) != (admin_target is None):
        fail("--target and --admin-target belong together: give both or neither", USAGE)
    run_id = run_id if run_id is not None else f"replay-{secrets.token_hex(6)}"
    if not 1 <= len(run_id) <= NAME_MAX or not run_id.isprintable():
        fail(f"--run-id: write 1 to {NAME_MAX} printable characters", USAGE)
    options = _Options(card, customers, limit, run_id)
    server = _Targets(target, admin_target, config, data or default_data_dir())
    try:
        with open_usage(files, record_format, RecordOptions(model, resource)) as records:
            result = run_here(_replay(records, options, server))
    except (RecordsError, UnknownCardError) as wrong:
        fail(str(wrong), USAGE)
    if as_json:
        print_json(result.as_json())
    else:
        _print(result, run_id)
    if not result.complete:
        raise typer.Exit(REFUSED)


async def _replay(records: RecordFiles | ProviderFiles, options: _Options, server: _Targets) -> _Replayed:
    async with AsyncExitStack() as resources:
        if server.target is not None and server.admin_target is not None:
            ledger = await resources.enter_async_context(reach(server.target, server.admin_target))
        else:
            stack = await resources.enter_async_context(own_stack(server.config, server.data))
            ledger = await resources.enter_async_context(connected(stack))
        started = time.monotonic()
        tally = await _send(ledger, records, options)
        seconds = time.monotonic() - started
        verification = await call(ledger.finance.VerifyJournal, VerifyJournalRequest())
        for violation in verification.violations:
            note(f"not verified: {violation.invariant}: {violation.customer_id}: {violation.description}")
        if isinstance(records, RecordFiles):
            return _Replayed(tally, seconds, verification.holds)
        return _Replayed(tally, seconds, verification.holds, records.findings, records.mispriced)


async def _send(ledger: Ledger, records: RecordFiles | ProviderFiles, options: _Options) -> ReplayTally:
    card, credit_price_nanousd = await find_card(ledger, options.card)
    note(f"Run {options.run_id}: repeated with this --run-id on the same data it books nothing twice")
    customers = ReplayedCustomers(ledger, options.run_id, card, credit_price_nanousd)
    with progress() as bars:
        bar = bars.add_task(f"Replaying on card {card}", total=None)
        replaying = Replay(
            ledger,
            customers,
            options.run_id,
            options.customers,
            advance=lambda count: bars.advance(bar, count),
            warn=note,
        )
        tally = await replaying.run(records.take(options.limit))
        bars.update(bar, total=tally.records)
        return tally


def _print(result: _Replayed, run_id: str) -> None:
    tally = result.tally
    console = out()
    rows = table(f"Run {run_id}", "", "", numbers=1)
    rows.add_row("records", f"{tally.records:,}")
    rows.add_row("committed", f"{tally.committed:,}")
    for what, counts in (("refused", tally.refused), ("skipped", tally.skipped)):
        for reason, count in sorted(counts.items()):
            rows.add_row(f"{what}: {reason}", f"{count:,}")
    if result.mispriced:
        rows.add_row("price may be wrong", f"{result.mispriced:,}")
    rows.add_row("credits", show_credits(tally.credits_micros))
    rows.add_row("revenue", show_dollars(tally.revenue_nanousd))
    rows.add_row("cost", show_dollars(tally.cost_nanousd))
    rows.add_row("of it absorbed", show_dollars(tally.absorbed_cost_nanousd))
    rows.add_row("margin", show_margin(tally.revenue_nanousd, tally.cost_nanousd))
    rows.add_row("seconds", f"{result.seconds:.1f}")
    rows.add_row("books verified", "yes" if result.verified else "NO")
    console.print(rows)
    if result.findings:
        _print_findings(result.findings)


def _print_findings(findings: Mapping[tuple[str, str], FindingCount]) -> None:
    rows = table("To be looked at", "what", "field", "the first", "on line", "records", numbers=2)
    for (kind, path), found in sorted(findings.items())[:_FINDINGS_SHOWN]:
        rows.add_row(kind, path, found.first_text, f"{found.first.line:,}", f"{found.count:,}")
    print_table(rows)
    if len(findings) > _FINDINGS_SHOWN:
        note(f"{len(findings) - _FINDINGS_SHOWN:,} more are in --json")
