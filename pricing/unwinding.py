"""Undoing: the states of prices as if some lines had not been, from what those lines added to them.

What other charges have cost is not touched: they are not priced again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pricing.counters import unwind_count
from pricing.memory import COUNT, ONCE, RUN, Effect, State
from pricing.runs import unwind_run


def unwind(effects: Iterable[Effect], states: Mapping[str, str]) -> Mapping[str, State]:
    """Return the states that change where lines with these effects did not happen: a reversal.

    `states` are those of the effects' keys as they are now. Raises ValueError for a key of no known kind.
    """
    by_key: dict[str, list[str]] = {}
    for key, text in effects:
        by_key.setdefault(key, []).append(text)
    return {key: _unwound(key, texts, states.get(key)) for key, texts in sorted(by_key.items())}


def free_marks(effects: Iterable[Effect]) -> Mapping[str, State]:
    """Return the states that change where lines with these effects are refunded in full: `once` marks."""
    return {key: State("") for key, _ in effects if key.startswith(ONCE)}


def _unwound(key: str, effects: list[str], text: str | None) -> State:
    if key.startswith(RUN):
        return unwind_run(effects, text)
    if key.startswith(ONCE):
        return State("")
    if key.startswith(COUNT):
        return unwind_count(effects, text)
    raise ValueError(f"no such state: {key!r}")
