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
from pricing.terms import Labels, Terms

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
    runs = Runs(memory)
    lines = _lines(items, terms.labels(labels), terms, runs, now, costs_at, estimate)
    return Quote(
        tuple(lines),
        runs.changed_states(),
        runs.own_state(),
        terms.has_outcome_rule,
        terms.has_outcome_rule and any(_charges_outcome(line) for line in lines),
    )


def _lines(
    items: Sequence[Item],
    labels: Labels,
    terms: Terms,
    runs: Runs,
    now: datetime,
    costs_at: CostsAt | None,
    estimate: bool,
) -> list[Line]:
    rules, pinned_book = terms.rules, terms.costs
    lines = []
    for item in items:
        kind, costs_of = _KINDS[type(item)]
        rule = rules[kind].first(item, labels)
        instant = item.occurred_at or now
        costs = pinned = costs_of(item, pinned_book, instant, estimate)
        if costs_at is not None:
            book = costs_at(instant)
            if book is not pinned_book and book.version != pinned_book.version:
                costs = costs_of(item, book, instant, estimate)
        treatment, price_micros, reason = UNPRICED, NOTHING, ""
        if rule is None:
            reason = "no_rule"
        elif not costs.known:
            reason = "no_cost"
        elif rule.included:
            treatment = INCLUDED
        else:
            charge = rule.tariff.charge(item, pinned.asked, runs)
            if charge is not None:
                treatment, price_micros = CHARGED, charge
            else:
                reason = "no_cost" if pinned.asked is None else "no_rate"
        lines.append(Line(item, kind, treatment, price_micros, costs, rule, reason))
    return lines


def _charges_outcome(line: Line) -> bool:
    if not isinstance(line.item, Outcome) or line.rule is None:
        return False
    tariff = line.rule.tariff
    return isinstance(tariff, OutcomeTariff) and tariff.charged(line.item)
