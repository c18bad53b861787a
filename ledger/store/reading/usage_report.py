"""What a customer has used, by day and label: added up from its own entries, as the reader's role.

A report is of the journal as it stood at its first page: entries never change, and a customer's sequence has
no gaps, so a range of it is the same for ever. A page adds up a part of it: whole days, as many as few enough
entries make; of a day that is longer than a part, a piece. Rows are complete but for those: pieces add up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from ledger.books.calendar import day_begins
from ledger.store.reading.journal_parts import PART, SPAN, ReportOutdatedError, added_up
from ledger.store.statements import statements_of

if TYPE_CHECKING:
    import asyncpg

    from ledger.store.directory import CustomerKey
    from ledger.store.postgres.database import PooledConnection

_SQL = statements_of(
    __name__,
    added_up=added_up(
        entry_key="width_bucket(e.effective_at, $6::timestamptz[])",
        line_key="ARRAY[l.line ->> 'kind', coalesce(l.line #>> '{{measured,unit}}', '')]",
        line_parts=2,
    ),
)
_LAST_BEFORE = _SQL["last_before"]
_SUMS = _SQL["sums"]


class UsageKey(NamedTuple):
    """Where a row of the report stands: rows come in this order."""

    day: date
    labels: tuple[str, ...]
    """The values of the labels asked for; '' where the work has none."""
    kind: str
    """tokens, compute, units, outcome; '' for credits charged without items."""
    unit: str
    """What the card measures the items in, e.g. DBU; '' if in nothing of its own."""


@dataclass(frozen=True, slots=True)
class Used:
    """What was used under one key; all amounts may be negative: taken back of earlier days."""

    key: UsageKey
    items: int
    credits_micros: int
    """What it was priced at, collected or not, less what was given back."""
    measured: Decimal
    quantities: Mapping[str, Decimal]
    """As reported, by name; durations in seconds. What adds up to 0 is left out."""


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """What is asked of a customer: days of its zone, both included."""

    first_day: date
    last_day: date
    label_keys: tuple[str, ...]
    labels: Mapping[str, str]
    """Only work with all of these."""


@dataclass(frozen=True, slots=True)
class UsagePlace:
    """Where a page of a report begins."""

    zone: str
    """By which its days are reported."""
    through: int
    """The report's last sequence."""
    first: int
    """The first sequence of the part that is added up."""
    after: UsageKey | None
    """The last row of that part which was reported; None: none was."""


class UsagePage(NamedTuple):
    rows: list[Used]
    next: UsagePlace | None
    """None: there is no other page."""


async def usage_report(
    connection: PooledConnection,
    key: CustomerKey,
    zone: str,
    query: UsageQuery,
    place: UsagePlace | None,
    size: int,
) -> UsagePage:
    """The rows of a part of the report, at most so many; from the first on (None), or from a place.

    Raises ReportOutdatedError.
    """
    if place is not None and place.zone != zone:
        raise ReportOutdatedError
    part = _Days(connection, key, query, zone)
    place = place or await part.beginning()
    last = await part.end(place)
    rows = await part.rows(place, last, size + 1)
    if len(rows) > size:
        return UsagePage(rows[:size], UsagePlace(zone, place.through, place.first, rows[size - 1].key))
    if last < place.through:
        return UsagePage(rows, UsagePlace(zone, place.through, last + 1, None))
    return UsagePage(rows, None)


class _Days:
    """Entries of some days that are added up for a page."""

    def __init__(self, connection: PooledConnection, key: CustomerKey, query: UsageQuery, zone: str) -> None:
        self._connection = connection
        self._key = key
        self._query = query
        self._zone = zone
        self._calendar = ZoneInfo(zone)
        self._labels = json.dumps(query.labels) if query.labels else None

    async def beginning(self) -> UsagePlace:
        """Of the report."""
        end = self._begins(self._query.last_day + timedelta(days=1))
        [span] = await self._connection.fetch(
            SPAN.format(cell=self._key.cell), self._key.customer, self._begins(self._query.first_day), end
        )
        return UsagePlace(self._zone, span["through"], span["first"], None)

    async def end(self, place: UsagePlace) -> int:
        """The last sequence of the part: of its last whole day, or within its only one."""
        [part] = await self._connection.fetch(
            PART.format(cell=self._key.cell),
            self._key.customer,
            self._labels,
            place.first,
            place.through,
        )
        last: int = part["last"]
        if last >= place.through:
            return place.through
        first_at, next_at = part["first_at"], part["next_at"]
        if first_at is None or next_at is None:  # No page that was given out leads here.
            return last
        day = self._day(next_at)
        if day == self._day(first_at):
            return last
        whole: int = await self._connection.fetchval(
            _LAST_BEFORE.format(cell=self._key.cell),
            self._key.customer,
            place.first,
            last,
            self._begins(day),
        )
        return whole

    async def rows(self, place: UsagePlace, last: int, limit: int) -> list[Used]:
        """What the part adds up to, after the row that was reported."""
        days = (self._query.last_day - self._query.first_day).days + 1
        begins = [self._begins(self._query.first_day + timedelta(days=day)) for day in range(days)]
        after = place.after
        past: tuple[object, ...] = (None, None, None, None)
        if after is not None:
            past = ((after.day - self._query.first_day).days + 1, *after[1:])
        found = await self._connection.fetch(
            _SUMS.format(cell=self._key.cell),
            self._key.customer,
            self._labels,
            place.first,
            last,
            self._query.label_keys,
            begins,
            *past,
            limit,
        )
        return [_used(self._query.first_day, row) for row in found]

    def _begins(self, day: date) -> datetime:
        return day_begins(day, self._calendar)

    def _day(self, instant: datetime) -> date:
        return instant.astimezone(self._calendar).date()


def _used(first_day: date, row: asyncpg.Record) -> Used:
    return Used(
        key=UsageKey(
            first_day + timedelta(days=row["day"] - 1), tuple(row["labels"]), row["kind"], row["unit"]
        ),
        items=row["items"],
        credits_micros=int(row["credits"]),
        measured=row["measured"],
        quantities={name: Decimal(quantity) for name, quantity in row["quantities"].items()},
    )
