"""Prices that count over a period: bundles, tiers, allowances, shares of savings.

What a period has charged is not taken back before it closes. Where what its usage comes to falls, the surplus
is carried against what comes next; what is left of it is due when the period closes.

States are JSON: integers of what is counted, amounts as exact fractions of micro-credits. Each line notes
what it added, so that `unwind_count` can take it away again.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any, NamedTuple

from pricing.costing import Costs
from pricing.items import BILLION, Item
from pricing.memory import COUNT, Past, State, decode, encode
from pricing.pairs import NOTHING, Pair, add
from pricing.periods import Period, Span
from pricing.rates import REQUESTS
from pricing.tariffs import Tariff

_ZERO = Fraction(0)
_TOTALS = ("count", "saved", "base", "claimed")
"""What lines add to a state, and what undoing them takes away."""


class Counter(NamedTuple):
    """What of a customer's usage is counted together."""

    name: str
    """Card, rule and place in it: unique."""
    period: Period

    def span(self, item: Item, now: datetime) -> Span:
        """Return the period that an item counts in."""
        return self.period.counting(item.occurred_at or now, now)

    def key(self, span: Span) -> str:
        """Return the key of a period's state."""
        return f"{COUNT}{self.name}/{span.label}"

    def keys(self, _item: Item, instant: datetime, now: datetime) -> Iterable[str]:
        """Return the key of the state that the price of an item needs."""
        return (self.key(self.period.counting(instant, now)),)


Quantity = Callable[[Any], int]


class Step(NamedTuple):
    """A price, up to where it applies: of all that is counted, bundle included."""

    end: int | None
    """None: without end."""
    tariff: Tariff


class Graduated(NamedTuple):
    """Each step's price for what of the period's quantity lies in it; what is included comes first, free."""

    counter: Counter
    quantity: Quantity
    included: int
    steps: tuple[Step, ...]

    def charge(self, item: Any, costs: Costs, past: Past) -> Pair | None:
        """Return the price: an item that straddles steps is split pro rata. In an estimate: the dearest."""
        prices = _prices(self.steps, item, costs, past)
        if prices is None:
            return None
        if past.estimate:
            return _dearest(prices)
        before, used = _count(self.counter, self.quantity(item), item, past)
        total, covered = NOTHING, 0
        for price, part in zip(prices, _parts(self.included, self.steps, before, used), strict=True):
            total = add(total, (price[0] * part, price[1] * (used or 1)))
            covered += part
        past.scale_pool((covered, used or 1))
        return total


class Volume(NamedTuple):
    """The price of the step that the period's quantity has reached, for all of it."""

    counter: Counter
    quantity: Quantity
    included: int
    steps: tuple[Step, ...]

    def charge(self, item: Any, costs: Costs, past: Past) -> Pair | None:
        """Return what it adds to the period's total, less what is carried. In an estimate: the dearest."""
        prices = _prices(self.steps, item, costs, past)
        if prices is None:
            return None
        if past.estimate:
            return _dearest(prices)
        span = self.counter.span(item, past.now)
        key = self.counter.key(span)
        state = past.state(key)
        ends = [self.included, *(step.end for step in self.steps if step.end is not None)]
        if state.get("ends", ends) != ends:
            state.pop("sums")  # what they came to is charged
        state["ends"] = ends
        owed = -_volume_total(state)
        used, before = self.quantity(item), state.get("count", 0)
        beyond = max(before + used - self.included, 0) - max(before - self.included, 0)
        share = Fraction(beyond, used) if used else Fraction(before >= self.included)
        added = [str(Fraction(*price) * share) for price in prices]
        state["count"] = before + used
        state["sums"] = _added(state.get("sums", ()), added, 1)
        owed += _volume_total(state)
        return _carry(owed, key, span, past, {"count": used, "sums": added, "ends": ends})


class Saving(NamedTuple):
    """A share of what serving saved, never below 0 in a period."""

    counter: Counter
    share: Pair
    """Micro-credits of a nano-dollar saved."""

    def charge(self, item: Any, costs: Costs, past: Past) -> Pair | None:
        """Return what it adds to the period's share, less what is carried; None if no cost is known."""
        asked, serving = costs.asked, costs.serving
        if asked is None or serving is None:
            return None
        if past.estimate:
            return NOTHING
        saved = (Fraction(*asked) - Fraction(*serving)) * Fraction(*self.share)
        span = self.counter.span(item, past.now)
        key = self.counter.key(span)
        state = past.state(key)
        before = Fraction(state.get("saved", 0))
        state["saved"] = str(before + saved)
        owed = max(before + saved, _ZERO) - max(before, _ZERO)
        return _carry(owed, key, span, past, {"saved": str(saved)})


class Allowance(NamedTuple):
    """The allowance of a group in a period: W + max(0, C - share x W)."""

    counter: Counter
    share: Fraction

    def add(self, name: str, price: Pair, item: Item, past: Past) -> Pair:
        """Return what a price adds to the total: to `base`, W, or what is `claimed`, C."""
        key = self.counter.key(self.counter.span(item, past.now))
        state = past.state(key)
        owed = -self._total(state)
        amount = Fraction(*price)
        state[name] = str(Fraction(state.get(name, 0)) + amount)
        past.note(key, {name: str(amount)})
        return (owed + self._total(state)).as_integer_ratio()

    def _total(self, state: Mapping[str, str]) -> Fraction:
        base, claimed = Fraction(state.get("base", 0)), Fraction(state.get("claimed", 0))
        return base + max(_ZERO, claimed - self.share * base)


class InAllowance(NamedTuple):
    """The price of a rule that an allowance knows of."""

    tariff: Tariff
    allowance: Allowance
    name: str
    """base: of the group; claimed: of a rule that has an allowance."""

    def charge(self, item: Any, costs: Costs, past: Past) -> Pair | None:
        """Return what the price adds to the total. In an estimate: the price, as if nothing were allowed."""
        price = self.tariff.charge(item, costs, past)
        return price if price is None or past.estimate else self.allowance.add(self.name, price, item, past)


def quantity_of(count: str, kind: str) -> Quantity:
    """Return what tells how much an item counts: in billionths, of a duration twice."""
    match kind:
        case "tokens" if count == REQUESTS:
            return lambda item: item.requests * BILLION
        case "tokens":
            return lambda item: item.quantities.get(count, 0) * BILLION
        case "compute":
            return lambda item: item.duration_nanos * item.count_nanos
        case "units":
            return lambda item: item.quantity_nanos
        case _:
            return lambda item: item.count * BILLION


def unwind_count(effects: Iterable[str], text: str | None) -> State:
    """Return the state of a counter without lines that were undone; what others were charged stays."""
    state = decode(text)
    for effect in map(json.loads, effects):
        if text:
            _take_away(state, effect)
        over = Fraction(state.get("over", 0)) - Fraction(effect.get("over", 0))
        _keep(state, "over", max(over, _ZERO))
        if "closes" in effect:
            state["closes"] = effect["closes"]
    over = Fraction(state.get("over", 0))
    if not text and not over:
        return State("")
    closes = state.get("closes")
    return State(encode(state), datetime.fromisoformat(closes) if closes else None, over)


# --- what states hold --------------------------------------------------------------------------------------


def _take_away(state: dict[str, Any], effect: Mapping[str, Any]) -> None:
    for name in _TOTALS:
        if name in effect:
            left = Fraction(state.get(name, 0)) - Fraction(effect[name])
            state[name] = int(left) if name == "count" else str(left)
    if "sums" in effect and state.get("ends") == effect["ends"]:
        state["sums"] = _added(state["sums"], effect["sums"], -1)


def _keep(state: dict[str, Any], name: str, amount: Fraction) -> None:
    if amount:
        state[name] = str(amount)
    else:
        state.pop(name, None)


def _count(counter: Counter, used: int, item: Item, past: Past) -> tuple[int, int]:
    """Count an item; return how much there was before it, and how much it is."""
    key = counter.key(counter.span(item, past.now))
    state = past.state(key)
    before: int = state.get("count", 0)
    if used:
        state["count"] = before + used
        past.note(key, {"count": used})
    return before, used


def _carry(owed: Fraction, key: str, span: Span, past: Past, effect: dict[str, Any]) -> Pair:
    """Return what is charged of what is owed, which may be below 0, and keep what it leaves to be carried.

    What is carried is kept as it was charged, multiplied, for as such it comes back when the period closes.
    """
    factor = Fraction(*past.factor)
    state = past.state(key)
    over = Fraction(state.get("over", 0))
    left = max(over - owed * factor, _ZERO)
    _keep(state, "over", left)
    state["closes"] = span.closes_at.isoformat()
    if left != over:
        effect |= {"over": str(left - over), "closes": state["closes"]}
    past.note(key, effect)
    past.close(key, span.closes_at, left)
    return (max(owed - over / factor, _ZERO) if factor else _ZERO).as_integer_ratio()


def _volume_total(state: Mapping[str, Any]) -> Fraction:
    """Return what is counted comes to, since the steps are what they are."""
    sums = state.get("sums")
    if not sums:
        return _ZERO
    included, *ends = state["ends"]
    count = state["count"]
    return Fraction(sums[_step(ends, count)]) if count >= included else _ZERO


def _step(ends: Sequence[int], count: int) -> int:
    """Return the step that a quantity has reached; one that fills a step is in it."""
    return bisect_right([end + 1 for end in ends], count)


def _added(sums: Sequence[str], amounts: Sequence[str], sign: int) -> list[str]:
    before = sums or ["0"] * len(amounts)
    return [
        str(Fraction(total) + sign * Fraction(amount)) for total, amount in zip(before, amounts, strict=True)
    ]


def _prices(steps: Iterable[Step], item: Item, costs: Costs, past: Past) -> list[Pair] | None:
    """Return what an item would cost in each step. All are asked, for what is free may be of a run too."""
    prices = [step.tariff.charge(item, costs, past) for step in steps]
    return None if None in prices else [price for price in prices if price is not None]


def _dearest(prices: Iterable[Pair]) -> Pair:
    return max(prices, key=lambda price: Fraction(*price))


def _parts(included: int, steps: Sequence[Step], before: int, used: int) -> list[int]:
    """Return how much of what is used lies in each step; of nothing, the step that it stands at takes all."""
    parts, start = [], included
    for step in steps:
        end = step.end if step.end is not None else max(before + used, start) + 1
        if used:
            parts.append(max(min(before + used, end) - max(before, start), 0))
        else:
            parts.append(int(start <= before < end))
        start = end
    return parts
