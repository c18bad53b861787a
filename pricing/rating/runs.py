"""Runs: what a minimum, an increment and a maximum of hourly rates belong to.

A run's usage may come in many parts, in any order. A part costs price(run after it) - price(run before it),
so that twenty parts cost what one would: 20 s, 30 s and 20 s at a minimum of 60 s bill 60, 0 and 10. All
that is stored of a run is how long each meter of it has run: flat, so that parts can be taken away again.

Usage that says when its machine started, or was resized, is of a *segment* of the run. Segments make a stack
of layers: at each level of the hourly rate the machine starts, goes on, or does not run.

    rate
     8        ┌────┐          M for 300 s, L for 120 s more: the level up to 4 runs 420 s,
     4  ┌─────┘    │          that from 4 to 8 for 120 s, with a minimum of its own
        0    300  420 s
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from pricing.rating.meters import Machines, Meter
from pricing.rating.run_segments import Layers
from pricing.rating.state import RUN, Past, State, decode, encode
from pricing.usage.items import Compute

STRETCHES_MAX = 1_000
"""That a run may keep: starts, changes of size and counts, of each of its meters.

Its state is read and written whole with each part, and late parts and reversals may ask for any of them."""

_CARRIED = "carried"
"""Key of a run's state: what was charged beyond what it amounts to; below 0: what of that was not charged."""
_UNDONE = "undone "
"""What keys of a run's state begin with that were undone since its last part: their times."""
_GIVEN_BACK = "given back"
"""Key of a run's state: what had been charged of the parts that were undone."""
_CHARGED = "charged"
"""Key of what a line added: what was charged of it. The other keys are those that it lengthened."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NANOS_PER_MICROSECOND = 1000


def run_key(item: Compute) -> str | None:
    """The key of the run that an item belongs to; None: the reservation's own."""
    return None if item.run_id is None else RUN + item.run_id


def run_keys(item: Compute, _instant: datetime, _now: datetime) -> Iterable[str]:
    """The key of the run that an item belongs to, if it names one."""
    key = run_key(item)
    return () if key is None else (key,)


def charge(item: Compute, meters: Sequence[Meter], machines: Machines, past: Past) -> int:
    """Returns what a part adds to the price of its run (rate x time x count), and notes that it ran.

    Each count of machines meters by itself.
    """
    if not item.duration_nanos or not item.count_nanos:
        return 0
    run = run_key(item)
    state = past.state(run)
    keys = _keys(item, meters, machines, past)
    if _GIVEN_BACK in state:
        _settle(state, machines)
    if _needs_whole(item, meters, state) or run in past.runs:
        whole = past.runs.get(run)
        if whole is None:
            whole = past.runs[run] = _Run(state, machines)
        total = _charge_whole(state, whole, keys, item.duration_nanos)
    else:
        total = _charge_times(state, zip(keys, meters, strict=True), item)
    if run is not None:
        past.note(run, {**dict.fromkeys(keys, item.duration_nanos), _CHARGED: total})
    return total


def is_full(item: Compute, meters: Sequence[Meter], machines: Machines, past: Past) -> bool:
    """Whether a part would make its run keep more than it may; what the run keeps already goes on."""
    if not item.duration_nanos or not item.count_nanos:
        return False
    run = run_key(item)
    if past.size(run) + len(meters) <= STRETCHES_MAX:
        return False
    state = past.state(run)
    if sum(map(_is_time, state)) + len(meters) <= STRETCHES_MAX:
        return False
    return any(key not in state for key in _keys(item, meters, machines, past))


def _needs_whole(item: Compute, meters: Iterable[Meter], state: Mapping[str, int]) -> bool:
    """Whether what a part costs depends on more of its run than the times of its own meters."""
    has_maximum = any(meter.maximum_nanos is not None for meter in meters)
    return item.started_at is not None or has_maximum or _CARRIED in state


def _charge_times(state: dict[str, int], keys: Iterable[tuple[str, Meter]], item: Compute) -> int:
    """Charges a part that touches nothing of its run but the times of its own meters."""
    total = 0
    for key, meter in keys:
        before = state.get(key, 0)
        state[key] = after = before + item.duration_nanos
        total += meter.rate_nanos * (meter.billed(after) - meter.billed(before))
    return total * item.count_nanos


def _charge_whole(state: dict[str, int], whole: _Run, keys: Iterable[str], duration_nanos: int) -> int:
    """Charges what the whole run amounts to with a part, less what it amounted to without it.

    Where that is less than nothing, for the part came late and showed that two minimums are one, or that
    another size began a layer, it is carried against what comes next: what a run has charged is not taken
    back.
    """
    owed = -whole.total - state.pop(_CARRIED, 0)
    for key in keys:
        state[key] = state.get(key, 0) + duration_nanos
        whole.add(key, duration_nanos)
    owed += whole.total
    if owed < 0:
        state[_CARRIED] = -owed
    return max(owed, 0)


def _settle(state: dict[str, int], machines: Machines) -> None:
    """Carries what reversals have left: what is still charged, less what the rest of the run amounts to.

    A part that was undone may have paid for others, by its minimum: then something was not charged. Rates are
    those of now on both sides, so that what was charged at others is not charged again.
    """
    undone = {key.removeprefix(_UNDONE): state.pop(key) for key in list(state) if key.startswith(_UNDONE)}
    rest = _Run(state, machines)
    left = rest.total
    for key, duration_nanos in undone.items():
        rest.add(key, duration_nanos)
    carried = state.pop(_CARRIED, 0) + rest.total - state.pop(_GIVEN_BACK) - left
    if carried:
        state[_CARRIED] = carried


def unwind_run(effects: Iterable[str], text: str | None) -> State:
    """The state of a run without the parts that were undone.

    What they leave to be carried its next part works out, which knows the rates; of a run without any part
    nothing is left.
    """
    state = decode(text)
    for effect in effects:
        added = json.loads(effect)
        charged = added.pop(_CHARGED, None)
        for key, duration_nanos in added.items():
            _lengthen(state, key, -duration_nanos)
            if charged is not None:
                _lengthen(state, _UNDONE + key, duration_nanos)
        if charged is not None:
            state[_GIVEN_BACK] = state.get(_GIVEN_BACK, 0) + charged
    return State(encode(state) if any(map(_is_time, state)) else "")


def _lengthen(state: dict[str, int], key: str, duration_nanos: int) -> None:
    left = state.pop(key, 0) + duration_nanos
    if left > 0:
        state[key] = left


def _is_time(key: str) -> bool:
    """Whether a key of a run's state is of a meter or a segment: what ran, and was not undone."""
    return key not in {_CARRIED, _GIVEN_BACK} and not key.startswith(_UNDONE)


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


def _keys(item: Compute, meters: Sequence[Meter], machines: Machines, past: Past) -> list[str]:
    """Under which keys a part is stored, one for each meter."""
    if item.started_at is None:
        return _plain(item, meters)
    return _segments(item, item.started_at, meters, machines, past)


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


class _Run:
    """What all of a run amounts to, stored while parts are added: of each meter at most its maximum."""

    __slots__ = ("_amounts", "_machines", "_stacks", "_times", "total")

    def __init__(self, state: Mapping[str, int], machines: Machines) -> None:
        self.total = 0
        self._machines = machines
        self._amounts: dict[Meter, int] = {}
        """By meter, before its maximum."""
        self._times: dict[str, int] = {}
        """Of what says not when its machine started, by key."""
        self._stacks: dict[tuple[int, int], Layers] = {}
        """By part of the rule and count."""
        for key, duration_nanos in state.items():
            self.add(key, duration_nanos)

    def add(self, key: str, duration_nanos: int) -> None:
        """Adds a part by a key of the run's state; a meter that the card has no more amounts to nothing."""
        if key.startswith("["):
            self._add_to_segment(key, duration_nanos)
            return
        name, _, count = key.rpartition("@")
        meter = self._machines.by_key.get(name)
        if meter is not None:
            before = self._times.get(key, 0)
            self._times[key] = after = before + duration_nanos
            billed_nanos = meter.billed(after) - meter.billed(before)
            self._bill(meter, meter.rate_nanos * billed_nanos * int(count))

    def _add_to_segment(self, key: str, duration_nanos: int) -> None:
        segment = _Segment(*json.loads(key))
        size = self._machines.by_key.get(segment.meter)
        if size is None:
            return
        before = self._machines.by_key.get(segment.before or "")
        stack = self._stacks.setdefault((segment.part, segment.count_nanos), Layers())
        for meter, amount in stack.add(key, segment.started_nanos, size, before, duration_nanos):
            self._bill(meter, amount * segment.count_nanos)

    def _bill(self, meter: Meter, amount: int) -> None:
        before = self._amounts.get(meter, 0)
        self._amounts[meter] = before + amount
        self.total += meter.capped(before + amount) - meter.capped(before)
