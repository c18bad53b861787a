"""Days of a zone, and those on which something recurs: every day, week, month, quarter or year from a day on.

An instant of a day is its beginning: midnight, or where clocks are put forward at midnight the first instant
that there is. Where they are put back over midnight it is the first of the two. A day that a zone has left
out begins when the next one does.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final

from ledger.books.model.renewals import Every

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_DAYS: Final = {Every.DAY: 1, Every.WEEK: 7}
_MONTHS: Final = {Every.MONTH: 1, Every.QUARTER: 3, Every.YEAR: 12}
_OF_A_YEAR: Final = 12
"""Months."""


def day_begins(day: date, zone: ZoneInfo) -> datetime:
    """The instant at which a day begins in a zone."""
    return datetime.combine(day, time.min, tzinfo=zone).astimezone(UTC)


def recurrence(every: Every, anchor: date, number: int) -> date:
    """The day on which something recurs for the so manieth time, from `anchor` on, which is number 0.

    Of months the day is that of `anchor`, or the last one of a month that has no such day: 31 January is
    followed by 28 or 29 February, and by 31 March. A quarter is three months, and a year twelve.
    """
    if every in _DAYS:
        return anchor + timedelta(days=number * _DAYS[every])
    months = anchor.year * _OF_A_YEAR + anchor.month - 1 + number * _MONTHS[every]
    year, month = divmod(months, _OF_A_YEAR)
    return date(year, month + 1, min(anchor.day, monthrange(year, month + 1)[1]))


def last_recurrence(every: Every, anchor: date, day: date) -> int:
    """The number of the last recurrence that is no later than a day."""
    if every in _DAYS:
        return (day - anchor).days // _DAYS[every]
    months = (day.year - anchor.year) * _OF_A_YEAR + day.month - anchor.month
    number = months // _MONTHS[every]
    return number if recurrence(every, anchor, number) <= day else number - 1


def next_recurrence(every: Every, anchor: date, after: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """The first recurrence that begins after an instant, and the one before it."""
    number = last_recurrence(every, anchor, after.astimezone(zone).date())
    before = day_begins(recurrence(every, anchor, number), zone)
    while True:
        number += 1
        at = day_begins(recurrence(every, anchor, number), zone)
        if at > after:
            return at, before
        before = at
