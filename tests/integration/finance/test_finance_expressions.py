"""The expressions that finance is given, run by a real Prometheus: they say what the books say.

The samples are those of two replicas' finance ports, a page every two minutes over two days and a half.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ledger.metrics.finance import FinanceFigures, FinanceMetrics
from tests.prometheus import backfill, rules, running

GUIDE = Path(__file__).parents[3] / "docs" / "finance.md"
BEGIN = datetime(2026, 6, 1, tzinfo=UTC)
NOW = BEGIN + timedelta(hours=60)
DAY_AGO = NOW - timedelta(days=1)
SCRAPE = timedelta(minutes=2)
USD = 10**9

_BOOKS: dict[str, Callable[[timedelta], tuple[int, int] | None]] = {
    # Nano-dollars of cost and revenue so long after the beginning; None: nothing is booked yet.
    "steady": lambda since: (1_532_016_000 + since // SCRAPE * 1_000_003, since // SCRAPE * 1_700_001),
    "new": lambda since: (2_500_000_001, 10 * USD) if since >= timedelta(hours=58) else None,
    "reversed": lambda since: (5 * USD, 8 * USD) if since < timedelta(hours=50) else (3 * USD, 7 * USD),
    "idle": lambda since: (4 * USD, 6 * USD),
}
RECORDED = rules()
_OVER_REPLICAS = {
    metric: name
    for name, expression in RECORDED.items()
    if name.endswith(":max")
    for metric in re.findall(r"\((acu_ledger_\w+)\)", expression)
}
"""What is recorded of each metric as it is, over all replicas."""
_GAP = (DAY_AGO - timedelta(hours=2), DAY_AGO + timedelta(hours=1))
"""When nobody was scraped, on the port that has the plan `gapped`."""


def books(card: str, at: datetime) -> tuple[int, int]:
    """Cost and revenue of a card as the books have them, in nano-dollars."""
    return _BOOKS[card](at - BEGIN) or (0, 0)


def last_day(card: str, at: datetime = NOW) -> tuple[int, int]:
    """Cost and revenue of the last day; what was booked before the first page counts from 0."""
    before = at - timedelta(days=1)
    was = books(card, before) if before >= BEGIN else (0, 0)
    cost, revenue = books(card, at)
    return cost - was[0], revenue - was[1]


def page(at: datetime, plan: str) -> Iterator[tuple[str, str]]:
    """The samples of a port, and what the rules record of them, as (metric, sample)."""
    amounts = {}
    for card, booked in _BOOKS.items():
        found = booked(at - BEGIN)
        if found is not None:
            amounts[plan, card, "tokens", "", "cost"] = -found[0]
            amounts[plan, card, "tokens", "", "revenue"] = found[1]
    metrics = FinanceMetrics(lambda: 0.0)
    metrics.show(
        FinanceFigures(amounts, at - timedelta(seconds=5), at, {"cell_00": round(at.timestamp())}, BEGIN, 0)
    )
    for family in metrics.collect():
        for sample in family.samples:
            for replica in ("a", "b"):
                reported = "".join(f',{name}="{value}"' for name, value in sample.labels.items())
                yield family.name, f'{sample.name}{{instance="{replica}"{reported}}} {sample.value!r} '
            if recorded := _OVER_REPLICAS.get(family.name):
                yield recorded, f"{recorded}{{{reported.removeprefix(',')}}} {sample.value!r} "


def openmetrics(plan: str) -> str:
    """All pages of the history, as what Prometheus backfills from."""
    by_metric: dict[str, list[str]] = {}
    at = BEGIN
    while at <= NOW:
        if plan != "gapped" or not _GAP[0] < at < _GAP[1]:
            for metric, sample in page(at, plan):
                by_metric.setdefault(metric, []).append(f"{sample}{at.timestamp():.0f}")
        at += SCRAPE
    lines = [line for name, found in by_metric.items() for line in (f"# TYPE {name} gauge", *found)]
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture(scope="module", params=["whole", "gapped"])
def query(request, tmp_path_factory):
    """Ask a Prometheus that has scraped the pages: all of them, or all but for three hours a day ago."""
    folder = tmp_path_factory.mktemp("prometheus")
    backfill(folder, openmetrics(request.param))
    with running(folder) as prometheus:
        yield lambda expression, at: {
            found.labels.get("card", ""): found.value for found in prometheus.ask(written_out(expression), at)
        }


def written_out(expression: str) -> str:
    """An expression with what the rules record of it in its place, but for what `page` has."""
    recorded = {name: expr for name, expr in RECORDED.items() if name not in _OVER_REPLICAS.values()}
    while names := [name for name in recorded if name in expression]:
        longest = max(names, key=len)
        expression = expression.replace(longest, f"({recorded[longest]})")
    return expression


def documented(title: str) -> str:
    """The expression of the guide that follows a comment."""
    [block] = re.findall(r"```promql\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    [found] = [each for each in block.split("\n\n") if each.startswith(f"# {title}")]
    return found


@pytest.mark.parametrize(
    "at",
    [BEGIN, BEGIN + SCRAPE, BEGIN + timedelta(hours=3), NOW],
    ids=["at the first page", "in the first minutes", "on the first day", "later"],
)
def test_the_cost_of_a_day_is_that_of_the_books(query, at, request):
    """To the nano-dollar: new cards from their first value, reversals taken away, none left out."""
    wanted = {card: last_day(card, at)[0] for card in _BOOKS if _BOOKS[card](at - BEGIN)}
    if at == NOW and "gapped" in request.node.name:
        wanted["steady"] = books("steady", NOW)[0] - books("steady", _GAP[0])[0]
    found = query(documented("Cost by card, of the last day"), at)
    assert {card: round(value * USD) for card, value in found.items()} == wanted


def test_the_margin_of_a_day_is_that_of_the_books(query):
    """1 - cost / revenue of the last day; a card without revenue in it has none."""
    found = query(documented("Gross margin by card, of the last day"), NOW)
    cost, revenue = last_day("new")
    assert found["new"] == pytest.approx(1 - cost / revenue, rel=1e-12)
    assert "idle" not in found
    assert "reversed" not in found


def test_the_margin_of_all_time_is_that_of_the_books(query):
    """1 - cost / revenue, of what each card has booked."""
    found = query(documented("Gross margin by card, of all time"), NOW)
    wanted = {card: 1 - books(card, NOW)[0] / books(card, NOW)[1] for card in _BOOKS}
    assert found == {card: pytest.approx(margin, rel=1e-12) for card, margin in wanted.items()}


def test_books_that_move_raise_no_alarm(query):
    """The alarm is for rollups that have stopped."""
    assert query(documented("The books have stopped"), NOW) == {}
