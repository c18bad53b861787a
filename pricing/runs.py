"""Runs: what a minimum and an increment of hourly rates belong to.

A run's usage may come in many parts. A part costs price(run after it) - price(run before it), so that twenty
parts cost what one would: 20 s, 30 s and 20 s at a minimum of 60 s bill 60, 0 and 10. All that is kept of a
run is how long each meter of it has run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from pricing.items import Compute

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


class Memory(NamedTuple):
    """What pricing needs to know of the past: opaque states, kept by the caller, given back in the quote."""

    runs: Mapping[str, str] = MappingProxyType({})
    """Of the customer's named runs, by run id."""
    own_run: str | None = None
    """Of the run that is the reservation itself."""


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


class Runs:
    """States of the runs that items belong to: each count of machines meters by itself."""

    __slots__ = ("_memory", "_named", "_own")

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._named: dict[str, dict[str, int]] = {}
        self._own: dict[str, int] | None = None

    def bill(self, item: Compute, meter: Meter) -> int:
        """Return the time that this part adds to what its run is billed, and note that it ran."""
        if not item.duration_nanos or not item.count_nanos:
            return 0
        state = self._state(item.run_id)
        key = f"{meter.key}@{item.count_nanos}"
        before = state.get(key, 0)
        state[key] = after = before + item.duration_nanos
        return meter.billed(after) - meter.billed(before)

    def _state(self, run_id: str | None) -> dict[str, int]:
        if run_id is None:
            if self._own is None:
                self._own = _decode(self._memory.own_run)
            return self._own
        if run_id not in self._named:
            self._named[run_id] = _decode(self._memory.runs.get(run_id))
        return self._named[run_id]

    def changed_states(self) -> Mapping[str, str]:
        """Return the new states of the named runs that changed."""
        named = self._named
        return {run_id: _encode(named[run_id]) for run_id in sorted(named)} if named else {}

    def own_state(self) -> str | None:
        """Return the state of the reservation's own run, changed or not."""
        return self._memory.own_run if self._own is None else _encode(self._own)


def _decode(state: str | None) -> dict[str, int]:
    return dict(json.loads(state)) if state else {}
