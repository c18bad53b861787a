"""Calls that read, from their admission to their answer: how many, and how old they grow.

One that a later one has overtaken is long by itself (a report): it says nothing of how long others wait.
"""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Place(Protocol):
    """What a call takes up until it has its answer."""

    def leave(self) -> None: ...


class Read:
    """One of them."""

    __slots__ = ("_of_key", "_reads", "began_at", "is_over")

    def __init__(self, reads: ReadsInFlight, began_at: float, of_key: Place | None) -> None:
        self._reads = reads
        self._of_key = of_key
        self.began_at = began_at
        self.is_over = False

    def leave(self) -> None:
        """It has its answer."""
        self.is_over = True
        self._reads.leave(self)
        if self._of_key is not None:
            self._of_key.leave()


class ReadsInFlight:
    """All of one process."""

    def __init__(self, seconds: Callable[[], float] = monotonic) -> None:
        self.in_flight = 0
        self._line: deque[Read] = deque()
        self._over_up_to = 0.0
        """When the latest began that is over."""
        self._seconds = seconds

    def enter(self, of_key: Place | None) -> Read:
        """Counts one until it leaves; `of_key`: what it takes of its key's, if that has limits."""
        read = Read(self, self._seconds(), of_key)
        self.in_flight += 1
        self._line.append(read)
        return read

    def leave(self, read: Read) -> None:
        """Counts it no more."""
        self.in_flight -= 1
        self._over_up_to = max(self._over_up_to, read.began_at)
        line = self._line
        while line and (line[0].is_over or line[0].began_at < self._over_up_to):
            line.popleft()

    def oldest_seconds(self) -> float:
        """How long the oldest has taken that none has overtaken."""
        return self._seconds() - self._line[0].began_at if self._line else 0.0
