"""Messages of batches that are read although holds are refused: what they ask for may be work that is done.

Nobody knows before. A flood of holds would have each of its messages read to be refused, and that takes from
what is carried out: so the items that are read in vain have a rate, held as one instant, when all of them
are made up for. Items that are taken cost nothing here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ledger.clock import boot_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

AHEAD_SECONDS_MAX: Final = 2.0
"""How far those may bring it that were on their way at the time: no message of a million items has all others
refused unread for long."""


class Looks:
    """Those of one process."""

    def __init__(
        self, items_per_second: float, ahead_seconds: float, clock: Callable[[], float] = boot_seconds
    ) -> None:
        """`ahead_seconds`: how far ahead of the rate they may be."""
        self._items_per_second = items_per_second
        self._ahead_seconds = ahead_seconds
        self._clock = clock
        self._made_up_at = 0.0

    def may_look(self) -> bool:
        """Whether one more message is to be read, whatever it holds."""
        return self._made_up_at < self._clock() + self._ahead_seconds

    def in_vain(self, items: int) -> None:
        """A message has been read of which nothing is taken."""
        now = self._clock()
        made_up_at = max(self._made_up_at, now) + items / self._items_per_second
        self._made_up_at = min(made_up_at, now + AHEAD_SECONDS_MAX)
