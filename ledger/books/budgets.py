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
done is not counted there. `COUNTERS_STORED` after their window has ended both are swept: what comes to the
work of such a window later counts nowhere, and is not limited.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from ledger.books import refusals
from ledger.books.budget_windows import Span, span_of
from ledger.books.burn_down import Source
from ledger.books.limits import BUDGET_VALUES_MAX, COUNTERS_STORED
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

VALUES_PREFIX = "budget_values:"
"""What the keys of states begin with that say how many counters there are."""

_REMEMBERED = 2_000
"""Places and keys, of those who are at work: each is one of many commands, and takes 15 µs to make."""

_BEGINNING, _END = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


class CounterPlace(NamedTuple):
    """Where work counts: a counter before anybody has looked what stands in it."""

    key: str
    budget: Budget | None
    labels: Mapping[str, str]
    ends_at: datetime | None
    values_key: str = ""
    """Of the state that says how many combinations of labels have a counter in the window; empty: of those
    nobody is to make another."""
    has_begun: bool = False
    """The work has counted here before: a counter that is not there has been swept."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Of the states that say what stands there."""
        return (self.key, self.values_key) if self.values_key else (self.key,)


class _Counting:
    """Budgets of a plan, and the windows that they are in, by zone."""

    __slots__ = ("budgets", "labels", "windows")

    def __init__(self, budgets: tuple[Budget, ...]) -> None:
        self.budgets = budgets
        looked_at = [label for budget in budgets for label in (*budget.by, *dict(budget.where))]
        self.labels = tuple(dict.fromkeys(looked_at))
        """Those that say where work counts."""
        self.windows: dict[str, _Windows] = {}
        """As they were found last: the next instant is in them too, as a rule."""


class _Windows:
    """The windows of budgets that instants of a zone are in, from `starts_at` until one of them ends."""

    __slots__ = ("counting", "ends_at", "spans", "starts_at")

    def __init__(self, counting: _Counting, at: datetime, zone: str) -> None:
        self.counting = counting
        self.spans = [span_of(budget.window, at, zone) for budget in counting.budgets]
        self.starts_at = max([span.starts_at or _BEGINNING for span in self.spans])
        self.ends_at = min([span.ends_at or _END for span in self.spans])


@lru_cache(maxsize=_REMEMBERED)
def _counting(budgets: tuple[Budget, ...]) -> _Counting:
    return _Counting(budgets)


def places_of_new(
    budgets: tuple[Budget, ...], labels: Mapping[str, str], at: datetime, zone: str
) -> tuple[CounterPlace, ...]:
    """Where work with these labels counts that begins at an instant; without those of a budget, nowhere."""
    if not budgets:
        return ()
    counting = _counting(budgets)
    windows = counting.windows.get(zone)
    if windows is None or not windows.starts_at <= at < windows.ends_at:
        windows = counting.windows[zone] = _Windows(counting, at, zone)
    return _places_in(windows, tuple(map(labels.get, counting.labels)))


@lru_cache(maxsize=_REMEMBERED)
def _places_in(windows: _Windows, stated: tuple[str | None, ...]) -> tuple[CounterPlace, ...]:
    """Where work counts that has these values of the labels that say so."""
    counting, places = windows.counting, []
    labels = _labels_of(counting, stated)
    for budget, span in zip(counting.budgets, windows.spans, strict=True):
        values = _values(budget, labels)
        if values is not None:
            places.append(_place(budget, span, values))
    return tuple(places)


def _labels_of(counting: _Counting, stated: tuple[str | None, ...]) -> Mapping[str, str]:
    return {label: value for label, value in zip(counting.labels, stated, strict=True) if value is not None}


def place_of(budget: Budget, labels: Mapping[str, str], at: datetime, zone: str) -> CounterPlace:
    """Where a budget counts work with these labels, of which it has all that it counts by."""
    values = tuple([labels[label] for label in budget.by])
    return _place(budget, span_of(budget.window, at, zone), values)


@lru_cache(maxsize=_REMEMBERED)
def _place(budget: Budget, span: Span, values: tuple[str, ...]) -> CounterPlace:
    """Where work counts in a window that has these values of the labels that a budget counts by."""
    start = "" if span.starts_at is None else f"{span.starts_at:%Y-%m-%dT%H.%M}"
    labels = dict(zip(budget.by, values, strict=True))
    values_key = VALUES_PREFIX + _window_of(budget, start) if values else ""
    return CounterPlace(_key(budget, start, values), budget, labels, span.ends_at, values_key)


def places_of_reservation(
    reservation: Reservation | None, budgets: tuple[Budget, ...]
) -> tuple[CounterPlace, ...]:
    """Where a reservation counts, if it is there."""
    if reservation is None or not reservation.counters:
        return ()
    return _places_of(reservation.counters, budgets, reservation.labels)


def places_undone(facts: Facts, budgets: tuple[Budget, ...], *, is_charge: bool) -> tuple[CounterPlace, ...]:
    """Where that counts which a reversal undoes, a `Charge` or a reservation."""
    if not is_charge:
        return places_of_reservation(facts.reservation, budgets)
    charge = facts.charges[0] if facts.charges else None
    if charge is None or charge.budgets is None:
        return ()
    return _places_of(charge.budgets.counters, budgets, charge.labels)


def _places_of(
    keys: tuple[str, ...], budgets: tuple[Budget, ...], labels: Mapping[str, str]
) -> tuple[CounterPlace, ...]:
    """Where work counts that has begun, with the budgets as they are now."""
    counting = _counting(budgets)
    return _places_again(counting, keys, tuple(map(labels.get, counting.labels)))


@lru_cache(maxsize=_REMEMBERED)
def _places_again(
    counting: _Counting, keys: tuple[str, ...], stated: tuple[str | None, ...]
) -> tuple[CounterPlace, ...]:
    """Where work counts that has begun, and has these values of the labels that say where new work counts."""
    by_name = {budget.name: budget for budget in counting.budgets}
    labels = _labels_of(counting, stated)
    return tuple(_place_again(key, by_name.get(key.split(":", 2)[1]), labels) for key in keys)


def _place_again(key: str, budget: Budget | None, labels: Mapping[str, str]) -> CounterPlace:
    """Where work counts that has begun. The budget of that name may count other work by now, or otherwise."""
    values = _values(budget, labels) if budget is not None else None
    if budget is None or values is None or _key(budget, key.split(":")[3], values) != key:
        return CounterPlace(key, None, NOTHING, None, has_begun=True)
    return CounterPlace(key, budget, dict(zip(budget.by, values, strict=True)), None, has_begun=True)


def read(places: Sequence[CounterPlace], states: Mapping[str, State | None]) -> tuple[BudgetCounter, ...]:
    """The counters at places as their states leave them.

    New work finds one without a state, which has counted nothing. Work that has begun finds none that was
    swept: it counts there no more, and is not limited.
    """
    counters: list[BudgetCounter] = []
    for key, budget, labels, window_ends_at, values_key, has_begun in places:
        state = states.get(key)
        if state is not None:
            used_micros, ends_at, new_in, values = int(state.text), state.closes_at, "", 0
        elif has_begun:
            continue
        else:
            begun = states.get(values_key) if values_key else None
            used_micros, ends_at, new_in = 0, window_ends_at, values_key
            values = int(begun.text) if begun is not None else 0
        left_micros = max(0, budget.limit_micros - used_micros) if budget is not None else 0
        fields = (key, budget, labels, used_micros, left_micros, ends_at, new_in, values)
        counters.append(make(BudgetCounter, fields))
    return tuple(counters)


def tightest(counters: Sequence[BudgetCounter]) -> BudgetCounter | None:
    """The counter of the budget that leaves least, of several the first; None: none has a limit."""
    least = None
    for counter in counters:
        if counter.budget is not None and (least is None or counter.left_micros < least.left_micros):
            least = counter
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
    if least is None or least.left_micros >= asked_micros:
        return None
    blocking = [counter for counter in counters if counter.budget and counter.budget.at_limit is _BLOCK]
    if blocking and (refusal := refuse_beyond(tightest(blocking), asked_micros)):
        return refusal
    return refuse_beyond(least, required_micros)


def refuse_new_values(counters: Sequence[BudgetCounter], required_micros: int) -> Refusal | None:
    """Refuses work that would begin one counter too many."""
    for counter in counters:
        if counter.values_key and is_one_too_many(counter):
            return refusals.budget_exceeded(counter, required_micros, values_max=BUDGET_VALUES_MAX)
    return None


def refuse_beyond(least: BudgetCounter | None, required_micros: int) -> Refusal | None:
    """Refuses what needs more than the tightest budget leaves."""
    if least is None or least.left_micros >= required_micros:
        return None
    return refusals.budget_exceeded(least, required_micros)


def within(least: BudgetCounter, taken: list[Source]) -> tuple[list[Source], int, int]:
    """What budgets let be taken of lots: what is held of it whole, of the rest what is left, the first first.

    Gives also what they leave beside that, and what they do not let be taken, in micro-credits.
    """
    left_micros, cut_micros = least.left_micros, 0
    kept: list[Source] = []
    for lot, micros, held in taken:
        part = micros
        if not held:
            part = min(micros, left_micros)
            left_micros -= part
            cut_micros += micros - part
        if part:
            kept.append((lot, part, held))
    return kept, left_micros, cut_micros


def is_swept(key: str, state: State | None, now: datetime) -> bool:
    """Whether a state is of a window that ended so long ago that no work has a part in it."""
    if state is None or state.closes_at is None or not key.startswith((KEY_PREFIX, VALUES_PREFIX)):
        return False
    return state.closes_at <= now - COUNTERS_STORED


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
        key, budget, _, before_micros, _, ends_at, values_key, values = counter
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


def _crossings(counter: BudgetCounter, budget: Budget, used_micros: int) -> list[BudgetCrossing]:
    """The thresholds of its budget that lie between a counter and what it counts now."""
    crossings: list[BudgetCrossing] = []
    before, after = counter.used_micros * 100, used_micros * 100
    for percent in budget.notify_percents:
        least = budget.limit_micros * percent
        was_reached, is_reached = before >= least, after >= least
        if was_reached is not is_reached:
            crossings.append(
                BudgetCrossing(
                    budget=budget.name,
                    labels=counter.labels,
                    percent=percent,
                    used_micros=used_micros,
                    limit_micros=budget.limit_micros,
                    ends_at=counter.ends_at,
                    is_recovery=was_reached,
                )
            )
    return crossings


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
