"""Runs: what a minimum and an increment of hourly rates belong to.

A run's usage may come in many parts. A part costs price(run after it) - price(run before it), so that twenty
parts cost what one would: 20 s, 30 s and 20 s at a minimum of 60 s bill 60, 0 and 10. All that is kept of a
run is how long each meter of it has run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from pricing.items import Compute
from pricing.memory import RUN, Past, State, decode, encode


class Meter(NamedTuple):
    """One hourly rate of a rule that bills a run by more than its seconds."""

    key: str
    """Card, rule and part: unique among the meters of a run."""
    rate_nanos: int
    minimum_nanos: int
    increment_nanos: int

    def billed(self, duration_nanos: int) -> int:
        """Return the time that is billed for a run that lasted so long; a run of no time has not begun."""
        if not duration_nanos:
            return 0
        billed = max(duration_nanos, self.minimum_nanos)
        return -(-billed // self.increment_nanos) * self.increment_nanos


def run_key(item: Compute) -> str | None:
    """Return the key of the run that an item belongs to; None: the reservation's own."""
    return None if item.run_id is None else RUN + item.run_id


def bill(item: Compute, meter: Meter, past: Past) -> int:
    """Return the time that a part adds to what its run is billed, and note that it ran.

    Each count of machines meters by itself.
    """
    if not item.duration_nanos or not item.count_nanos:
        return 0
    run = run_key(item)
    state = past.state(run)
    key = f"{meter.key}@{item.count_nanos}"
    before = state.get(key, 0)
    state[key] = after = before + item.duration_nanos
    if run is not None:
        past.note(run, {key: item.duration_nanos})
    return meter.billed(after) - meter.billed(before)


def unwind_run(effects: Iterable[str], text: str | None) -> State:
    """Return the state of a run without the parts that were undone."""
    state = decode(text)
    for effect in effects:
        for key, duration_nanos in json.loads(effect).items():
            left = state.pop(key, 0) - duration_nanos
            if left > 0:
                state[key] = left
    return State(encode(state))
