"""What one key may ask of one process: calls a second, and calls in flight.

The rate is stored as one instant for each key: when all that it has asked for would be done at the rate that
it is allowed (the generic cell rate algorithm: a token bucket that nobody has to refill). A key may be a
second ahead of that. What is refused last has more room than new work, so that a key that begins too much can
still record what it has done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Final

from ledger.engine.limits import Urgency
from ledger.errors import NotNowError

BURST_SECONDS: Final = 1.0
"""How far ahead of its rate a key may be: calls come in bursts, and rates are of seconds."""

_ROOM: Final[Mapping[Urgency, float]] = {
    Urgency.NEW_WORK: 1.0,
    Urgency.ANY_TIME: 1.5,
    Urgency.DONE_WORK: 2.0,
}
"""Times the burst and the calls in flight of new work."""

RATE, IN_FLIGHT = "calls_per_second_of_key", "calls_in_flight_of_key"
"""The limits, by the names of their settings."""


class KeyLimitError(NotNowError):
    """A key has asked for more than it may; nothing was done for this request."""

    def __init__(self, limit: str, bound: int, retry_seconds: float | None) -> None:
        """`retry_seconds`: when it may ask again; None: when one of its calls has ended."""
        super().__init__(f"{limit} is {bound}")
        self.limit = limit
        self.bound = bound
        self.retry_seconds = retry_seconds


class KeyAllowance:
    """What one key has asked for."""

    __slots__ = ("done_at", "in_flight")

    def __init__(self) -> None:
        self.in_flight = 0
        self.done_at = 0.0
        """When all that it has asked for would be done at the rate that it is allowed."""

    def leave(self) -> None:
        """One of its calls has ended."""
        self.in_flight -= 1


class Allowances:
    """All keys of one process, each with the same limits; None: no limit."""

    def __init__(
        self,
        calls_per_second: int | None,
        calls_in_flight: int | None,
        seconds: Callable[[], float] = monotonic,
    ) -> None:
        self._rate = calls_per_second
        self._in_flight_max = calls_in_flight
        self._seconds = seconds
        self._by_key: dict[str, KeyAllowance] = {}

    def enter(self, key_id: str, urgency: Urgency, calls: int = 1) -> KeyAllowance:
        """Counts a request that is worth so many calls, until it leaves. Raises KeyLimitError.

        One that is worth more than is left is admitted, and what comes after it waits: a batch is never too
        large for its key.
        """
        allowance = self._by_key.get(key_id)
        if allowance is None:
            allowance = self._by_key[key_id] = KeyAllowance()
        room = _ROOM[urgency]
        most = self._in_flight_max
        if most is not None and allowance.in_flight >= most * room:
            raise KeyLimitError(IN_FLIGHT, most, None)
        if self._rate is not None:
            now = self._seconds()
            ahead = max(0.0, allowance.done_at - now)
            over = ahead + 1 / self._rate - BURST_SECONDS * room
            if over > _ROUNDING_SECONDS:
                raise KeyLimitError(RATE, self._rate, over)
            allowance.done_at = now + ahead + calls / self._rate
        allowance.in_flight += 1
        return allowance


_ROUNDING_SECONDS: Final = 1e-9
