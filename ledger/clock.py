"""The database's time, as this process knows it.

All instants of the books are the database's. A process keeps its offset to that clock against the
machine's boot clock, never against the wall clock, which an operator or NTP may move.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from functools import partial
from typing import Final

_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

boot_seconds: Final = partial(time.clock_gettime, _BOOT_CLOCK)
"""Seconds on a clock that is never set and that counts while the machine sleeps."""


class DatabaseClock:
    """Estimates the database's clock; right to within half a round trip of the last observation."""

    __slots__ = ("_at_boot", "_last")

    def __init__(self) -> None:
        self._at_boot: datetime | None = None
        """The database's time when this machine's boot clock was 0."""
        self._last: tuple[float, datetime] | None = None
        """What `at` was last asked for, and what it gave: commands that arrive together ask for the same."""

    def observe(self, database_time: datetime, asked_at: float, answered_at: float) -> None:
        """Takes `clock_timestamp()` as read between two instants of the boot clock."""
        self._at_boot = database_time - timedelta(seconds=(asked_at + answered_at) / 2)
        self._last = None

    def now(self) -> datetime:
        """The database's time now.

        Raises RuntimeError before the first observation: the machine's own clock is no substitute.
        """
        return self.at(boot_seconds())

    def at(self, seconds: float) -> datetime:
        """The database's time when the boot clock shows so many seconds. Raises as `now` does."""
        last = self._last
        if last is None or last[0] != seconds:
            if self._at_boot is None:
                raise RuntimeError("the database's clock has not been read yet")
            last = self._last = seconds, self._at_boot + timedelta(0, seconds)
        return last[1]
