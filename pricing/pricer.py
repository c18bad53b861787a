"""Usage in, lines out: each item by the first rule that matches it, beside what it costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pricing.costing import Costs, compute_costs, outcome_costs, tokens_costs, units_costs
from pricing.costs import CostBook
from pricing.items import Compute, Item, Outcome, Tokens, Units
from pricing.pairs import NOTHING
from pricing.quote import CHARGED, INCLUDED, UNPRICED, Line, Quote
from pricing.runs import Memory, Runs
from pricing.tariffs import OutcomeTariff
from pricing.terms import Rule, Terms

_KINDS: Mapping[type[Item], tuple[str, Callable[[Any, CostBook, datetime, bool], Costs]]] = {
    Tokens: ("tokens", tokens_costs),
    Compute: ("compute", compute_costs),
    Units: ("units", units_costs),
    Outcome: ("outcome", outcome_costs),
}
"""Each kind's name, and what tells its costs."""

CostsAt = Callable[[datetime], CostBook]


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
    `costs_at` gives the cost book that was in force when an item happened: what is posted is taken from it.
    None: from the book of the terms. What is charged always rests on the terms.
    `estimate` prices and costs everything as asked for, whatever served it: what a quote or a reservation
    is told must not tell what ran.
    """
    rules, pinned_book = terms.rules, terms.costs
    runs = Runs(memory)
    asked_labels = terms.labels(labels)
    lines = []
    for item in items:
        kind, costs_of = _KINDS[type(item)]
        rule = rules[kind].first(item, asked_labels)
        instant = item.occurred_at or now
        costs = pinned = costs_of(item, pinned_book, instant, estimate)
        if costs_at is not None:
            book = costs_at(instant)
            if book is not pinned_book and book.version != pinned_book.version:
                costs = costs_of(item, book, instant, estimate)
        lines.append(_line(item, kind, rule, costs, pinned, runs))
    return Quote(
        tuple(lines),
        runs.changed_states(),
        runs.own_state(),
        terms.has_outcome_rule,
        terms.has_outcome_rule and any(_charges_outcome(line) for line in lines),
    )


def _line(item: Item, kind: str, rule: Rule | None, costs: Costs, pinned: Costs, runs: Runs) -> Line:
    if rule is None:
        reason = "no_rule"
    elif not costs.known:
        reason = "no_cost"
    elif rule.included:
        return Line(item, kind, INCLUDED, NOTHING, costs, rule, "")
    else:
        price = rule.tariff.charge(item, pinned.asked, runs)
        if price is not None:
            return Line(item, kind, CHARGED, price, costs, rule, "")
        reason = "no_cost" if pinned.asked is None else "no_rate"
    return Line(item, kind, UNPRICED, NOTHING, costs, rule, reason)


def _charges_outcome(line: Line) -> bool:
    if not isinstance(line.item, Outcome) or line.rule is None:
        return False
    tariff = line.rule.tariff
    return isinstance(tariff, OutcomeTariff) and tariff.charged(line.item)
