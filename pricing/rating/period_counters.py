"""Prices that count over a period: bundles, tiers, allowances, shares of savings.

What a period amounts to follows from what its lines are, and from nothing else. A line is charged what the
period amounts to more with it. Where that is less than nothing, what was charged too much is carried against
what comes next; where lines are undone, the rest of the period may have been charged too much or too little,
and that is carried too. What is left of it when the period closes goes back, or is charged then.

States are JSON: integers of what is counted, amounts as exact fractions of micro-credits, as the customer is
charged them. Each line notes what it added, so that `unwind_count` can take it away again. A price inside
another one that counts (a bundle in a step, tiers of a rule with an allowance) carries nothing: it says what
it amounts to more or less, and the outermost one carries.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from math import trunc
from typing import Any, Final, NamedTuple

from pricing.cards.periods import CalendarSpan, Period
from pricing.costs.item_cost import Costs
from pricing.exact import BILLION, NOTHING, Pair
from pricing.rating import pieces
from pricing.rating.state import COUNT, Past, State, decode, encode
from pricing.rating.tariffs import Tariff
from pricing.usage.items import REQUESTS, Item

_ZERO = Fraction(0)
_SUMS = ("saved", "base", "claimed")
"""What lines add to the state of a saving or an allowance."""
_DENOMINATOR_MAX: Final = 10**60
"""Of a sum: prices of many margins, each with a denominator of its own, would make its text grow without end.
So much of a micro-credit is nothing to anybody, and sums of a few margins are exact."""


class Counter(NamedTuple):
    """What of a customer's usage is counted together."""

    name: str
    """Card, rule and place in it: unique."""
    period: Period

    def span(self, item: Item, now: datetime) -> CalendarSpan:
        """The period that an item counts in."""
        return self.period.counting(item.occurred_at or now, now)

    def key(self, span: CalendarSpan) -> str:
        """The key of a period's state."""
        return f"{COUNT}{self.name}/{span.label}"

    def keys(self, _item: Item, instant: datetime, now: datetime) -> Iterable[str]:
        """The key of the state that the price of an item needs."""
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
        """The price: an item that straddles steps is split pro rata. In an estimate: the dearest."""
        found = _prices(self.steps, item, costs, past)
        if found is None or past.estimate:
            return None if found is None else _dearest(found.micros)
        bounds = _bounds(pieces.GRADUATED, self.included, self.steps)
        used, span = self.quantity(item), self.counter.span(item, past.now)
        before = past.state(self.counter.key(span)).get("count", 0)
        price = _count(bounds, used, found, self.counter, span, past)
        if not past.factor[0]:  # Not paid in credits: it tells how much is measured, or what a pool pays.
            price = pieces.value(bounds, before, used, found.micros)
        if past.pool is not None:  # Of one step: tiers have none.
            [whole], [beyond] = found.micros, pieces.parts(bounds, before, used)
            past.scale_pool((price / whole if whole else Fraction(beyond, used or 1)).as_integer_ratio())
        return price.as_integer_ratio()


class Volume(NamedTuple):
    """The price of the step that the period's quantity has reached, for all of it."""

    counter: Counter
    quantity: Quantity
    included: int
    steps: tuple[Step, ...]

    def charge(self, item: Any, costs: Costs, past: Past) -> Pair | None:
        """What it adds to the period's total, less what is carried. In an estimate: the dearest."""
        found = _prices(self.steps, item, costs, past)
        if found is None or past.estimate:
            return None if found is None else _dearest(found.micros)
        bounds = _bounds(pieces.VOLUME, self.included, self.steps)
        span = self.counter.span(item, past.now)
        return _count(bounds, self.quantity(item), found, self.counter, span, past).as_integer_ratio()


class Saving(NamedTuple):
    """A share of what serving saved, never below 0 in a period."""

    counter: Counter
    share: Pair
    """Micro-credits of a nano-dollar saved."""

    def charge(self, item: Any, costs: Costs, past: Past) -> Pair | None:
        """What it adds to the period's share, less what is carried; None if no cost is known."""
        asked, serving = costs.asked, costs.serving
        if asked is None or serving is None:
            return None
        if past.estimate:
            return NOTHING
        saved = (Fraction(*asked) - Fraction(*serving)) * Fraction(*self.share)
        span = self.counter.span(item, past.now)
        key = self.counter.key(span)
        micros = saved * Fraction(*past.factor)
        owed = _sum_up(past.state(key), "saved", micros)
        return _carry(owed, key, span, past, {"saved": str(micros)}).as_integer_ratio()


class Allowance(NamedTuple):
    """The allowance of a group in a period: W + max(0, C - share x W)."""

    counter: Counter
    share: Fraction


class InAllowance(NamedTuple):
    """The price of a rule that an allowance knows of."""

    tariff: Tariff
    allowance: Allowance
    name: str
    """base: of the group; claimed: of a rule that has an allowance."""

    def charge(self, item: Any, costs: Costs, past: Past) -> Pair | None:
        """What the price adds to the total. In an estimate: the price, as if nothing were allowed."""
        if past.estimate:
            return self.tariff.charge(item, costs, past)
        price, inner = _inside(self.tariff, item, costs, past)
        if price is None:
            return None
        span = self.allowance.counter.span(item, past.now)
        key = self.allowance.counter.key(span)
        state, micros = past.state(key), Fraction(*price) * Fraction(*past.factor)
        state["share"] = str(self.allowance.share)
        owed = _sum_up(state, self.name, micros)
        effect: dict[str, Any] = {self.name: str(micros)}
        if inner:
            effect["inner"] = {self.name: inner}
        return _carry(owed, key, span, past, effect).as_integer_ratio()


def quantity_of(count: str, kind: str) -> Quantity:
    """What tells how much an item counts: in billionths, of a duration twice."""
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


def settled(text: str | None) -> str:
    """The state of a counter whose period has closed: whole micro-credits are carried no more."""
    state = decode(text)
    over = Fraction(state.get("over", 0))
    _keep(state, "over", over - trunc(over))
    return encode(state)


def unwind_count(
    key: str, effect: str, text: str | None, moved: dict[str, Fraction], *, is_closed: bool
) -> State:
    """The state of a counter as if a line had not been.

    `moved` says how much more each counter inside this one came down than the line had added to it; this one
    adds itself. `is_closed`: the period has closed, so that what is carried may be left though no line is.
    """
    if not text:
        return State("")
    state, line = decode(text), json.loads(effect)
    charged = line.get("charged")
    owed = Fraction(line.get("owed", charged))
    inner = {
        part: sum((moved.get(inside, _ZERO) for inside in keys), _ZERO)
        for part, keys in line.get("inner", {}).items()
    }
    less = _take_away(state, line, inner)
    moved[key] = less - owed
    over = Fraction(state.get("over", 0))
    if charged is not None:
        over += less - Fraction(charged)
    _keep(state, "over", over)
    state["lines"] -= 1
    closes = state.get("closes")
    closes_at = datetime.fromisoformat(closes) if closes else None
    if state["lines"]:
        return State(encode(state), closes_at, over, pieces.is_exact(state))
    return State("", closes_at, over if is_closed else _ZERO)


# --- what states hold --------------------------------------------------------------------------------------


class _Prices(NamedTuple):
    """What an item would cost in each step."""

    micros: Sequence[Fraction]
    inner: Mapping[str, Sequence[str]]
    """Keys of the counters inside a step, by its place."""


def _prices(steps: Iterable[Step], item: Item, costs: Costs, past: Past) -> _Prices | None:
    """Asks for the price in each step. All are asked, for what is free may be of a run too."""
    micros: list[Fraction] = []
    inner: dict[str, Sequence[str]] = {}
    for n, step in enumerate(steps):
        price, keys = _inside(step.tariff, item, costs, past)
        if price is None:
            return None
        micros.append(Fraction(*price))
        if keys:
            inner[str(n)] = keys
    return _Prices(micros, inner)


def _inside(tariff: Tariff, item: Any, costs: Costs, past: Past) -> tuple[Pair | None, Sequence[str]]:
    """Asks for a price inside another one that counts; also gives the keys of what counts in it."""
    outer = past.inner
    keys: list[str] = []
    past.inner = keys
    price = tariff.charge(item, costs, past)
    past.inner = outer
    return price, keys


def _dearest(prices: Iterable[Fraction]) -> Pair:
    return max(prices).as_integer_ratio()


def _bounds(way: str, included: int, steps: Iterable[Step]) -> pieces.Bounds:
    return [way, included, *[step.end for step in steps if step.end is not None]]


def _count(
    bounds: pieces.Bounds, used: int, found: _Prices, counter: Counter, span: CalendarSpan, past: Past
) -> Fraction:
    """Counts a line of so much; returns what is charged of it."""
    key, factor = counter.key(span), Fraction(*past.factor)
    state, prices = past.state(key), [price * factor for price in found.micros]
    owed = pieces.append(state, bounds, used, prices)
    effect: dict[str, Any] = {"used": used, "number": state["last"], "prices": list(map(str, prices))}
    place = pieces.place_of(state, bounds)
    if place:
        effect["place"] = place
    if found.inner:
        effect["inner"] = found.inner
    return _carry(owed, key, span, past, effect)


def _sum_up(state: dict[str, Any], name: str, micros: Fraction) -> Fraction:
    """Adds to one of the sums of a saving or an allowance; returns what the period amounts to more."""
    before = _total(state)
    state[name] = str(_bounded(Fraction(state.get(name, 0)) + micros))
    return _total(state) - before


def _total(state: Mapping[str, Any]) -> Fraction:
    """What the sums of a saving or an allowance amount to."""
    if "share" not in state:
        return max(Fraction(state.get("saved", 0)), _ZERO)
    base, claimed = Fraction(state.get("base", 0)), Fraction(state.get("claimed", 0))
    return base + max(_ZERO, claimed - Fraction(state["share"]) * base)


def _take_away(state: dict[str, Any], line: Mapping[str, Any], inner: Mapping[str, Fraction]) -> Fraction:
    """Takes a line out of a state; returns what the period amounts to less without it."""
    if "prices" in line:
        prices = [Fraction(price) + inner.get(str(n), 0) for n, price in enumerate(line["prices"])]
        return pieces.take_away(state, line["number"], line.get("place", 0), line["used"], prices)
    less = _ZERO
    for name in _SUMS:
        if name in line:
            less -= _sum_up(state, name, -Fraction(line[name]) - inner.get(name, _ZERO))
    return less


def _carry(owed: Fraction, key: str, span: CalendarSpan, past: Past, effect: dict[str, Any]) -> Fraction:
    """What is charged of what is owed, with or less what is carried; what is left of it is carried on.

    All of it is stored as the customer is charged it, multiplied: what is returned is not. Inside a price
    that counts, all that is owed is returned, also below 0.
    """
    state, factor = past.state(key), Fraction(*past.factor)
    state["lines"] = state.get("lines", 0) + 1
    over = Fraction(state.get("over", 0))
    if past.inner is not None:
        charged, of_line = owed, None
        past.inner.append(key)
        effect["owed"] = str(owed)
    else:
        charged = of_line = max(owed - over, _ZERO) if factor else _ZERO
        over += charged - owed
        _keep(state, "over", over)
        state["closes"] = span.closes_at.isoformat()
        effect["charged"] = str(charged)
        if charged != owed:
            effect["owed"] = str(owed)
    if "closes" in state:
        past.close(key, datetime.fromisoformat(state["closes"]), over)
    past.note(key, effect, of_line)
    return charged / factor if factor else _ZERO


def _keep(state: dict[str, Any], name: str, amount: Fraction) -> None:
    if amount:
        state[name] = str(_bounded(amount))
    else:
        state.pop(name, None)


def _bounded(amount: Fraction) -> Fraction:
    if amount.denominator <= _DENOMINATOR_MAX:
        return amount
    return Fraction(round(amount * _DENOMINATOR_MAX), _DENOMINATOR_MAX)
