"""Days on which something recurs: ends of months, leap years, and zones whose clocks or days are moved."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.books import Every
from ledger.books.calendar import last_recurrence, next_recurrence, recurrence

DAY = timedelta(days=1)

# Zone, how often, a day on which it recurs, the instant after which it is looked for, and the next ones.
INSTANTS = """
UTC                 MONTH 2026-01-31 2026-01-31T00:00 2026-02-28T00:00 2026-03-31T00:00 2026-04-30T00:00
UTC                 MONTH 2027-10-30 2028-01-30T12:00 2028-02-29T00:00 2028-03-30T00:00 2028-04-30T00:00
UTC                 MONTH 2027-10-29 2100-01-29T12:00 2100-02-28T00:00 2100-03-29T00:00 2100-04-29T00:00
UTC                 MONTH 2026-01-15 2026-12-15T00:00 2027-01-15T00:00 2027-02-15T00:00 2027-03-15T00:00
UTC                 QUARTER 2026-08-31 2026-08-31T00:00 2026-11-30T00:00 2027-02-28T00:00 2027-05-31T00:00
UTC                 QUARTER 2026-11-30 2027-11-30T00:00 2028-02-29T00:00 2028-05-30T00:00 2028-08-30T00:00
UTC                 QUARTER 2026-08-31 2025-12-24T00:00 2026-02-28T00:00 2026-05-31T00:00 2026-08-31T00:00
UTC                 YEAR  2028-02-29 2028-02-29T00:00 2029-02-28T00:00 2030-02-28T00:00 2031-02-28T00:00
UTC                 YEAR  2028-02-29 2031-02-28T00:00 2032-02-29T00:00 2033-02-28T00:00 2034-02-28T00:00
UTC                 YEAR  2028-02-29 2099-12-31T00:00 2100-02-28T00:00 2101-02-28T00:00 2102-02-28T00:00
Europe/Berlin       YEAR  2026-06-30 2026-06-30T12:00 2027-06-29T22:00 2028-06-29T22:00 2029-06-29T22:00
UTC                 WEEK  2026-11-02 2026-10-20T00:00 2026-10-26T00:00 2026-11-02T00:00 2026-11-09T00:00
Europe/Berlin       DAY   2026-01-01 2026-03-28T12:00 2026-03-28T23:00 2026-03-29T22:00 2026-03-30T22:00
Europe/Berlin       DAY   2026-01-01 2026-10-24T12:00 2026-10-24T22:00 2026-10-25T23:00 2026-10-26T23:00
Europe/Berlin       MONTH 2026-01-31 2026-02-28T12:00 2026-03-30T22:00 2026-04-29T22:00 2026-05-30T22:00
America/Sao_Paulo   DAY   2018-01-01 2018-11-03T12:00 2018-11-04T03:00 2018-11-05T02:00 2018-11-06T02:00
America/Sao_Paulo   DAY   2018-01-01 2018-02-17T12:00 2018-02-18T03:00 2018-02-19T03:00 2018-02-20T03:00
America/Havana      DAY   2026-01-01 2026-10-31T12:00 2026-11-01T04:00 2026-11-02T05:00 2026-11-03T05:00
Pacific/Apia        DAY   2011-01-01 2011-12-29T09:00 2011-12-29T10:00 2011-12-30T10:00 2011-12-31T10:00
Pacific/Apia        WEEK  2011-12-23 2011-12-29T12:00 2011-12-30T10:00 2012-01-05T10:00 2012-01-12T10:00
Pacific/Apia        MONTH 2011-11-30 2011-12-01T00:00 2011-12-30T10:00 2012-01-29T10:00 2012-02-28T10:00
Australia/Lord_Howe DAY   2026-01-01 2026-04-04T00:00 2026-04-04T13:00 2026-04-05T13:30 2026-04-06T13:30
Australia/Lord_Howe DAY   2026-01-01 2026-10-02T14:00 2026-10-03T13:30 2026-10-04T13:00 2026-10-05T13:00
"""


@pytest.mark.parametrize("line", INSTANTS.strip().splitlines())
def test_instants(line: str) -> None:
    """What recurs does so at the beginning of its day in the zone, once, whatever clocks and calendars do.

    Berlin: days of 23 and 25 hours. Sao Paulo: a day without a midnight, and one after an hour that came
    twice. Havana: a day with two midnights begins at the first. Apia: a day that was left out begins with the
    next. Lord Howe: clocks are moved by half an hour.
    """
    name, every, anchor, after, *following = line.split()
    zone, instant = ZoneInfo(name), datetime.fromisoformat(after).replace(tzinfo=UTC)
    for expected in following:
        instant, before = next_recurrence(Every(every), date.fromisoformat(anchor), instant, zone)
        assert instant == datetime.fromisoformat(expected).replace(tzinfo=UTC)
        assert before < instant


@given(
    every=st.sampled_from(Every),
    anchor=st.dates(date(1970, 1, 1), date(2100, 1, 1)),
    day=st.dates(date(1980, 1, 1), date(2100, 1, 1)),
)
def test_every_day_has_its_recurrence(every: Every, anchor: date, day: date) -> None:
    """The last recurrence up to a day is no later than it, and the one after it is; none is left out."""
    number = last_recurrence(every, anchor, day)
    assert recurrence(every, anchor, number) <= day < recurrence(every, anchor, number + 1)
    assert recurrence(every, anchor, 0) == anchor
    if every in (Every.MONTH, Every.QUARTER, Every.YEAR):
        found = recurrence(every, anchor, number)
        assert found.day == anchor.day or (found + DAY).day == 1
