"""Undoing: the states of prices as if some lines had not been, from what those lines added to them.

What other charges have cost is not touched. What a period's others amount to without these lines may be more
or less than they were charged: the difference is carried (`period_counters`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from fractions import Fraction

from pricing.rating.period_counters import settled, unwind_count
from pricing.rating.runs import unwind_run
from pricing.rating.state import COUNT, ONCE, RUN, Effect, State


def unwind(
    effects: Iterable[Effect], states: Mapping[str, str], closed: Collection[str] = ()
) -> Mapping[str, State]:
    """The states that change where lines with these effects did not happen: a reversal.

    The effects are those of the lines, in order. `states` are those of their keys as they are now; `closed`
    says of which the period has closed: what it carried was settled then, and what is carried now is due at
    once. Raises ValueError for a key of no known kind.
    """
    undone: dict[str, State] = {}
    moved: dict[str, Fraction] = {}
    runs: dict[str, list[str]] = {}
    for key, effect, _ in effects:
        if key.startswith(RUN):
            runs.setdefault(key, []).append(effect)
        elif key.startswith(ONCE):
            undone[key] = State("")
        elif key.startswith(COUNT):
            is_closed = key in closed
            if key in undone:
                text: str | None = undone[key].text
            else:
                text = settled(states.get(key)) if is_closed else states.get(key)
            undone[key] = unwind_count(key, effect, text, moved, is_closed=is_closed)
        else:
            raise ValueError(f"no such state: {key!r}")
    undone |= {key: unwind_run(texts, states.get(key)) for key, texts in runs.items()}
    return dict(sorted(undone.items()))


def free_marks(effects: Iterable[Effect]) -> Mapping[str, State]:
    """The states that change where lines with these effects are refunded in full: `once` marks."""
    return {key: State("") for key, *_ in effects if key.startswith(ONCE)}
