"""Usage in, lines out: each item by the first rule that matches it, beside what it costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from pricing.costing import FREE, Costs, compute_costs, tokens_costs, units_costs
from pricing.costs import CostBook
from pricing.items import Compute, Item, Outcome, Tokens, Units
from pricing.pairs import NOTHING, Pair
from pricing.quote import Line, Quote, Treatment
from pricing.runs import Memory, Runs
from pricing.tariffs import ComputeTariff, OutcomeTariff, Tariff, TokensTariff, UnitsTariff
from pricing.terms import Labels, Rule, Terms

_KINDS = {Tokens: "tokens", Compute: "compute", Units: "units", Outcome: "outcome"}

CostsAt = Callable[[datetime | None], CostBook]


def price(
    items: Sequence[Item],
    labels: Mapping[str, str],
    terms: Terms,
    memory: Memory,
    *,
    now: datetime,
    costs_at: CostsAt | None = None,
    estimate: bool = False,
) -> Quote:
    """Price usage items, in their order.

    `now` is when items happened that state no instant: catalog prices change by date and time of day.
    `costs_at` gives the cost book that was in force when an item occurred (its `occurred_at` as stated): what
    is posted is taken from it. None: from the book of the terms. What is charged always rests on the terms.
    `estimate` prices and costs everything as asked for, whatever served it: what a quote or a reservation
    is told must not tell what ran.
    """
    pricer = _Pricer(terms, now, costs_at, estimate, Runs(memory))
    asked_labels = terms.labels(labels)
    lines = tuple([pricer.line(item, asked_labels) for item in items])
    return Quote(
        lines=lines,
        runs=pricer.runs.changed_states(),
        own_run=pricer.runs.own_state(),
        has_outcome_rule=terms.has_outcome_rule,
        outcome_charged=terms.has_outcome_rule and any(_charges_outcome(line) for line in lines),
        unpriced=tuple([n for n, line in enumerate(lines) if line.treatment is Treatment.UNPRICED]),
    )


class _Pricer:
    """What the items of one call have in common."""

    __slots__ = ("costs_at", "estimate", "now", "runs", "terms")

    def __init__(
        self, terms: Terms, now: datetime, costs_at: CostsAt | None, estimate: bool, runs: Runs
    ) -> None:
        self.terms = terms
        self.now = now
        self.costs_at = costs_at
        self.estimate = estimate
        self.runs = runs

    def line(self, item: Item, labels: Labels) -> Line:
        kind = _KINDS[type(item)]
        rule = self.terms.rule(item, labels)
        pinned_book = self.terms.costs
        book = pinned_book if self.costs_at is None else self.costs_at(item.occurred_at)
        costs = self.costs(item, book)
        if rule is None:
            return _unpriced(item, kind, costs, None, "no_rule")
        if not costs.known:
            return _unpriced(item, kind, costs, rule, "no_cost")
        if rule.included:
            return Line(item, kind, Treatment.INCLUDED, NOTHING, costs, rule, "")
        same = book is pinned_book or book.version == pinned_book.version
        pinned = costs if same else self.costs(item, pinned_book)
        price = self.charge(item, rule.tariff, pinned)
        if price is None:
            return _unpriced(item, kind, costs, rule, "no_cost" if pinned.asked is None else "no_rate")
        return Line(item, kind, Treatment.CHARGED, price, costs, rule, "")

    def costs(self, item: Item, book: CostBook) -> Costs:
        if isinstance(item, Tokens):
            return tokens_costs(item, book, item.occurred_at or self.now, estimate=self.estimate)
        if isinstance(item, Compute):
            return compute_costs(item, book, estimate=self.estimate)
        if isinstance(item, Units):
            return units_costs(item, book)
        return FREE

    def charge(self, item: Item, tariff: Tariff, costs: Costs) -> Pair | None:
        """Return the price of an item that has a rule; None if a rate, or a cost to build on, is missing."""
        if isinstance(tariff, TokensTariff) and isinstance(item, Tokens):
            return tariff.charge(item, costs.asked)
        if isinstance(tariff, ComputeTariff) and isinstance(item, Compute):
            return tariff.charge(item, costs.asked, self.runs)
        if isinstance(tariff, UnitsTariff) and isinstance(item, Units):
            return tariff.charge(item, costs.asked)
        if isinstance(tariff, OutcomeTariff) and isinstance(item, Outcome):
            return tariff.charge(item)
        raise AssertionError("a rule prices the kind that it matches")


def _unpriced(item: Item, kind: str, costs: Costs, rule: Rule | None, reason: str) -> Line:
    return Line(item, kind, Treatment.UNPRICED, NOTHING, costs, rule, reason)


def _charges_outcome(line: Line) -> bool:
    if not isinstance(line.item, Outcome) or line.rule is None:
        return False
    tariff = line.rule.tariff
    return isinstance(tariff, OutcomeTariff) and tariff.charged(line.item)
