"""Windows of budgets: the hours, days, weeks and months of a customer's zone.

A window is [starts_at, ends_at), and the windows of a zone follow each other without a gap. A day begins at
the first instant that has its date, so it lasts 23 or 25 hours where the clock is changed. An hour that the
clock shows twice is two hours; where a change is of less than an hour, what it shows under one hour is one.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

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
    return Span(_midnight(first, here), _midnight(following, here))


def _hour(at: datetime, zone: ZoneInfo) -> datetime:
    """When the hour began that a clock shows."""
    return at.astimezone(zone).replace(minute=0, second=0, microsecond=0).astimezone(UTC)


def _days(window: BudgetWindow, day: date) -> tuple[date, date]:
    """The first day of the window that a day is in, and of the one after it."""
    if window is BudgetWindow.WEEK:
        first = day - day.weekday() * _DAY
        return first, first + 7 * _DAY
    if window is BudgetWindow.MONTH:
        first = day.replace(day=1)
        return first, (first + 31 * _DAY).replace(day=1)
    return day, day + _DAY


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    """The first instant that has a date.

    There may be no midnight, or two; of two the first may still have the date before.
    """
    first = datetime.combine(day, time(), zone).astimezone(UTC)
    if first.astimezone(zone).date() == day:
        return first
    return datetime.combine(day, time(fold=1), zone).astimezone(UTC)
