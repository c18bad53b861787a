"""Finance's metrics are the ledger's own sums, whoever shows them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from bookkeeper import CELL, CREDIT, DOLLAR, Bookkeeper, catch_up, line, varied_history
from prometheus_client import CollectorRegistry, generate_latest

from ledger.books import Treatment
from ledger.followers.tailer import Tailer
from ledger.metrics.finance import FinanceFigures, FinanceMetrics
from ledger.store.postgres.database import Connection, Database

BY_PLAN_AND_CARD = """
SELECT plan, coalesce(card, '') AS card, {amount} AS amount
FROM {cell}.entries LEFT JOIN {cell}.money USING (customer, sequence)
GROUP BY 1, 2 HAVING {amount} <> 0
"""
BY_LINES = """
SELECT e.plan, e.card, l.kind, sum(l.cost_nanousd) AS amount
FROM {cell}.entries e JOIN {cell}.money m USING (customer, sequence),
     json_to_recordset(m.lines) AS l(kind text, cost_nanousd bigint)
GROUP BY 1, 2, 3 HAVING sum(l.cost_nanousd) <> 0
"""


class Replica:
    """A process with a tailer and a finance port."""

    def __init__(self, database: Database) -> None:
        metrics = FinanceMetrics()
        self.tailer = Tailer(database, [CELL], metrics)
        self.registry = CollectorRegistry()
        self.registry.register(metrics)

    async def refresh(self) -> None:
        await catch_up(self.tailer)
        await self.tailer.show()

    def samples(self, name: str) -> dict[tuple[str, ...], float]:
        """Samples of a metric by its labels' values, without those that are 0."""
        families = {family.name: family for family in self.registry.collect()}
        samples = families[name].samples
        return {tuple(sample.labels.values()): sample.value for sample in samples if sample.value}

    def text(self) -> list[str]:
        """The page, without what tells how far it is: each look goes on, also where nothing is booked."""
        page = generate_latest(self.registry).decode().splitlines()
        return sorted(each for each in page if not re.search("rollup_(lag|cursor)", each))


async def booked(owner: Connection, amount: str, unit: int) -> dict[tuple[str, ...], float]:
    rows = await owner.fetch(BY_PLAN_AND_CARD.format(cell=CELL, amount=f"sum({amount})"))
    return {(row["plan"], row["card"]): float(row["amount"] / unit) for row in rows}


def by_plan_and_card(samples: dict[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
    sums: dict[tuple[str, ...], float] = {}
    for labels, value in samples.items():
        sums[labels[:2]] = sums.get(labels[:2], 0) + value
    return {labels: pytest.approx(value) for labels, value in sums.items()}


async def test_metrics_are_the_journals_sums(database, writer, owner):
    """Revenue, cost, credits and absorbed cost on the port are the sums of the journal's own postings."""
    await varied_history(database, writer)
    replica = Replica(database)
    await replica.refresh()
    for metric, amount, unit in (
        ("acu_ledger_revenue_usd", "revenue", DOLLAR),
        ("acu_ledger_cost_usd", "-cost", DOLLAR),
        ("acu_ledger_priced_credits", "priced", CREDIT),
        ("acu_ledger_consumed_credits", "consumed", CREDIT),
        ("acu_ledger_uncollected_credits", "uncollected", CREDIT),
    ):
        sums = await booked(owner, amount, unit)
        assert sums, metric
        assert sums == by_plan_and_card(replica.samples(metric)), metric
    for reason in ("failed_outcome", "uncollected", "unpriced"):
        sums = await booked(owner, f"absorbed_{reason}", DOLLAR)
        shown = replica.samples("acu_ledger_absorbed_cost_usd")
        assert sums, reason
        assert sums == by_plan_and_card({key: value for key, value in shown.items() if key[2] == reason})


async def test_cost_is_told_apart_by_kind(database, writer, owner):
    """Cost by kind of usage is the sum of the lines of that kind."""
    await varied_history(database, writer)
    replica = Replica(database)
    await replica.refresh()
    rows = await owner.fetch(BY_LINES.format(cell=CELL))
    lines = {(row["plan"], row["card"], row["kind"]): float(row["amount"] / DOLLAR) for row in rows}
    assert len({kind for _, _, kind in lines}) > 2
    assert replica.samples("acu_ledger_cost_usd") == {
        key: pytest.approx(value) for key, value in lines.items()
    }


async def test_savings_are_told_by_lever_and_own_keys_apart(database, writer):
    """What levers saved of our cost; what customers paid on keys of their own is no cost and no saving."""
    await varied_history(database, writer)
    replica = Replica(database)
    await replica.refresh()
    once = 10.0 / 3
    assert replica.samples("acu_ledger_savings_usd") == {
        ("standard", "agents", "routing"): pytest.approx(once)
    }
    assert replica.samples("acu_ledger_own_key_cost_usd") == {("standard", "agents"): 5.0}


async def test_deferred_revenue_is_the_value_of_the_lots(database, writer, owner):
    """What is deferred is what the customers' credits are worth; it has no label: credits change plans."""
    await varied_history(database, writer)
    replica = Replica(database)
    await replica.refresh()
    value = await owner.fetchval(f"SELECT sum(value_nanousd) FROM {CELL}.lot_values")
    assert replica.samples("acu_ledger_deferred_revenue_usd") == {(): pytest.approx(float(value / DOLLAR))}
    unbilled = await owner.fetchval(f"SELECT -sum(unbilled_nanousd) FROM {CELL}.debts")
    assert replica.samples("acu_ledger_unbilled_usd") == {(): pytest.approx(float(unbilled / DOLLAR))}
    breakage = await owner.fetchval(f"SELECT sum(breakage) FROM {CELL}.money")
    assert sum(replica.samples("acu_ledger_breakage_usd").values()) == pytest.approx(float(breakage / DOLLAR))


async def test_replicas_and_restarts_show_the_same(database, database_url, writer):
    """Each replica shows the figures of the database, whoever moved the cursor; so does one started anew."""
    customers = await varied_history(database, writer)
    other_database = await Database.open(database_url)
    first, second = Replica(database), Replica(other_database)
    await first.refresh()
    await customers[0].charge(line(micros=CREDIT, cost_nanousd=DOLLAR))
    await second.refresh()
    await first.refresh()
    restarted = Replica(other_database)
    await restarted.refresh()
    assert first.text() == second.text() == restarted.text()
    await other_database.close()


async def test_a_reversal_takes_revenue_and_cost_back(database, writer):
    """Revenue and cost are gauges: a charge that did not happen leaves them as they were."""
    customer = await Bookkeeper.open(database, writer, "acme")
    await customer.grant(10 * CREDIT, 10 * DOLLAR)
    charge = await customer.charge(line(micros=4 * CREDIT, cost_nanousd=DOLLAR))
    replica = Replica(database)
    await replica.refresh()
    assert replica.samples("acu_ledger_revenue_usd") == {("standard", "agents", "tokens"): 4.0}
    await customer.reverse(charge=charge.sequence)
    await replica.refresh()
    for metric in ("revenue_usd", "cost_usd", "consumed_credits", "priced_credits"):
        assert replica.samples(f"acu_ledger_{metric}") == {}
    assert replica.samples("acu_ledger_deferred_revenue_usd") == {(): 10.0}


async def test_unpriced_lines_are_counted(database, writer):
    """Usage booked without a price is seen at once, by plan, card and kind."""
    customer = await Bookkeeper.open(database, writer, "acme")
    unpriced = line(name="new/model", treatment=Treatment.UNPRICED, cost_nanousd=1)
    await customer.charge(unpriced, unpriced, line("compute", cost_nanousd=1))
    replica = Replica(database)
    await replica.refresh()
    assert replica.samples("acu_ledger_unpriced_lines") == {("standard", "agents", "tokens"): 2.0}


async def test_uncosted_lines_are_counted(database, writer):
    """Usage whose cost nobody knows is charged as any other, and seen until it is reversed."""
    customer = await Bookkeeper.open(database, writer, "acme")
    guessed = line(cost_nanousd=1, cost_source="asked", uncosted=True)
    charge = await customer.charge(guessed, guessed, line("compute", cost_nanousd=1))
    replica = Replica(database)
    await replica.refresh()
    key = ("standard", "agents", "tokens")
    assert replica.samples("acu_ledger_uncosted_lines") == {key: 2.0}
    assert replica.samples("acu_ledger_unpriced_lines") == {}
    await customer.reverse(charge=charge.sequence)
    await replica.refresh()
    assert replica.samples("acu_ledger_uncosted_lines").get(key, 0.0) == 0.0


async def test_labels_are_bounded(database, writer):
    """Plans, cards, kinds, levers and reasons are labels: no customer, model or what grows with use."""
    await varied_history(database, writer)
    replica = Replica(database)
    await replica.refresh()
    labels = {
        name for family in replica.registry.collect() for each in family.samples for name in each.labels
    }
    assert labels == {"plan", "card", "kind", "lever", "reason", "cell"}
    assert "acme" not in "\n".join(replica.text()).replace("acu_ledger", "")


async def test_figures_are_the_sums_below_their_cursor(database, writer, owner):
    """What a page shows is the journal below the cursor on it, and no more."""
    await varied_history(database, writer)
    replica = Replica(database)
    await replica.refresh()
    customer = await Bookkeeper.open(database, writer, "late")
    await customer.grant(10 * CREDIT, 10 * DOLLAR)
    await replica.tailer.show()
    [cursor] = replica.samples("acu_ledger_rollup_cursor").values()
    deferred = await owner.fetchval(f"SELECT sum(deferred) FROM {CELL}.money WHERE xid < $1", int(cursor))
    assert replica.samples("acu_ledger_deferred_revenue_usd") == {(): float(deferred / DOLLAR)}
    await replica.refresh()
    assert replica.samples("acu_ledger_deferred_revenue_usd") == {(): float(deferred / DOLLAR + 10)}


async def test_the_books_begin_with_their_first_entry(database, writer, owner):
    """Who asks for a window that is older than the books counts from nothing, and can tell that."""
    replica = Replica(database)
    await replica.refresh()
    begin = "acu_ledger_books_begin_timestamp_seconds"
    assert begin not in {family.name for family in replica.registry.collect()}
    await varied_history(database, writer)
    await replica.refresh()
    first = await owner.fetchval(f"SELECT min(booked_at) FROM {CELL}.entries")
    assert replica.samples(begin) == {(): first.timestamp()}


def test_the_floors_of_cards_are_shown():
    """The margin that a card is to leave stands beside what it leaves; a card without one has none."""
    metrics = FinanceMetrics(lambda: 0.0)
    metrics.show(FinanceFigures({}, None, datetime.now(UTC), {}, None, 0))
    metrics.watch_floors(lambda: {"agents": Fraction(3, 10)})
    [floors] = [each for each in metrics.collect() if each.name == "acu_ledger_card_margin_floor_ratio"]
    assert [(sample.labels, sample.value) for sample in floors.samples] == [({"card": "agents"}, 0.3)]


async def test_the_lag_is_told(database, writer):
    """The lag goes on growing when nothing is read any more; what is not rolled up yet is counted."""
    seconds = [100.0]
    metrics = FinanceMetrics(lambda: seconds[0])
    assert list(metrics.collect()) == []
    tail = Tailer(database, [CELL], metrics)
    await tail.step(CELL)
    await tail.step(CELL)
    customer = await Bookkeeper.open(database, writer, "acme")
    await customer.charge(line(cost_nanousd=1))
    await tail.show()

    def shown(name: str) -> float:
        return next(family.samples[0].value for family in metrics.collect() if family.name == name)

    assert shown("acu_ledger_rollup_entries_behind") == 2
    lag = shown("acu_ledger_rollup_lag_seconds")
    assert lag >= 5
    seconds[0] += 60
    assert shown("acu_ledger_rollup_lag_seconds") == pytest.approx(lag + 60)
    await catch_up(tail)
    await tail.show()
    assert shown("acu_ledger_rollup_entries_behind") == 0
