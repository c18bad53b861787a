"""The finance port's metrics: revenue, cost and what else the rollups add up to.

Every replica shows the same figures, those of the database, so a query takes `max by (...)`, never `sum`,
over replicas. All are gauges: a reversal takes revenue and cost back. They are dollars and credits as
floats, fit for a graph; exact amounts are the finance service's. Labels are bounded by the configuration
(plans, cards) and by the four kinds of usage: no customer and no model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import NamedTuple

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

NANOUSD = 1_000_000_000
MICROS = 1_000_000


class _Gauge(NamedTuple):
    """A metric made of the amounts of one account."""

    name: str
    help: str
    account: str
    unit: int
    labels: tuple[str, ...]
    sign: int = 1
    """-1 where the books post what it counts as a negative amount."""


_BY_KIND = ("plan", "card", "kind")
_BY_CARD = ("plan", "card")

GAUGES = (
    _Gauge("acu_ledger_revenue_usd", "Revenue earned, dollars.", "revenue", NANOUSD, _BY_KIND),
    _Gauge(
        "acu_ledger_cost_usd", "Cost of revenue owed to providers, dollars.", "cost", NANOUSD, _BY_KIND, -1
    ),
    _Gauge("acu_ledger_priced_credits", "Credits that usage was priced at.", "priced", MICROS, _BY_KIND),
    _Gauge("acu_ledger_unpriced_lines", "Usage items booked without a price.", "unpriced_lines", 1, _BY_KIND),
    _Gauge(
        "acu_ledger_uncosted_lines", "Usage items whose cost nobody knows.", "uncosted_lines", 1, _BY_KIND
    ),
    _Gauge("acu_ledger_consumed_credits", "Credits consumed, debt included.", "consumed", MICROS, _BY_CARD),
    _Gauge(
        "acu_ledger_uncollected_credits", "Credits priced, not collected.", "uncollected", MICROS, _BY_CARD
    ),
    _Gauge(
        "acu_ledger_own_key_cost_usd",
        "What customers paid providers on keys of their own, at list prices, dollars.",
        "own_key",
        NANOUSD,
        _BY_CARD,
    ),
    _Gauge("acu_ledger_breakage_usd", "Value of expired credits, dollars.", "breakage", NANOUSD, ("plan",)),
    _Gauge(
        "acu_ledger_deferred_revenue_usd", "Value of credits not used yet, dollars.", "deferred", NANOUSD, ()
    ),
    _Gauge("acu_ledger_unbilled_usd", "Price of credits owed, dollars.", "unbilled", NANOUSD, (), -1),
    _Gauge(
        "acu_ledger_refunded_usd",
        "To be paid back, or paid back, for credits taken back, dollars.",
        "refund_payable",
        NANOUSD,
        ("plan",),
    ),
    _Gauge(
        "acu_ledger_write_off_usd",
        "Invoices and debts given up, dollars.",
        "write_off",
        NANOUSD,
        ("plan",),
        -1,
    ),
)

Amounts = Mapping[tuple[str, str, str, str, str], int]
"""By plan, card, kind of usage, lever and account."""

ABSORBED = {
    "absorbed_failed_outcome": "failed_outcome",
    "absorbed_uncollected": "uncollected",
    "absorbed_unpriced": "unpriced",
}
"""Accounts of absorbed cost, and the reason that each stands for."""


@dataclass(frozen=True, slots=True)
class FinanceFigures:
    """What the rollups say, read at one moment."""

    amounts: Amounts
    """Micro-credits, nano-dollars or lines."""
    as_of: datetime | None
    """Everything booked up to this instant is in; None while that is known of none."""
    clock: datetime
    """The database's time of the reading."""
    cursors: Mapping[str, int]
    """By cell, how far in its journal they reach: readings with the same cursors have the same amounts."""
    begun_at: datetime | None
    """When the first entry was booked; None before there is one."""
    entries_behind: int


class FinanceMetrics(Collector):
    """Collects the figures shown last; before any are shown there is nothing to collect."""

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._shown: tuple[FinanceFigures, float] | None = None
        self._floors: Callable[[], Mapping[str, Fraction]] = dict

    def watch_floors(self, floors: Callable[[], Mapping[str, Fraction]]) -> None:
        """Shows the margin that each card is to leave; asked at each scrape, on the port's thread."""
        self._floors = floors

    def show(self, figures: FinanceFigures) -> None:
        self._shown = figures, self._seconds()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        if self._shown is None:
            return
        figures, shown_at = self._shown
        for gauge in GAUGES:
            yield _family(gauge, figures.amounts)
        yield _absorbed(figures.amounts)
        yield _savings(figures.amounts)
        yield _margin_floors(self._floors())
        yield _cursors(figures.cursors)
        if figures.begun_at is not None:
            yield GaugeMetricFamily(
                "acu_ledger_books_begin_timestamp_seconds",
                "When the first entry of the journal was booked, seconds since 1970.",
                value=figures.begun_at.timestamp(),
            )
        yield GaugeMetricFamily(
            "acu_ledger_rollup_entries_behind",
            "Entries of the journal that are not in these figures (counted up to 100,000).",
            value=figures.entries_behind,
        )
        if figures.as_of is not None:
            behind = figures.clock - figures.as_of + timedelta(seconds=self._seconds() - shown_at)
            yield GaugeMetricFamily(
                "acu_ledger_rollup_lag_seconds",
                "Everything booked up to so many seconds ago is in these figures.",
                value=behind.total_seconds(),
            )


def _family(gauge: _Gauge, amounts: Amounts) -> GaugeMetricFamily:
    """One sample per combination of labels that has an amount; without labels, one in any case."""
    sums: dict[tuple[str, ...], int] = {} if gauge.labels else {(): 0}
    for (plan, card, kind, _, account), amount in amounts.items():
        if account == gauge.account:
            labels = (plan, card, kind)[: len(gauge.labels)]
            sums[labels] = sums.get(labels, 0) + amount
    family = GaugeMetricFamily(gauge.name, gauge.help, labels=gauge.labels)
    for labels, total in sums.items():
        family.add_metric(labels, gauge.sign * total / gauge.unit)
    return family


def _absorbed(amounts: Amounts) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "acu_ledger_absorbed_cost_usd",
        "The part of the cost that nobody pays, by reason, dollars.",
        labels=("plan", "card", "reason"),
    )
    return _in_dollars(
        family,
        (
            ((plan, card, ABSORBED[account]), amount)
            for (plan, card, _, _, account), amount in amounts.items()
            if account in ABSORBED
        ),
    )


def _savings(amounts: Amounts) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "acu_ledger_savings_usd",
        "Cost of what was asked for less cost of what served it, by lever, dollars; not on customers' keys.",
        labels=("plan", "card", "lever"),
    )
    return _in_dollars(
        family,
        (
            ((plan, card, lever), amount)
            for (plan, card, _, lever, account), amount in amounts.items()
            if account == "saved"
        ),
    )


def _in_dollars(
    family: GaugeMetricFamily, amounts_nanousd: Iterable[tuple[tuple[str, ...], int]]
) -> GaugeMetricFamily:
    """One sample for each combination of labels: the sum of its amounts."""
    sums: dict[tuple[str, ...], int] = {}
    for labels, amount in amounts_nanousd:
        sums[labels] = sums.get(labels, 0) + amount
    for labels, total in sums.items():
        family.add_metric(labels, total / NANOUSD)
    return family


def _margin_floors(floors: Mapping[str, Fraction]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "acu_ledger_card_margin_floor_ratio",
        "The share of its revenue that a card in force is to leave: its `margin_floor`.",
        labels=("card",),
    )
    for card, floor in floors.items():
        family.add_metric((card,), float(floor))
    return family


def _cursors(cursors: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "acu_ledger_rollup_cursor",
        "The transaction id that these figures reach to, by cell: where it is the same, so are the figures.",
        labels=("cell",),
    )
    for cell, cursor in cursors.items():
        family.add_metric((cell,), cursor)
    return family
