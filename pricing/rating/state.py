"""What prices remember: states of runs, counters of periods, marks of outcomes charged once.

The caller keeps them as opaque texts by key, in the customer's aggregate, and hands them to `price`, which
gives back those that changed. Keys:

- `run/<run id>`: a run that usage names;
- `count/<card>/<rule>/<first day of the period>`: a counter of a period;
- `once/<card>/<rule>/<subject>`: an outcome that is charged once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from pricing.exact import BILLION, Pair, format_nanos, times

RUN: Final = "run/"
COUNT: Final = "count/"
ONCE: Final = "once/"
"""What the keys of each kind begin with."""

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_ZERO = Fraction(0)


class Memory(NamedTuple):
    """What pricing needs to know of the past: opaque states, stored by the caller, returned in the quote."""

    states: Mapping[str, str] = MappingProxyType({})
    """By key; a key without a text, or with an empty one, has no past."""
    own_run: str | None = None
    """Of the run that is the reservation itself."""


class State(NamedTuple):
    """A state as usage, or the undoing of it, leaves it."""

    text: str
    """Opaque; empty where nothing of the past is left."""
    closes_at: datetime | None = None
    """When the surplus is credited to the customer. Set for every state that may come to have a surplus,
    from its first usage on."""
    surplus_micros: Fraction = _ZERO
    """What was charged beyond what the period's usage amounts to: exact, as the customer paid it.

    Below 0: what the usage amounts to beyond what was charged, which the customer owes."""
    is_exact: bool = True
    """False where lines were undone of so many that what the others amount to is known on average only."""


class Effect(NamedTuple):
    """What a line added to a state: enough to take it away again."""

    key: str
    text: str
    """Opaque JSON."""
    charged_micros: Fraction | None = None
    """What of the line's price is of it, exactly, where a surplus of it may come back; None: none may."""


class Measured(NamedTuple):
    """How many units of a name usage amounts to, before it is priced."""

    unit: str
    quantity: Fraction
    """Exact."""

    @property
    def public(self) -> dict[str, str]:
        """As JSON values; the quantity to nine digits, half even."""
        return {"unit": self.unit, "quantity": format_nanos(round(self.quantity * BILLION))}


class PoolPart(NamedTuple):
    """What a line costs in lots of a pool, while they last."""

    pool: str
    exact_micros: Pair
    """Micro-credits of the pool."""


class Past:
    """The states that one pricing touches, and what each line adds to them."""

    __slots__ = (
        "_closings",
        "_effects",
        "_memory",
        "_own",
        "_states",
        "estimate",
        "factor",
        "inner",
        "labels",
        "measured",
        "now",
        "pool",
        "runs",
    )

    def __init__(
        self, memory: Memory, now: datetime, labels: tuple[str | None, ...] = (), *, estimate: bool = False
    ) -> None:
        self.now = now
        """When the pricing is done."""
        self.estimate = estimate
        """Prices are reported as if no bundle, allowance or lower tier were left; nothing is counted."""
        self.factor: Pair = (1, 1)
        """What the price at hand is multiplied by before it is charged."""
        self.inner: list[str] | None = None
        """Keys of the counters inside the price at hand that counts too; None: it stands in no such price."""
        self.labels = labels
        """Of the usage at hand, as far as rules look at them."""
        self.measured: Measured | None = None
        """Of the line at hand."""
        self.pool: PoolPart | None = None
        """Of the line at hand."""
        self.runs: dict[str | None, Any] = {}
        """What runs amount to as they are by now, by the keys of their states, where that was worked out."""
        self._memory = memory
        self._states: dict[str, dict[str, Any]] = {}
        self._own: dict[str, Any] | None = None
        self._closings: dict[str, tuple[datetime | None, Fraction]] = {}
        self._effects: list[Effect] = []

    def state(self, key: str | None) -> dict[str, Any]:
        """The state of a key, to be changed in place; None: that of the reservation's own run."""
        if key is None:
            if self._own is None:
                self._own = decode(self._memory.own_run)
            return self._own
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = decode(self._memory.states.get(key))
        return state

    def size(self, key: str | None) -> int:
        """How much the state of a key holds; what is only looked at does not count as changed."""
        state = self._own if key is None else self._states.get(key)
        if state is None:
            state = decode(self._memory.own_run if key is None else self._memory.states.get(key))
        return len(state)

    def close(self, key: str, closes_at: datetime | None, surplus_micros: Fraction) -> None:
        """Says when the surplus of a state is due, and how much it is by now."""
        self._closings[key] = closes_at, surplus_micros

    def note(self, key: str, effect: object, charged_micros: Fraction | None = None) -> None:
        """Notes what the line at hand adds to a state, and what it is charged of that, as `Effect` says."""
        self._effects.append(Effect(key, _encode(effect), charged_micros))

    def take_effects(self) -> tuple[Effect, ...]:
        """What the line at hand has added; the next line begins."""
        effects = tuple(self._effects)
        self._effects.clear()
        return effects

    def scale_pool(self, factor: Pair) -> None:
        """Multiplies what the line at hand costs in lots of a pool, if it may."""
        if self.pool is not None:
            self.pool = PoolPart(self.pool.pool, times(self.pool.exact_micros, factor))

    def take_notes(self) -> tuple[Measured | None, PoolPart | None]:
        """What the price of the line at hand tells beside its credits; the next line begins."""
        notes = self.measured, self.pool
        self.measured = self.pool = None
        return notes

    def as_left(self) -> tuple[Mapping[str, State], str | None]:
        """The states that were touched, and that of the reservation's own run, as they are by now."""
        nothing = (None, _ZERO)
        states = {}
        for key in sorted(self._states):
            states[key] = State(encode(self._states[key]), *self._closings.get(key, nothing))
        return states, self._memory.own_run if self._own is None else _encode(self._own)


def encode(state: Mapping[str, object]) -> str:
    """A state as text; empty for one without anything in it."""
    return _encode(state) if state else ""


def decode(text: str | None) -> dict[str, Any]:
    """A state of its text; no text: nothing in it."""
    return dict(json.loads(text)) if text else {}
