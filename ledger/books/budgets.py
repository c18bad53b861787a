"""Budgets: how many credits work may take in a window.

A reserve counts what it holds, a charge what it collects, each in one counter of every budget of the plan
that is for its labels; the tightest wins. What a reservation is charged replaces what it held, what it gives
back is counted no more. All work of a reservation counts in the counters that its reserve counted in,
whenever it comes: so a count is always what open reservations hold of those made in the window, and what
they and the charges of the window were charged. A budget counts, and limits, what began after the plan had
it; one that the plan has no more limits nothing, and counts on what has begun.

Refused is what asks for more than is left: reserves, extensions, charges. What a commit or a charge of work
already done takes beyond its hold is not collected beyond what is left. Within the hold nothing is limited.
A refund leaves counts as they are, for the work was done; a reversal takes off what was charged. What a pool
pays is not counted: its lots are for one purpose, and are a limit themselves.

A counter is a state of the customer's. Its key says the budget's name, the window and the labels' values,
never the limit: that may change within a window. Of a budget that counts by labels another state says how
many have begun in a window: past `BUDGET_VALUES_MAX` new work with other labels is refused, and work already
done is not counted there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from ledger.books import refusals
from ledger.books.budget_windows import Span, span_of
from ledger.books.burn_down import Source
from ledger.books.limits import BUDGET_VALUES_MAX
from ledger.books.making import make
from ledger.books.model.budgets import AtLimit, Budget, BudgetCounter, BudgetCrossing, EntryBudgets
from ledger.books.model.decisions import Facts
from ledger.books.model.entries import Entry
from ledger.books.model.labels import NOTHING
from ledger.books.model.priced import State
from ledger.books.model.refusals import Refusal
from ledger.books.model.reservations import Reservation

KEY_PREFIX = "budget:"
"""What the keys of counters begin with, and no state of prices does."""

_DIGEST_BYTES = 16
_BLOCK = AtLimit.BLOCK

_VALUES_PREFIX = "budget_values:"
"""What the keys of states begin with that say how many counters there are."""

_REMEMBERED = 2_000
"""Places and keys, of those who are at work: each is one of many commands, and takes 15 µs to make."""


class CounterPlace(NamedTuple):
    """Where work counts: a counter before anybody has looked what stands in it."""

    key: str
    budget: Budget | None
    labels: Mapping[str, str]
    ends_at: datetime | None
    values_key: str = ""
    """Of the state that says how many combinations of labels have a counter in the window; empty: of those
    nobody is to make another."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Of the states that say what stands there."""
        return (self.key, self.values_key) if self.values_key else (self.key,)


def places_of_new(
    budgets: Sequence[Budget], labels: Mapping[str, str], at: datetime, zone: str
) -> tuple[CounterPlace, ...]:
    """Where work with these labels counts that begins at an instant; without those of a budget, nowhere."""
    places: list[CounterPlace] = []
    for budget in budgets:
        values = _values(budget, labels)
        if values is not None:
            places.append(_place(budget, span_of(budget.window, at, zone), values))
    return tuple(places)


def place_of(budget: Budget, labels: Mapping[str, str], at: datetime, zone: str) -> CounterPlace:
    """Where a budget counts work with these labels, of which it has all that it counts by."""
    values = tuple([labels[label] for label in budget.by])
    return _place(budget, span_of(budget.window, at, zone), values)


@lru_cache(maxsize=_REMEMBERED)
def _place(budget: Budget, span: Span, values: tuple[str, ...]) -> CounterPlace:
    """Where work counts in a window that has these values of the labels that a budget counts by."""
    start = "" if span.starts_at is None else f"{span.starts_at:%Y-%m-%dT%H.%M}"
    labels = dict(zip(budget.by, values, strict=True))
    values_key = _VALUES_PREFIX + _window_of(budget, start) if values else ""
    return CounterPlace(_key(budget, start, values), budget, labels, span.ends_at, values_key)


def places_of_reservation(
    reservation: Reservation | None, budgets: Sequence[Budget]
) -> tuple[CounterPlace, ...]:
    """Where a reservation counts, if it is there."""
    if reservation is None or not reservation.counters:
        return ()
    return _places_of(reservation.counters, budgets, reservation.labels)


def places_undone(facts: Facts, budgets: Sequence[Budget], *, is_charge: bool) -> tuple[CounterPlace, ...]:
    """Where that counts which a reversal undoes, a `Charge` or a reservation."""
    if not is_charge:
        return places_of_reservation(facts.reservation, budgets)
    charge = facts.charges[0] if facts.charges else None
    if charge is None or charge.budgets is None:
        return ()
    return _places_of(charge.budgets.counters, budgets, charge.labels)


def _places_of(
    keys: Sequence[str], budgets: Sequence[Budget], labels: Mapping[str, str]
) -> tuple[CounterPlace, ...]:
    """Where work counts that has begun, with the budgets as they are now."""
    by_name = {budget.name: budget for budget in budgets}
    places: list[CounterPlace] = []
    for key in keys:
        budget = by_name.get(key.split(":", 2)[1])
        values = _values(budget, labels) if budget is not None else None
        places.append(_place_again(key, budget, values))
    return tuple(places)


@lru_cache(maxsize=_REMEMBERED)
def _place_again(key: str, budget: Budget | None, values: tuple[str, ...] | None) -> CounterPlace:
    """Where work counts that has begun. The budget of that name may count other work by now, or otherwise."""
    if budget is None or values is None or _key(budget, key.split(":")[3], values) != key:
        return CounterPlace(key, None, NOTHING, None)
    return CounterPlace(key, budget, dict(zip(budget.by, values, strict=True)), None)


def read(places: Sequence[CounterPlace], states: Mapping[str, State | None]) -> tuple[BudgetCounter, ...]:
    """The counters at places as their states leave them; one without a state has counted nothing."""
    counters: list[BudgetCounter] = []
    for key, budget, labels, ends_at, values_key in places:
        state = states.get(key)
        if state is None:
            begun = states.get(values_key) if values_key else None
            values = int(begun.text) if begun is not None else 0
            counters.append(make(BudgetCounter, (key, budget, labels, 0, ends_at, values_key, values)))
        else:
            counters.append(
                make(BudgetCounter, (key, budget, labels, int(state.text), state.closes_at, "", 0))
            )
    return tuple(counters)


def tightest(counters: Sequence[BudgetCounter]) -> BudgetCounter | None:
    """The counter of the budget that leaves least, of several the first; None: none has a limit."""
    least, least_micros = None, 0
    for counter in counters:
        if counter.budget is not None:
            left_micros = counter.left_micros
            if least is None or left_micros < least_micros:
                least, least_micros = counter, left_micros
    return least


def is_one_too_many(counter: BudgetCounter) -> bool:
    """Whether a counter would be another one in a window that has as many as may be."""
    return bool(counter.values_key) and counter.values >= BUDGET_VALUES_MAX


def refuse_hold(
    counters: Sequence[BudgetCounter], least: BudgetCounter | None, asked_micros: int, required_micros: int
) -> Refusal | None:
    """Refuses a hold of which budgets leave less than it needs; where one blocks, that is all it asks.

    `least` is the tightest of the counters, here and below.
    """
    if refusal := refuse_new_values(counters, required_micros):
        return refusal
    blocking = [counter for counter in counters if counter.budget and counter.budget.at_limit is _BLOCK]
    if blocking and (refusal := refuse_beyond(tightest(blocking), asked_micros)):
        return refusal
    return refuse_beyond(least, required_micros)


def refuse_new_values(counters: Sequence[BudgetCounter], required_micros: int) -> Refusal | None:
    """Refuses work that would begin one counter too many."""
    for counter in counters:
        if is_one_too_many(counter):
            return refusals.budget_exceeded(counter, required_micros, values_max=BUDGET_VALUES_MAX)
    return None


def refuse_beyond(least: BudgetCounter | None, required_micros: int) -> Refusal | None:
    """Refuses what needs more than the tightest budget leaves."""
    if least is None or least.left_micros >= required_micros:
        return None
    return refusals.budget_exceeded(least, required_micros)


def within(least: BudgetCounter, taken: list[Source]) -> tuple[list[Source], int]:
    """What budgets let be taken of lots: what is held of it whole, of the rest what is left, the first first.

    Gives also what they leave beside that, in micro-credits.
    """
    left_micros, kept = least.left_micros, []
    for lot, micros, held in taken:
        part = micros if held else min(micros, left_micros)
        left_micros -= 0 if held else part
        if part:
            kept.append((lot, part, held))
    return kept, left_micros


def count(
    counters: Sequence[BudgetCounter], micros: int, *, begins: bool
) -> tuple[Mapping[str, State], EntryBudgets | None]:
    """Adds to counters what an entry holds and charges more, below 0: less; gives what changes, and its memo.

    `begins`: the work counts here from now on.
    """
    if not (micros or begins):
        return {}, None
    states: dict[str, State] = {}
    crossings: list[BudgetCrossing] = []
    for counter in counters:
        key, budget, _, before_micros, ends_at, values_key, values = counter
        used_micros = max(0, before_micros + micros)
        states[key] = make(State, (str(used_micros), ends_at, 0, 0, 0, 0, None))
        if begins and values_key:
            states[values_key] = State(str(values + 1), ends_at)
        if budget is not None and budget.notify_percents:
            crossings += _crossings(counter, budget, used_micros)
    keys = tuple([counter.key for counter in counters]) if begins else ()
    return states, EntryBudgets(keys, tuple(crossings)) if keys or crossings else None


def counted_micros(entry: Entry) -> int:
    """What a commit or a charge has counted as charged: all that it collected, but what pools paid."""
    return entry.charged_micros - sum([line.pool_micros for line in entry.lines])


def _crossings(counter: BudgetCounter, budget: Budget, used_micros: int) -> Iterator[BudgetCrossing]:
    """The thresholds of its budget that lie between a counter and what it counts now."""
    before, after = counter.used_micros * 100, used_micros * 100
    for percent in budget.notify_percents:
        least = budget.limit_micros * percent
        was_reached, is_reached = before >= least, after >= least
        if was_reached is not is_reached:
            yield BudgetCrossing(
                budget=budget.name,
                labels=counter.labels,
                percent=percent,
                used_micros=used_micros,
                limit_micros=budget.limit_micros,
                ends_at=counter.ends_at,
                is_recovery=was_reached,
            )


def _values(budget: Budget, labels: Mapping[str, str]) -> tuple[str, ...] | None:
    """What work has of the labels that a budget counts by; None: the budget does not count it."""
    for label, value in budget.where:
        if labels.get(label) != value:
            return None
    try:
        return tuple([labels[label] for label in budget.by])
    except KeyError:
        return None


def _window_of(budget: Budget, start: str) -> str:
    return f"{budget.name}:{budget.window}:{start}"


@lru_cache(maxsize=_REMEMBERED)
def _key(budget: Budget, start: str, values: tuple[str, ...]) -> str:
    """The key of a counter; values of labels may be long, so it has their digest."""
    key = KEY_PREFIX + _window_of(budget, start)
    if not (values or budget.where):
        return key
    text = json.dumps([dict(zip(budget.by, values, strict=True)), budget.where], sort_keys=True).encode()
    return f"{key}:{blake2b(text, digest_size=_DIGEST_BYTES).hexdigest()}"
