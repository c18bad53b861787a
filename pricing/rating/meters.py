"""Meters: hourly rates that bill a run by more than its seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from pricing.exact import BILLION
from pricing.usage.items import Compute

CREDIT = 3600 * BILLION * BILLION
"""What a billionth of a credit amounts to as rate x time x count, all in billionths."""


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
        """The time that is billed for a run that lasted so long; a run of no time has not begun."""
        if not duration_nanos:
            return 0
        billed = max(duration_nanos, self.minimum_nanos)
        return -(-billed // self.increment_nanos) * self.increment_nanos

    def covers(self, later_nanos: int) -> bool:
        """Whether the minimum of a start covers another one so much later."""
        return not self.minimum_again and later_nanos < self.minimum_nanos

    def capped(self, amount: int) -> int:
        """What is charged of a run that amounts to so much (rate x time x count)."""
        return amount if self.maximum_nanos is None else min(amount, self.maximum_nanos * CREDIT)


class Machines(NamedTuple):
    """The meters of a card: what a run needs to know of the sizes that its machine had before."""

    by_key: dict[str, Meter]
    of_item: Callable[[Compute, tuple[str | None, ...]], Sequence[Meter]]
    """Returns the meters of the rule that prices an item under the labels at hand."""
