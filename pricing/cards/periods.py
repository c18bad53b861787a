"""Periods: the days, weeks, months and years of a zone that counters belong to."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

DAYS_AT_MOST: Mapping[str, int] = {"day": 1, "week": 7, "month": 31, "year": 366}
_DAY = timedelta(days=1)


class CalendarSpan(NamedTuple):
    """One period."""

    label: str
    """Its length and its first day."""
    closes_at: datetime
    """The end of the period after it: until then it takes usage that is reported late."""


class Period(NamedTuple):
    """How long counters count, and in which zone's days."""

    per: str
    """day, week, month or year."""
    zone: str
    """An IANA name."""

    def counting(self, instant: datetime, now: datetime) -> CalendarSpan:
        """The period that counts what happened at an instant.

        That of the instant, but none before the last one: what is older counts in that.
        """
        zone = ZoneInfo(self.zone)
        last = self._first_day(self._first_day(now.astimezone(zone).date()) - _DAY)
        first = max(self._first_day(instant.astimezone(zone).date()), last)
        closes = self._next(self._next(first))
        midnight = datetime(closes.year, closes.month, closes.day, tzinfo=zone)
        return CalendarSpan(f"{self.per} {first}", midnight.astimezone(UTC))

    def _first_day(self, day: date) -> date:
        match self.per:
            case "day":
                return day
            case "week":
                return day - day.weekday() * _DAY
            case "month":
                return day.replace(day=1)
            case _:
                return day.replace(month=1, day=1)

    def _next(self, first: date) -> date:
        """The first day of the period after that which begins on a day."""
        days = DAYS_AT_MOST[self.per]
        return self._first_day(first + days * _DAY)
