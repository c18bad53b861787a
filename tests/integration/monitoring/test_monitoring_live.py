"""What Prometheus has of two servers is what the books say, to 1e-9, at every instant that it looked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

import pytest
from monitoring_world import CREDIT, Books, Scene

from ledger.metrics.finance import GAUGES
from ledger.metrics.operations import OperationsMetrics
from tests.prometheus import RULES, Found, queries

pytestmark = pytest.mark.timeout(300)  # The first one waits for the scene.

USD = 10**9
LEVELS = {
    "plan": ("plan",),
    "card": ("card",),
    "kind": ("kind",),
    "plan_card_kind": ("plan", "card", "kind"),
}
WINDOWS = ("1h", "1d", "30d")
"""The books are minutes old: each has brought all that there is."""

Labels = tuple[str, ...]
Figures = dict[Labels, Decimal]


def near(figures: Mapping[Labels, Decimal]) -> Any:
    """Within 1e-9 of these, and none but these."""
    return {key: pytest.approx(float(value), rel=1e-9, abs=1e-9) for key, value in figures.items()}


def found(answer: Iterable[Found], labels: Labels) -> dict[Labels, float]:
    """Values by these labels; what is not there has no value."""
    return {tuple(each.labels.get(name, "") for name in labels): each.value for each in answer}


def summed(rows: Iterable[Mapping[str, Any]], figure: str, labels: Labels) -> Figures:
    """Sums of a figure by some labels, without those that are 0."""
    sums: Figures = {}
    for row in rows:
        key = tuple(row[name] for name in labels)
        sums[key] = sums.get(key, Decimal(0)) + Decimal(row[figure])
    return {key: total for key, total in sums.items() if total}


def scaled(figures: Figures, unit: int) -> Figures:
    return {key: total / unit for key, total in figures.items()}


def margins(books: Books, labels: Labels) -> Figures:
    """1 - cost / revenue, of what has any revenue."""
    cost = summed(books.margin, "cost_usd", labels)
    revenue = summed(books.margin, "revenue_usd", labels)
    return {key: 1 - cost.get(key, Decimal(0)) / earned for key, earned in revenue.items() if earned > 0}


def without_zeros(values: Mapping[Labels, float]) -> dict[Labels, float]:
    return {key: value for key, value in values.items() if value}


PAGES = {
    # What a page shows, and the sums of the journal that it is, with their unit.
    "acu_ledger_revenue_usd": ("revenue", USD),
    "acu_ledger_cost_usd": ("cost", USD),
    "acu_ledger_deferred_revenue_usd": ("deferred", USD),
    "acu_ledger_unbilled_usd": ("unbilled", USD),
    "acu_ledger_breakage_usd": ("breakage", USD),
    "acu_ledger_consumed_credits": ("consumed", CREDIT),
    "acu_ledger_uncollected_credits": ("uncollected", CREDIT),
    "acu_ledger_priced_credits": ("priced", CREDIT),
}


@pytest.mark.parametrize("metric", PAGES)
def test_each_page_is_the_journal_up_to_its_cursor(scene: Scene, metric: str):
    """Of both servers, at each scrape: under load, while one was gone, and after it had come back."""
    column, unit = PAGES[metric]
    cursors = {
        (each.labels["instance"], at): cursor
        for each in scene.prometheus.ask("acu_ledger_rollup_cursor[1h]", scene.at)
        for at, cursor in each.samples
    }
    shown: dict[tuple[str, float], float] = dict.fromkeys(cursors, 0.0)
    for each in scene.prometheus.ask(f"{metric}[1h]", scene.at):
        for at, value in each.samples:
            shown[each.labels["instance"], at] += value
    assert {instance for instance, _ in cursors} == set(scene.instances)
    last = scene.books.journal[-1]["xid"]
    assert sum(cursor <= last for cursor in cursors.values()) > 5, "pages of the load itself"
    for page, cursor in cursors.items():
        below = sum(row[column] for row in scene.books.journal if row["xid"] < cursor)
        assert shown[page] == pytest.approx(float(Decimal(below) / unit), rel=1e-9, abs=1e-9)


def test_a_restart_takes_nothing_back(scene: Scene):
    """The server that was killed was missed by Prometheus, and goes on where the books are."""
    gone = f'min_over_time(up{{instance="{scene.instances[1]}"}}[1h])'
    assert [each.value for each in scene.prometheus.ask(gone, scene.at)] == [0.0]
    for each in scene.prometheus.ask("acu_ledger_rollup_cursor[1h]", scene.at):
        cursors = [cursor for _, cursor in each.samples]
        assert cursors == sorted(cursors)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("level", LEVELS)
def test_recorded_margins_are_those_of_the_books(scene: Scene, level: str, window: str):
    """`books margin` by plan, card and kind, and the rules, at the same cursor."""
    answer = scene.prometheus.ask(f"{level}:acu_ledger_gross_margin_ratio:{window}", scene.at)
    assert found(answer, LEVELS[level]) == near(margins(scene.books, LEVELS[level]))


@pytest.mark.parametrize("recorded", ["max", *(f"diff{window}" for window in WINDOWS)])
@pytest.mark.parametrize("figure", ["revenue_usd", "cost_usd", "unpriced_lines", "uncosted_lines"])
def test_recorded_figures_are_those_of_the_books(scene: Scene, figure: str, recorded: str):
    """What is there, and what a window has brought, by plan, card and kind."""
    labels = LEVELS["plan_card_kind"]
    answer = scene.prometheus.ask(f"plan_card_kind:acu_ledger_{figure}:{recorded}", scene.at)
    assert without_zeros(found(answer, labels)) == near(summed(scene.books.margin, figure, labels))


def test_the_trial_balance_is_the_same(scene: Scene):
    """Its accounts and the recorded sums: two ways from the same journal."""
    accounts = {
        "revenue": "sum(plan_card_kind:acu_ledger_revenue_usd:max)",
        "cost": "-sum(plan_card_kind:acu_ledger_cost_usd:max)",
        "deferred": "books:acu_ledger_deferred_revenue_usd:max",
        "unbilled": "-books:acu_ledger_unbilled_usd:max",
        "breakage": "sum(plan:acu_ledger_breakage_usd:max)",
    }
    asked = {account: scene.prometheus.ask(each, scene.at)[0].value for account, each in accounts.items()}
    assert asked == near({account: Decimal(scene.books.dollars[account]) for account in accounts})
    consumed = scene.prometheus.ask("sum(plan_card:acu_ledger_consumed_credits:max)", scene.at)
    assert found(consumed, ()) == near({(): Decimal(scene.books.credits["consumed"])})


def test_servers_show_the_same(scene: Scene):
    """Once both have all of it, each of finance's figures is the same on both pages."""
    same = 'count by (__name__) ({__name__=~"acu_ledger_.+(_usd|_credits|_lines|_ratio)"})'
    assert all(each.value % 2 == 0 for each in scene.prometheus.ask(same, scene.at))
    for metric in {expression for _, _, expression in queries("finance")}:
        for name in re.findall(r"acu_ledger_\w+_(?:usd|credits|lines)", metric):
            apart = f"max without (instance) ({name}) - min without (instance) ({name})"
            assert {each.value for each in scene.prometheus.ask(apart, scene.at)} <= {0.0}


def _stat(figure: str) -> Callable[[Books], Figures]:
    return lambda books: summed(books.margin, figure, ())


def _by(figure: str, *labels: str, unit: int = 1) -> Callable[[Books], Figures]:
    return lambda books: scaled(summed(books.margin, figure, labels), unit)


def _journal(column: str, *labels: str, unit: int) -> Callable[[Books], Figures]:
    return lambda books: scaled(summed(books.journal, column, labels), unit)


def _margin_of(*labels: str) -> Callable[[Books], Figures]:
    return lambda books: margins(books, labels)


def _absorbed(books: Books) -> Figures:
    reasons = {"failed_outcome": "failed_outcome", "uncollected": "uncollected_cost", "unpriced": "unpriced"}
    return {
        (reason,): sum((row[column] for row in books.journal), Decimal(0)) / USD
        for reason, column in reasons.items()
    }


PANELS: dict[tuple[str, str], Callable[[Books], Figures]] = {
    # Of the finance dashboard, by title and legend: what the books say.
    ("Revenue", ""): _stat("revenue_usd"),
    ("Cost", ""): _stat("cost_usd"),
    ("Gross margin", ""): _margin_of(),
    ("Absorbed cost", ""): lambda books: {(): sum(_absorbed(books).values(), Decimal(0))},
    ("Saved by levers", ""): _stat("saved_usd"),
    ("Credits burnt", ""): _journal("consumed", unit=CREDIT),
    ("Revenue by card", "{{card}}"): _by("revenue_usd", "card"),
    ("Cost by card", "{{card}}"): _by("cost_usd", "card"),
    ("Gross margin by card", "{{card}}"): _margin_of("card"),
    ("Gross margin by card", "floor of {{card}}"): lambda _: {("agents",): Decimal("0.1")},
    ("Gross margin by plan", "{{plan}}"): _margin_of("plan"),
    ("Gross margin by kind", "{{kind}}"): _margin_of("kind"),
    ("Credits burnt by plan and card", "{{plan}} {{card}}"): _journal(
        "consumed", "plan", "card", unit=CREDIT
    ),
    ("Deferred revenue", "deferred"): lambda books: {(): Decimal(books.dollars["deferred"])},
    ("Unbilled", "unbilled"): lambda books: {(): -Decimal(books.dollars["unbilled"])},
    ("Breakage by plan", "{{plan}}"): _journal("breakage", "plan", unit=USD),
    ("Absorbed cost by reason", "{{reason}}"): _absorbed,
    ("Savings by lever", "{{lever}}"): _by("saved_usd", "lever"),
    ("Paid on customers' own keys", "{{card}}"): _by("own_key_cost_usd", "card"),
    ("Credits priced, and not collected", "priced: {{card}}"): _by("credits_micros", "card", unit=CREDIT),
    ("Credits priced, and not collected", "not collected: {{card}}"): _journal(
        "uncollected", "card", unit=CREDIT
    ),
    (
        "Usage items without a price, or without a known cost",
        "unpriced: {{card}} {{kind}}",
    ): _by("unpriced_lines", "card", "kind"),
    (
        "Usage items without a price, or without a known cost",
        "uncosted: {{card}} {{kind}}",
    ): _by("uncosted_lines", "card", "kind"),
}


def test_each_panel_of_finance_is_compared():
    """But for the table, whose columns are the recorded figures, and the age of them all."""
    drawn = {(title, legend) for title, legend, _ in queries("finance")}
    assert drawn - PANELS.keys() == {
        ("Margin by plan, card and kind", ""),
        ("How old these figures are", "behind"),
    }


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(("title", "legend"), PANELS)
def test_panels_of_finance_show_the_books(scene: Scene, title: str, legend: str, window: str):
    """What a panel draws is what `books margin`, the trial balance and the journal say."""
    [expression] = {each for name, of, each in queries("finance") if (name, of) == (title, legend)}
    answer = scene.prometheus.ask(expression.replace("$window", window), scene.at)
    labels = tuple(re.findall(r"{{(\w+)}}", legend))
    wanted = PANELS[title, legend](scene.books)
    assert wanted
    assert without_zeros(found(answer, labels)) == near(wanted)


UNSEEN = {
    "Time that keys still hold",
    "Time that certificates still hold",
    "Requests refused, by limit",
}
"""The scene's servers are open on loopback, and have no more to do than they can."""


@pytest.mark.parametrize(
    ("title", "expression"),
    [(title, expression) for board in ("finance", "operations") for title, _, expression in queries(board)],
)
def test_each_panel_draws_something(scene: Scene, title: str, expression: str):
    """The query of every panel of both dashboards is run as it stands, and finds what there is."""
    answer = scene.prometheus.ask(expression.replace("$window", "1d"), scene.at)
    assert bool(answer) == (title not in UNSEEN)


def test_rules_name_metrics_that_there_are(scene: Scene):
    """Each metric that a rule or an alert looks at is on a page, or would be with TLS, keys, refunds."""
    closed = OperationsMetrics()
    closed.tls(scene.at, refused=False)
    closed.watch_keys(lambda: {"a key": scene.at})
    closed.refused.note("commands", "NEW")
    text = "".join(path.read_text(encoding="utf-8") for path in RULES)
    names = set(re.findall(r"\bacu_ledger_\w+", text))
    recorded = {name for name in names if name.endswith(("_begin", "_gross_margin_ratio"))}
    shown = scene.prometheus.ask('count by (__name__) ({__name__=~"acu_ledger_.+"})', scene.at)
    rare = {gauge.name for gauge in GAUGES} | {
        sample.name for family in closed.registry.collect() for sample in family.samples
    }
    assert names - recorded <= {each.labels["__name__"] for each in shown} | rare


def test_alerts_see_what_went_wrong(scene: Scene):
    """Work without a price and without a cost raises its alerts at once, and what was well raises none."""
    raised = scene.prometheus.ask('count by (alertname) (ALERTS{alertstate="firing"})', scene.at)
    assert {each.labels["alertname"] for each in raised} == {
        "AcuLedgerUsageUnpriced",
        "AcuLedgerUsageUncosted",
    }
