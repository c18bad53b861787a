"""What each part of the server takes of a pair and of a call: the table of a profile."""

from __future__ import annotations

from typing import Final, NamedTuple

from tests.benchmarks.stacks import OTHER, OWN, PARTS

_LOADS: Final = {"batch": "a pair, Batch of 500", "unary": "a unary call, 32 in flight"}


class Cost(NamedTuple):
    """Of a pair or a call: microseconds of the server's processor, and the share of each part."""

    microseconds: float
    shares: dict[str, float]


Costs = dict[str, Cost]
"""By the name of the load."""


def table(costs: Costs) -> list[str]:
    """The lines of a table in Markdown; at its end what is the service's own, and all of each load."""
    lines = [f"| part | {' | '.join(_LOADS.values())} |", "|---" * (len(_LOADS) + 1) + "|"]
    for part in (*PARTS, OTHER):
        taken = [costs[name].shares.get(part, 0.0) for name in _LOADS]
        if any(taken):
            lines.append(_row(part, costs, taken))
    own = [sum(costs[name].shares.get(part, 0.0) for part in OWN) for name in _LOADS]
    sums = " | ".join(f"{costs[name].microseconds:.0f} µs" for name in _LOADS)
    return [*lines, _row("the service's own code", costs, own), f"| together | {sums} |"]


def _row(part: str, costs: Costs, taken: list[float]) -> str:
    cells = [
        f"{share * costs[name].microseconds:.0f} µs, {100 * share:.0f} %"
        for name, share in zip(_LOADS, taken, strict=True)
    ]
    return f"| {part} | {' | '.join(cells)} |"
