"""The database's time, as this process knows it.

All instants of the books are the database's. A process keeps its offset to that clock against the
machine's boot clock, never against the wall clock, which an operator or NTP may move.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta

_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_seconds() -> float:
    """Seconds on a clock that is never set and that counts while the machine sleeps."""
    return time.clock_gettime(_BOOT_CLOCK)


class DatabaseClock:
    """Estimates the database's clock; right to within half a round trip of the last observation."""

    __slots__ = ("_at_boot",)

    def __init__(self) -> None:
        self._at_boot: datetime | None = None
        """The database's time when this machine's boot clock was 0."""

    def observe(self, database_time: datetime, asked_at: float, answered_at: float) -> None:
        """Takes `clock_timestamp()` as read between two instants of the boot clock."""
        self._at_boot = database_time - timedelta(seconds=(asked_at + answered_at) / 2)

    def now(self) -> datetime:
        """The database's time now.

        Raises RuntimeError before the first observation: the machine's own clock is no substitute.
        """
        if self._at_boot is None:
            raise RuntimeError("the database's clock has not been read yet")
        return self._at_boot + timedelta(0, time.clock_gettime(_BOOT_CLOCK))
