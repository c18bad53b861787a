"""Windows of budgets by the clock of a zone, across changes of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ledger.books import BudgetWindow
from ledger.books.budget_windows import ALL_TIME, Span, span_of

BERLIN, LORD_HOWE, HAVANA, KOLKATA = "Europe/Berlin", "Australia/Lord_Howe", "America/Havana", "Asia/Kolkata"
CHATHAM = "Pacific/Chatham"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("window", "zone", "at", "starts_at", "ends_at"),
    [
        ("HOUR", "UTC", "2026-11-01T10:59:59.999999", "2026-11-01T10:00", "2026-11-01T11:00"),
        ("HOUR", "UTC", "2026-11-01T11:00", "2026-11-01T11:00", "2026-11-01T12:00"),
        ("HOUR", KOLKATA, "2026-11-01T10:29", "2026-11-01T09:30", "2026-11-01T10:30"),
        # 02:00 to 03:00 comes twice on 25 October 2026, and not at all on 29 March.
        ("HOUR", BERLIN, "2026-10-25T00:59", "2026-10-25T00:00", "2026-10-25T01:00"),
        ("HOUR", BERLIN, "2026-10-25T01:00", "2026-10-25T01:00", "2026-10-25T02:00"),
        ("HOUR", BERLIN, "2026-03-29T00:59", "2026-03-29T00:00", "2026-03-29T01:00"),
        ("HOUR", BERLIN, "2026-03-29T01:00", "2026-03-29T01:00", "2026-03-29T02:00"),
        ("DAY", BERLIN, "2026-03-29T12:00", "2026-03-28T23:00", "2026-03-29T22:00"),
        ("DAY", BERLIN, "2026-10-25T12:00", "2026-10-24T22:00", "2026-10-25T23:00"),
        ("DAY", BERLIN, "2026-10-24T21:59", "2026-10-23T22:00", "2026-10-24T22:00"),
        # The clock goes back from 02:00 to 01:30: what it shows as one o'clock lasts an hour and a half.
        ("HOUR", LORD_HOWE, "2026-04-04T14:59", "2026-04-04T14:00", "2026-04-04T15:30"),
        ("HOUR", LORD_HOWE, "2026-04-04T15:29", "2026-04-04T14:00", "2026-04-04T15:30"),
        # It goes forward from 02:45 to 03:45, and back again: a full hour passes between full hours.
        ("HOUR", CHATHAM, "2026-09-26T13:59", "2026-09-26T13:15", "2026-09-26T14:15"),
        ("HOUR", CHATHAM, "2026-09-26T14:00", "2026-09-26T13:15", "2026-09-26T14:15"),
        ("HOUR", CHATHAM, "2026-09-26T14:15", "2026-09-26T14:15", "2026-09-26T15:15"),
        ("HOUR", CHATHAM, "2027-04-03T13:59", "2027-04-03T13:15", "2027-04-03T14:15"),
        ("HOUR", CHATHAM, "2027-04-03T14:00", "2027-04-03T13:15", "2027-04-03T14:15"),
        ("HOUR", CHATHAM, "2027-04-03T14:15", "2027-04-03T14:15", "2027-04-03T15:15"),
        # It goes back from 01:00 to 00:00: the day has two midnights, and begins at the first.
        ("DAY", HAVANA, "2026-11-01T05:30", "2026-11-01T04:00", "2026-11-02T05:00"),
        ("DAY", HAVANA, "2026-11-01T04:30", "2026-11-01T04:00", "2026-11-02T05:00"),
        # It goes forward from 00:00 to 01:00: the day has no midnight.
        ("DAY", HAVANA, "2026-03-08T12:00", "2026-03-08T05:00", "2026-03-09T04:00"),
        # Samoa had no 30 December: it went to the other side of the date line.
        ("DAY", "Pacific/Apia", "2011-12-30T07:00", "2011-12-29T10:00", "2011-12-30T10:00"),
        ("DAY", "Pacific/Apia", "2011-12-30T10:00", "2011-12-30T10:00", "2011-12-31T10:00"),
        ("WEEK", BERLIN, "2026-10-25T12:00", "2026-10-18T22:00", "2026-10-25T23:00"),
        ("WEEK", BERLIN, "2026-10-25T23:00", "2026-10-25T23:00", "2026-11-01T23:00"),
        ("MONTH", BERLIN, "2026-10-31T22:59", "2026-09-30T22:00", "2026-10-31T23:00"),
        ("MONTH", "UTC", "2028-02-29T23:59", "2028-02-01T00:00", "2028-03-01T00:00"),
        ("MONTH", "UTC", "2026-12-31T23:59", "2026-12-01T00:00", "2027-01-01T00:00"),
    ],
)
def test_a_window_by_the_clock(window: str, zone: str, at: str, starts_at: str, ends_at: str) -> None:
    """From the first instant that the clock shows it to the first of the next, whatever was found before."""
    assert found_anew(BudgetWindow(window), utc(at), zone) == (utc(starts_at), utc(ends_at))
    assert span_of(BudgetWindow(window), utc(at), zone) == (utc(starts_at), utc(ends_at))


def test_all_time_has_no_bounds() -> None:
    """A budget in all never begins anew."""
    assert span_of(BudgetWindow.TOTAL, utc("2026-01-01"), BERLIN) == ALL_TIME


@pytest.mark.parametrize("window", [window for window in BudgetWindow if window is not BudgetWindow.TOTAL])
@pytest.mark.parametrize("zone", ["UTC", BERLIN, LORD_HOWE, HAVANA, KOLKATA, CHATHAM, "America/St_Johns"])
def test_windows_follow_each_other(window: BudgetWindow, zone: str) -> None:
    """Each instant is in one window, from the last change of the clock of a year to the first of the next."""
    at = utc("2026-10-20")
    while at < utc("2026-11-10" if window is BudgetWindow.HOUR else "2027-04-10"):
        starts_at, ends_at = span_of(window, at, zone)
        assert starts_at is not None
        assert ends_at is not None
        assert starts_at <= at < ends_at
        for each in (starts_at, ends_at - timedelta(microseconds=1)):
            assert found_anew(window, each, zone) == (starts_at, ends_at)
            assert span_of(window, at, zone) == (starts_at, ends_at)
        assert span_of(window, ends_at, zone).starts_at == ends_at
        at = ends_at


def found_anew(window: BudgetWindow, at: datetime, zone: str) -> Span:
    """The window of an instant, where another one was found last."""
    span_of(window, utc("2001-01-01"), zone)
    return span_of(window, at, zone)
