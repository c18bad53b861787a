"""`acu-ledger rates simulate`, `fit` and `import`: finance's questions before a price is changed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.timestamp_pb2 import Timestamp
from rich.table import Table

from ledger.cli.commands.calls import ask
from ledger.cli.commands.options import BACK_OFFICE, AdminTarget, AsJson, at_server
from ledger.cli.output.amounts import nanousd, show_credits, show_dollars
from ledger.cli.output.console import USAGE, fail, note, print_json, print_table, table
from ledger.cli.output.simulation_svg import bounds, draw, work_in_words
from ledger.cli.replaying.csv_records import Record, RecordFormat, RecordOptions, RecordsError
from ledger.cli.replaying.provider_records import ProviderFiles, open_usage
from ledger.client.requests import labels_message
from ledger.finance.v1 import simulation_pb2 as pb
from ledger.v1.usage_pb2 import UsageList

CALL_SECONDS = 900.0
"""A simulation of some million charges."""
_SHOWN = 5
"""Customers that win, and that lose, in the table."""
_BAR = 40
_AGO = re.compile(r"(\d{1,5})([dh])")
_UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1)}


def _instant(text: str) -> datetime:
    ago = _AGO.fullmatch(text)
    if ago:
        return datetime.now(UTC) - int(ago[1]) * _UNITS[ago[2]]
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        message = f"{text!r} is no instant: write 30d or 12h (ago), 2026-11-01 or 2026-11-01T12:00:00Z"
        raise typer.BadParameter(message) from None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _swap(text: str) -> pb.ModelSwap:
    model, equals, served_by = text.partition("=")
    if not (model and equals and served_by):
        raise typer.BadParameter(f"{text!r}: write A=B, what served and what would serve in its place")
    return pb.ModelSwap(model=model, served_by=served_by)


Since = Annotated[
    datetime | None,
    typer.Option(parser=_instant, metavar="TIME", help="Booked from here on; else all."),
]
Until = Annotated[datetime | None, typer.Option(parser=_instant, metavar="TIME", help="Booked before.")]
Customer = Annotated[str, typer.Option(help="One customer; all, if not given.")]
ChargedBy = Annotated[str, typer.Option(help="Charges of this card; `*`: of any.")]
Out = Annotated[Path | None, typer.Option("--out", dir_okay=False, help="Write it to a file.")]
Card = Annotated[
    Path | None, typer.Argument(exists=True, dir_okay=False, help="A card; those in force, if not given.")
]
Costs = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="A cost book in place of the time's.")
]
Plans = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="Plans in place of those in force.")
]
ChargedByCandidate = Annotated[
    str, typer.Option(help="Charges of this card, `*`: of any; if not given, of the card of the same name.")
]
ModelSwaps = Annotated[
    list[pb.ModelSwap] | None,
    typer.Option(parser=_swap, metavar="A=B", help="Served by B in place of A; may be repeated."),
]
File = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="Records in place of the ledger's usage.")
]


@at_server
def simulate(
    card: Card = None,
    costs: Costs = None,
    plans: Plans = None,
    since: Since = None,
    until: Until = None,
    customer: Customer = "",
    charged_by: ChargedByCandidate = "",
    byok: Annotated[bool, typer.Option("--byok", help="As if every customer brought its own keys.")] = False,
    cost_change: Annotated[str, typer.Option(metavar="PERCENT", help="Of all costs, e.g. -30%.")] = "",
    model_swap: ModelSwaps = None,
    file: File = None,
    record_format: Annotated[RecordFormat | None, typer.Option("--format", help="What they are.")] = None,
    model: Annotated[str | None, typer.Option(help="Of LLM requests that name none.")] = None,
    resource: Annotated[str | None, typer.Option(help="What GPU records ran on.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take so many records.")] = None,
    picture: Annotated[Path | None, typer.Option(dir_okay=False, help="Draw it into this SVG file.")] = None,
    target: AdminTarget = BACK_OFFICE,
    as_json: AsJson = False,
) -> None:
    """Price usage of the past by a card, or at costs, that might be, beside those in force."""
    if (file is None) != (record_format is None):
        fail("--file and --format belong together: give both or neither", USAGE)
    request = pb.SimulateRatesRequest(
        candidate_card=card.read_text(encoding="utf-8") if card else "",
        candidate_costs=costs.read_text(encoding="utf-8") if costs else "",
        candidate_plans=plans.read_text(encoding="utf-8") if plans else "",
        usage=_selection(since, until, customer, charged_by),
        byok=byok,
        cost_change=cost_change,
        model_swaps=model_swap or [],
    )
    if file is not None and record_format is not None:
        request.work.extend(_work(file, record_format, RecordOptions(model, resource), limit))
    answer = ask(target, lambda ledger: ledger.finance.SimulateRates, request, CALL_SECONDS)
    if picture is not None:
        picture.write_text(draw(answer, _title(card, request)), encoding="utf-8")
        note(f"Drawn into {picture}")
    if request.model_swaps and answer.before == answer.after:
        models = " or ".join(swap.model for swap in request.model_swaps)
        place = f"no usage here was served by {models}, or what would serve in its place costs the same"
        note(f"Nothing changes: {place}")
    for change in answer.not_simulated:
        note(_not_simulated(change))
    if as_json:
        print_json(answer)
    else:
        for made in _tables(answer, _title(card, request)):
            print_table(made)


def _not_simulated(change: pb.PlanChangeNotSimulated) -> str:
    """A change of plans that the figures say nothing of, in words."""
    more = change.plan_count - len(change.plans)
    plans = ", ".join(change.plans) + (f" and {more:,} more" if more else "")
    if not change.field:
        return f"not simulated: the candidate has no plan {plans}"
    return f"not simulated: {change.field} of {plans} changes"


@at_server
def fit(
    credit_price: Annotated[str, typer.Option(metavar="DOLLARS", help="The list price of one credit.")],
    margin: Annotated[str, typer.Option(metavar="PERCENT", help="To be left on every model, e.g. 30%.")],
    name: Annotated[str, typer.Option(help="The card's.")] = "fitted",
    credit: Annotated[str, typer.Option(help="What the card calls a credit.")] = "credit",
    since: Since = None,
    until: Until = None,
    customer: Customer = "",
    charged_by: ChargedBy = "*",
    to: Out = None,
    target: AdminTarget = BACK_OFFICE,
) -> None:
    """Propose a card: rates per quantity that leave a margin on every model, at its cost of now."""
    request = pb.FitRatesRequest(
        rate_card=name,
        credit_name=credit,
        credit_price_usd=credit_price,
        margin=margin,
        usage=_selection(since, until, customer, charged_by),
    )
    answer = ask(target, lambda ledger: ledger.finance.FitRates, request, CALL_SECONDS)
    _write(answer.document, to)


@at_server
def import_costs(
    since: Since = None,
    until: Until = None,
    customer: Customer = "",
    charged_by: ChargedBy = "*",
    to: Out = None,
    target: AdminTarget = BACK_OFFICE,
) -> None:
    """Make a cost book of the catalog's prices, for the models that the ledger saw."""
    request = pb.ImportCostsRequest(usage=_selection(since, until, customer, charged_by))
    answer = ask(target, lambda ledger: ledger.finance.ImportCosts, request, CALL_SECONDS)
    for missing in answer.not_found:
        note(f"not found: {missing}")
    _write(answer.document, to)


def _write(document: str, to: Path | None) -> None:
    if to is None:
        typer.echo(document, nl=False)
    else:
        to.write_text(document, encoding="utf-8")
        note(f"Written to {to}")


def _selection(
    since: datetime | None, until: datetime | None, customer: str, charged_by: str
) -> pb.UsageSelection:
    selection = pb.UsageSelection(customer_id=customer, rate_card=charged_by)
    for field, instant in ((selection.since, since), (selection.until, until)):
        if instant is not None:
            made = Timestamp()
            made.FromDatetime(instant)
            field.CopyFrom(made)
    return selection


def _work(
    file: Path, record_format: RecordFormat, options: RecordOptions, limit: int | None
) -> Iterator[pb.SimulatedWork]:
    skipped = 0
    try:
        with open_usage([file], record_format, options) as records:
            for row in records.take(limit):
                if isinstance(row, Record):
                    usage = UsageList(items=row.usage)
                    yield pb.SimulatedWork(
                        customer_id=row.customer or "customer", labels=labels_message(row.labels), usage=usage
                    )
                else:
                    skipped += 1
                    if row.message is not None:
                        note(row.message)
            if isinstance(records, ProviderFiles):
                for finding in records.findings_in_words():
                    note(finding)
    except RecordsError as wrong:
        fail(str(wrong), USAGE)
    if skipped:
        note(f"{skipped:,} records are skipped: they are no finished work, or cannot be read")


def _title(card: Path | None, request: pb.SimulateRatesRequest) -> str:
    """What is simulated, in words."""
    parts = [f"with {card.name}" if card else "by the cards in force"]
    if request.candidate_plans:
        parts.append("on other plans")
    if request.candidate_costs:
        parts.append("at other costs")
    if request.cost_change:
        parts.append(f"costs {request.cost_change}")
    if request.byok:
        parts.append("on the customers' own keys")
    parts += [f"{swap.served_by} in place of {swap.model}" for swap in request.model_swaps]
    return "Simulation: " + ", ".join(parts)


def _tables(answer: pb.SimulateRatesResponse, title: str) -> Iterator[Table]:
    yield _summary(answer, title)
    if len(answer.usage_changes) > 1:
        yield _by_usage(answer)
    changed = [change for change in answer.customer_changes if _more(change)]
    less, more = (sorted(changed, key=_more, reverse=reverse)[:_SHOWN] for reverse in (False, True))
    yield from _customers("Customers that pay less", (each for each in less if _more(each) < 0))
    yield from _customers("Customers that pay more", (each for each in more if _more(each) > 0))
    yield _histogram(answer)


def _summary(answer: pb.SimulateRatesResponse, title: str) -> Table:
    made = table(
        f"{title}\n{work_in_words(answer)}",
        *("", "credits", "at list price", "margin", "at lots' value", "margin", "cost", "unpriced"),
        numbers=7,
    )
    rows = [("before", answer.before), ("after", answer.after)]
    if answer.HasField("booked"):
        rows.insert(0, ("booked", answer.booked))
    for name, figures in rows:
        made.add_row(
            name,
            show_credits(figures.credits_micros),
            show_dollars(nanousd(figures.list_revenue_usd)),
            _percent(figures.list_margin_ratio),
            show_dollars(nanousd(figures.lots_revenue_usd)) if figures.lots_revenue_usd else "-",
            _percent(figures.lots_margin_ratio),
            show_dollars(nanousd(figures.cost_usd)),
            f"{figures.unpriced_lines:,}" if name != "booked" else "",
        )
    return made


def _by_usage(answer: pb.SimulateRatesResponse) -> Table:
    figures = ("bill before", "bill after", "cost", "margin before", "margin after")
    made = table("By usage, at the list price", "kind", "name", *figures, numbers=len(figures))
    for change in answer.usage_changes:
        made.add_row(
            change.kind,
            change.name,
            show_dollars(nanousd(change.before.list_revenue_usd)),
            show_dollars(nanousd(change.after.list_revenue_usd)),
            show_dollars(nanousd(change.after.cost_usd)),
            _percent(change.before.list_margin_ratio),
            _percent(change.after.list_margin_ratio),
        )
    return made


def _customers(title: str, changes: Iterable[pb.CustomerChange]) -> Iterator[Table]:
    figures = ("bill before", "bill after", "change", "margin before", "margin after")
    made = table(title, "customer", *figures, numbers=len(figures))
    for change in changes:
        made.add_row(
            change.customer_id,
            show_dollars(nanousd(change.before.list_revenue_usd)),
            show_dollars(nanousd(change.after.list_revenue_usd)),
            show_dollars(_more(change)),
            _percent(change.before.list_margin_ratio),
            _percent(change.after.list_margin_ratio),
        )
    if made.row_count:
        yield made


def _histogram(answer: pb.SimulateRatesResponse) -> Table:
    made = table("Change of bills", "", "customers", "charges", "", numbers=3)
    made.columns[-1].justify = "left"
    most = max((bucket.charges for bucket in answer.histogram), default=0) or 1
    for bucket in answer.histogram:
        bar = "█" * (-(-bucket.charges * _BAR // most))
        made.add_row(bounds(bucket), f"{bucket.customers:,}", f"{bucket.charges:,}", bar)
    return made


def _more(change: pb.CustomerChange) -> int:
    """Nano-dollars that a customer pays more at the list price."""
    return nanousd(change.after.list_revenue_usd) - nanousd(change.before.list_revenue_usd)


def _percent(ratio: str) -> str:
    return f"{Decimal(ratio):.1%}" if ratio else "-"
