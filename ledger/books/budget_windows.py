"""Windows of budgets: the hours, days, weeks and months of a customer's zone.

A window is [starts_at, ends_at), and the windows of a zone follow each other without a gap. A day begins at
the first instant that has its date, so it lasts 23 or 25 hours where the clock is changed. Hours go on as
they are where it is changed by whole ones, whatever minute it then shows: an hour that it shows twice is two.
Where a change is of less than an hour, what the clock shows under one hour is one.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ledger.books.calendar import day_begins
from ledger.books.model.budgets import BudgetWindow

_TOTAL = BudgetWindow.TOTAL
_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)


class Span(NamedTuple):
    """One window, in UTC."""

    starts_at: datetime | None
    ends_at: datetime | None
    """Both None: all time."""


ALL_TIME = Span(None, None)

_last_found: dict[tuple[BudgetWindow, str], Span] = {}
"""Of each zone, the window that was found last: the next instant is in it too, as a rule."""


def span_of(window: BudgetWindow, at: datetime, zone: str) -> Span:
    """The window that an instant is in, by the clock of a zone (an IANA name)."""
    if window is _TOTAL:
        return ALL_TIME
    last = _last_found.get((window, zone))
    if last is None or not _is_in(at, last):
        last = _last_found[window, zone] = _found(window, at, ZoneInfo(zone))
    return last


def _is_in(at: datetime, span: Span) -> bool:
    return span.starts_at is not None and span.ends_at is not None and span.starts_at <= at < span.ends_at


def _found(window: BudgetWindow, at: datetime, here: ZoneInfo) -> Span:
    """The window of a zone that an instant is in; not that of all time."""
    if window is BudgetWindow.HOUR:
        starts_at = _hour(at, here)
        ends_at = _hour(starts_at + _HOUR, here)
        # A clock that is put back by less than an hour shows this one for longer.
        return Span(starts_at, ends_at if ends_at > starts_at else _hour(starts_at + 2 * _HOUR, here))
    first, following = _days(window, at.astimezone(here).date())
    return Span(day_begins(first, here), day_begins(following, here))


def _hour(at: datetime, zone: ZoneInfo) -> datetime:
    """When the hour began that an instant is in, by a clock."""
    shown = at.astimezone(zone)
    began_at = at - timedelta(minutes=shown.minute, seconds=shown.second, microseconds=shown.microsecond)
    if began_at.astimezone(zone).minute == 0:
        # Where the clock was changed since, it was by whole hours: it may have left out the full one.
        return began_at
    return shown.replace(minute=0, second=0, microsecond=0).astimezone(UTC)


def _days(window: BudgetWindow, day: date) -> tuple[date, date]:
    """The first day of the window that a day is in, and of the one after it."""
    if window is BudgetWindow.WEEK:
        first = day - day.weekday() * _DAY
        return first, first + 7 * _DAY
    if window is BudgetWindow.MONTH:
        first = day.replace(day=1)
        return first, (first + 31 * _DAY).replace(day=1)
    return day, day + _DAY
