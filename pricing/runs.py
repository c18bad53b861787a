"""Runs: what a minimum, an increment and a maximum of hourly rates belong to.

A run's usage may come in many parts, in any order. A part costs price(run after it) - price(run before it),
so that twenty parts cost what one would: 20 s, 30 s and 20 s at a minimum of 60 s bill 60, 0 and 10. All
that is kept of a run is how long each meter of it has run: flat, so that parts can be taken away again.

Usage that says when its machine started, or was resized, is of a *segment* of the run. Segments make a stack
of layers: at each level of the hourly rate the machine starts, goes on, or does not run.

    rate
     8        ┌────┐          M for 300 s, L for 120 s more: the level up to 4 runs 420 s,
     4  ┌─────┘    │          that from 4 to 8 for 120 s, with a minimum of its own
        0    300  420 s
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from pricing.items import BILLION, Compute
from pricing.memory import RUN, Past, State, decode, encode

CREDIT = 3600 * BILLION * BILLION
"""What a billionth of a credit comes to as rate x time x count, all in billionths."""

_CARRIED = "carried"
"""Key of a run's state: what it was charged beyond its price, which is less for a part that came late."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NANOS_PER_MICROSECOND = 1000


class Meter(NamedTuple):
    """One hourly rate of a rule that bills a run by more than its seconds."""

    key: str
    """Card, rule and part: unique among the meters of a run."""
    rate_nanos: int
    minimum_nanos: int
    increment_nanos: int
    maximum_nanos: int | None = None
    """Billionths of a credit that a run costs at most; None: no end."""
    minimum_again: bool = False
    """A start has a minimum of its own even if it comes while that of an earlier one lasts."""
    part: int = 0
    """Which of its rule's meters it is."""

    def billed(self, duration_nanos: int) -> int:
        """Return the time that is billed for a run that lasted so long; a run of no time has not begun."""
        if not duration_nanos:
            return 0
        billed = max(duration_nanos, self.minimum_nanos)
        return -(-billed // self.increment_nanos) * self.increment_nanos

    def covers(self, later_nanos: int) -> bool:
        """Tell whether the minimum of a start covers another one so much later."""
        return not self.minimum_again and later_nanos < self.minimum_nanos

    def capped(self, amount: int) -> int:
        """Return what is charged of a run that comes to so much (rate x time x count)."""
        return amount if self.maximum_nanos is None else min(amount, self.maximum_nanos * CREDIT)


class Machines(NamedTuple):
    """The meters of a card: what a run needs to know of the sizes that its machine had before."""

    by_key: dict[str, Meter]
    of_item: Callable[[Compute, tuple[str | None, ...]], Sequence[Meter]]
    """Returns the meters of the rule that prices an item under the labels at hand."""


def run_key(item: Compute) -> str | None:
    """Return the key of the run that an item belongs to; None: the reservation's own."""
    return None if item.run_id is None else RUN + item.run_id


def run_keys(item: Compute, _instant: datetime, _now: datetime) -> Iterable[str]:
    """Return the key of the run that an item belongs to, if it names one."""
    key = run_key(item)
    return () if key is None else (key,)


def charge(item: Compute, meters: Sequence[Meter], machines: Machines, past: Past) -> int:
    """Return what a part adds to the price of its run (rate x time x count), and note that it ran.

    Each count of machines meters by itself.
    """
    if not item.duration_nanos or not item.count_nanos:
        return 0
    run = run_key(item)
    state = past.state(run)
    if item.started_at is not None:
        keys = _segments(item, item.started_at, meters, machines, past)
        total = _charge_whole(state, keys, item.duration_nanos, machines)
    else:
        keys = _plain(item, meters)
        if any(meter.maximum_nanos is not None for meter in meters):
            total = _charge_whole(state, keys, item.duration_nanos, machines)
        else:
            total = _charge_times(state, zip(keys, meters, strict=True), item)
    if run is not None:
        past.note(run, dict.fromkeys(keys, item.duration_nanos))
    return total


def _charge_times(state: dict[str, int], keys: Iterable[tuple[str, Meter]], item: Compute) -> int:
    """Charge a part that touches nothing of its run but the times of its own meters."""
    total = 0
    for key, meter in keys:
        before = state.get(key, 0)
        state[key] = after = before + item.duration_nanos
        total += meter.rate_nanos * (meter.billed(after) - meter.billed(before))
    return total * item.count_nanos


def _charge_whole(state: dict[str, int], keys: Iterable[str], duration_nanos: int, machines: Machines) -> int:
    """Charge what the whole run comes to with a part, less what it came to without it.

    Where that is less than nothing, for the part came late and told that two minimums are one, it is carried
    against what comes next: what a run has charged is not taken back.
    """
    owed = -_price(state, machines) - state.pop(_CARRIED, 0)
    for key in keys:
        state[key] = state.get(key, 0) + duration_nanos
    owed += _price(state, machines)
    if owed < 0:
        state[_CARRIED] = -owed
    return max(owed, 0)


def unwind_run(effects: Iterable[str], text: str | None) -> State:
    """Return the state of a run without the parts that were undone."""
    state = decode(text)
    for effect in effects:
        for key, duration_nanos in json.loads(effect).items():
            left = state.pop(key, 0) - duration_nanos
            if left > 0:
                state[key] = left
    return State(encode(state))


# --- keys of a run's state ---------------------------------------------------------------------------------


class _Segment(NamedTuple):
    """A stretch of a run from a start, or a change of size, of its machine; parts of it add up."""

    part: int
    """Which of its rule's meters it is, and so which stack it belongs to."""
    count_nanos: int
    started_nanos: int
    """Since 1970."""
    meter: str
    """Key of the meter of its size."""
    before: str | None
    """Key of the meter of the size that it was resized from; None: it started."""


def _plain(item: Compute, meters: Sequence[Meter]) -> list[str]:
    return [f"{meter.key}@{item.count_nanos}" for meter in meters]


def _segments(
    item: Compute, started_at: datetime, meters: Sequence[Meter], machines: Machines, past: Past
) -> list[str]:
    before: Sequence[Meter] = ()
    if item.resized_from is not None:
        before = machines.of_item(item._replace(resource=item.resized_from), past.labels)
    started_nanos = (started_at - _EPOCH) // _MICROSECOND * _NANOS_PER_MICROSECOND
    keys = []
    for meter in meters:
        size_before = before[meter.part].key if meter.part < len(before) else None
        keys.append(json.dumps(_Segment(meter.part, item.count_nanos, started_nanos, meter.key, size_before)))
    return keys


# --- the price of a run ------------------------------------------------------------------------------------


class _Stretch(NamedTuple):
    """How long a machine ran at one size."""

    started_nanos: int
    size: Meter
    before: Meter | None
    """Its size before; None: it started."""
    duration_nanos: int


def _price(state: Mapping[str, int], machines: Machines) -> int:
    """Return what all of a run comes to: of each meter at most its maximum."""
    amounts: dict[Meter, int] = {}
    stacks: dict[tuple[int, int], list[_Stretch]] = {}
    for key, duration_nanos in state.items():
        if key.startswith("["):
            segment = _Segment(*json.loads(key))
            size = machines.by_key.get(segment.meter)
            if size is not None:
                before = machines.by_key.get(segment.before or "")
                stretch = _Stretch(segment.started_nanos, size, before, duration_nanos)
                stacks.setdefault((segment.part, segment.count_nanos), []).append(stretch)
        else:
            name, _, count = key.rpartition("@")
            meter = machines.by_key.get(name)
            if meter is not None:
                amount = meter.rate_nanos * meter.billed(duration_nanos) * int(count)
                amounts[meter] = amounts.get(meter, 0) + amount
    for (_, count_nanos), stretches in stacks.items():
        for meter, amount in _layers(stretches):
            amounts[meter] = amounts.get(meter, 0) + amount * count_nanos
    return sum(meter.capped(amount) for meter, amount in amounts.items())


def _layers(stretches: Iterable[_Stretch]) -> Iterator[tuple[Meter, int]]:
    """Yield what each layer comes to (rate x time), with the meter of the size that began it."""
    ordered = sorted(stretches, key=lambda stretch: (stretch.started_nanos, stretch.before is not None))
    sizes = {size for stretch in ordered for size in (stretch.size, stretch.before) if size is not None}
    for low, high in pairwise(sorted({0, *(size.rate_nanos for size in sizes)})):
        for meter, duration_nanos in _minimums(ordered, low):
            yield meter, (high - low) * meter.billed(duration_nanos)


def _minimums(ordered: Iterable[_Stretch], level: int) -> Iterator[tuple[Meter, int]]:
    """Yield, of the layer just above a rate, how long each stretch of it ran that has a minimum of its own.

    A machine that is resized goes on wherever it ran before. One that starts has a minimum of its own, unless
    it starts while that of an earlier start lasts, which then covers both.
    """
    meter, began_nanos, duration_nanos = None, 0, 0
    for stretch in ordered:
        if stretch.size.rate_nanos <= level:
            continue
        goes_on = stretch.before is not None and stretch.before.rate_nanos > level
        starts = stretch.before if stretch.before is not None and goes_on else stretch.size
        covered = meter == starts and meter.covers(stretch.started_nanos - began_nanos)
        if meter is None or not (goes_on or covered):
            if meter is not None:
                yield meter, duration_nanos
            meter, began_nanos, duration_nanos = starts, stretch.started_nanos, 0
        duration_nanos += stretch.duration_nanos
    if meter is not None:
        yield meter, duration_nanos
