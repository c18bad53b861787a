"""Usage in, lines out: each item by the first rule that matches it, beside what it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pricing.costs.cost_book import CostBook
from pricing.costs.item_cost import Costs, compute_costs, make, outcome_costs, tokens_costs, units_costs
from pricing.exact import BILLION, NOTHING, times
from pricing.rating.compile import Rule
from pricing.rating.quote import CHARGED, INCLUDED, UNPRICED, Line, Quote
from pricing.rating.state import ONCE, Effect, Memory, Past, PoolPart, State
from pricing.rating.terms import Labels, Terms
from pricing.usage.items import Compute, Item, Outcome, Tokens, Units, as_asked

_KINDS: Mapping[type[Item], tuple[str, Callable[[Any, CostBook, datetime], Costs]]] = {
    Tokens: ("tokens", tokens_costs),
    Compute: ("compute", compute_costs),
    Units: ("units", units_costs),
    Outcome: ("outcome", outcome_costs),
}
"""Each kind's name, and what tells its costs."""

_NO_KEYS: frozenset[str] = frozenset()
_NO_EFFECTS: tuple[Effect, ...] = ()
_NO_STATES: Mapping[str, State] = {}

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
    falls_back: bool = False,
) -> Quote:
    """Prices usage items, in their order.

    `now` is when items happened that state no instant: catalog prices change by date and time of day.
    `costs_at` gives the cost book that was in force when an item happened: what is posted is taken from it.
    None: from the book of the terms. What is charged always rests on the terms.
    `estimate` prices and costs everything as asked for, whatever served it: what a quote or a reservation
    is reported must not say what ran. No bundle, allowance, lower tier or mark counts in it, nor is counted.
    `falls_back`: what has no price is charged by the card's fallback of its kind, if there is one; it is
    unpriced all the same.
    """
    past = Past(memory, now, terms.labels(labels), estimate=estimate)
    past.factor = (terms.multiplier_nanos, BILLION)
    if estimate:
        items = [as_asked(item) for item in items]
    lines = _lines(items, past.labels, terms, past, now, costs_at)
    if falls_back and terms.fallbacks:
        lines = [_fallen_back(line, terms, past) if line.treatment is UNPRICED else line for line in lines]
    if terms.multiplier_nanos != BILLION:
        lines = [_multiplied(line, terms.multiplier_nanos) for line in lines]
    states, own_run = past.as_left() if terms.remembers else (_NO_STATES, memory.own_run)
    outcome_charged = terms.has_outcome_rule and any(_charges_outcome(line) for line in lines)
    return make(
        Quote, (tuple(lines), states, own_run, terms.has_outcome_rule, outcome_charged, terms.rounding)
    )


def memory_keys(
    items: Iterable[Item], labels: Mapping[str, str], terms: Terms, now: datetime
) -> frozenset[str]:
    """The keys of the states that `price` must be called with.

    `now` is when items happened that state no instant. Usage of a kind whose prices need no past costs next
    to nothing here.
    """
    keys: set[str] = set()
    for item in items:
        rules = terms.rules[_KINDS[type(item)][0]]
        if rules.remember:
            rule = rules.first(item, terms.labels(labels))
            if rule is not None and rule.keys is not None:
                keys.update(rule.keys(item, item.occurred_at or now, now))
    return frozenset(keys) if keys else _NO_KEYS


def _lines(
    items: Sequence[Item],
    labels: Labels,
    terms: Terms,
    past: Past,
    now: datetime,
    costs_at: CostsAt | None,
) -> list[Line]:
    rules, pinned_book = terms.rules, terms.costs
    lines = []
    for item in items:
        kind, costs_of = _KINDS[type(item)]
        of_kind = rules[kind]
        rule = of_kind.first(item, labels)
        instant = item.occurred_at or now
        costs = pinned = costs_of(item, pinned_book, instant)
        if costs_at is not None:
            book = costs_at(instant)
            if book is not pinned_book and book.version != pinned_book.version:
                costs = costs_of(item, book, instant)
        treatment, price_micros, reason = UNPRICED, NOTHING, ""
        effects, measured, pool = _NO_EFFECTS, None, None
        if rule is None:
            reason = "no_rule"
        elif rule.included:
            treatment = INCLUDED
        else:
            charge = rule.tariff.charge(item, pinned, past)
            if charge is not None:
                treatment, price_micros = CHARGED, charge
                if rule.keys is not None:
                    effects = past.take_effects()
                if rule.notes:
                    measured, pool = past.take_notes()
            else:
                reason = _why_unpriced(rule, item, pinned)
        name = of_kind.name_of(item)
        fields = (item, kind, name, treatment, price_micros, costs, rule, reason, effects, pool, measured, "")
        lines.append(make(Line, fields))
    return lines


def _why_unpriced(rule: Rule, item: Item, costs: Costs) -> str:
    if rule.once and isinstance(item, Outcome) and not item.subject:
        return "no_subject"
    if rule.follows_cost and costs.asked is None:
        return "no_cost"
    return "run_full" if rule.meters else "no_rate"


def _fallen_back(line: Line, terms: Terms, past: Past) -> Line:
    rule = terms.fallbacks.get(line.kind)
    charge = rule.tariff.charge(line.item, line.costs, past) if rule is not None else None
    if rule is None or charge is None:
        return line
    return line._replace(price_micros=charge, fallback=rule.name)


def _multiplied(line: Line, multiplier_nanos: int) -> Line:
    """Scales what the customer pays, exactly; what it costs us stays."""
    multiplier, pool = (multiplier_nanos, BILLION), line.pool
    return line._replace(
        price_micros=times(line.price_micros, multiplier),
        pool=PoolPart(pool.pool, times(pool.exact_micros, multiplier)) if pool is not None else None,
    )


def _marks(line: Line) -> bool:
    return any(effect.key.startswith(ONCE) for effect in line.effects)


def _charges_outcome(line: Line) -> bool:
    item, rule = line.item, line.rule
    return (
        isinstance(item, Outcome)
        and rule is not None
        and item.count > 0
        and item.result in rule.charged_results
        and (not rule.once or _marks(line))
    )
