"""What a customer has used, by day and label: added up from its own entries, as the reader's role.

A report is of the journal as it stood at its first page: entries never change, and a customer's sequence has
no gaps, so a range of it is the same for ever. A page adds up a part of it: whole days, as many as few enough
entries make; of a day that is longer than a part, a piece. Rows are complete but for those: pieces add up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple
from zoneinfo import ZoneInfo

from ledger.errors import RequestError
from ledger.store.lists import LINES_BYTES, LOOKED_AT_MAX
from ledger.store.reading.milestones import first_after, last_before

if TYPE_CHECKING:
    import asyncpg

    from ledger.store.directory import CustomerKey
    from ledger.store.postgres.database import PooledConnection

ADDED_UP_MAX: Final = 4_000
"""Entries added up for one page: some 150 ms."""

ADDED_UP_BYTES_MAX: Final = 2 * 1024 * 1024
"""Of their lines, as JSON, for the same reason: an entry may have a thousand."""

STRIDE: Final = 8
"""Entries looked at together: a part is longer by at most so many than it may be."""


def _about(instant: str) -> str:
    """The entries about an instant, between the milestones before and after it."""
    return f"""
    FROM {{cell}}.entries e
    WHERE e.customer = $1 AND e.sequence BETWEEN {last_before(instant)} AND {first_after(instant)}
    """


SPAN = f"""
SELECT coalesce((SELECT min(e.sequence) {_about("$2")} AND e.effective_at >= $2), {2**62}) AS first,
       coalesce((SELECT max(e.sequence) {_about("$3")} AND e.effective_at < $3), 0) AS through
"""
"""The entries of some days: from the first that is not before them to the last that is before their end."""

# Entries that priced something, or took back what others did.
_COUNTED = """
FROM {cell}.entries e
WHERE e.customer = $1 AND (e.priced <> 0 OR e.lines IS NOT NULL)
  AND ($2::text IS NULL OR e.labels::jsonb @> $2::jsonb)
"""

_PART = f"""
WITH RECURSIVE walk (last, entries, bytes) AS (
    SELECT $3::bigint - 1, 0::numeric, 0::numeric
    UNION ALL
    SELECT least(w.last + {STRIDE}, $4), w.entries + here.entries, w.bytes + here.bytes
    FROM walk w CROSS JOIN LATERAL (
        SELECT count(*) AS entries, coalesce(sum({LINES_BYTES}), 0) AS bytes {_COUNTED}
        AND e.sequence > w.last AND e.sequence <= least(w.last + {STRIDE}, $4)
    ) here
    WHERE w.last < $4 AND w.last < $3 + {LOOKED_AT_MAX}
      AND w.entries < {ADDED_UP_MAX} AND w.bytes < {ADDED_UP_BYTES_MAX}
), part AS (SELECT max(last) AS last FROM walk)
SELECT part.last, first.effective_at AS first_at, next.effective_at AS next_at
FROM part
LEFT JOIN {{cell}}.entries first ON first.customer = $1 AND first.sequence = $3
LEFT JOIN {{cell}}.entries next ON next.customer = $1 AND next.sequence = part.last + 1
"""

_LAST_BEFORE = """
SELECT e.sequence FROM {cell}.entries e
WHERE e.customer = $1 AND e.sequence BETWEEN $2 AND $3 AND e.effective_at < $4
ORDER BY e.sequence DESC LIMIT 1
"""

# A reversal takes its items and quantities away, a refund takes credits alone: the work was done. What an
# entry prices beyond its lines (credits stated, a surplus given back) stands as kind ''. Days are reported by
# how many of the instants at which they begin have come.
_SUMS = f"""
WITH booked AS MATERIALIZED (
    SELECT width_bucket(e.effective_at, $5::timestamptz[]) AS day,
           ARRAY(SELECT coalesce(e.labels ->> k.key, '')
                 FROM unnest($6::text[]) WITH ORDINALITY AS k(key, n) ORDER BY k.n) AS labels,
           CASE e.kind WHEN 'REVERSAL' THEN -1 WHEN 'REFUND' THEN 0 ELSE 1 END AS sign, e.priced, e.lines
    {_COUNTED} AND e.sequence BETWEEN $3 AND $4
), used AS MATERIALIZED (
    SELECT b.day, b.labels, l.line ->> 'kind' AS kind,
           coalesce(l.line #>> '{{{{measured,unit}}}}', '') AS unit, b.sign,
           (l.line ->> 'credits_micros')::numeric AS credits, l.line
    FROM booked b, jsonb_array_elements(b.lines::jsonb) AS l(line)
), credited AS (
    SELECT day, labels, kind, unit, sign, credits, line FROM used
    UNION ALL
    SELECT day, labels, '', '', 0, -credits, NULL FROM used
    UNION ALL
    SELECT day, labels, '', '', 0, priced, NULL FROM booked
), sums AS (
    SELECT day, labels, kind, unit, sum(sign)::bigint AS items, sum(credits) AS credits,
           sum(sign * (line #>> '{{{{measured,quantity}}}}')::numeric) AS measured
    FROM credited GROUP BY day, labels, kind, unit
), quantities AS (
    SELECT day, labels, kind, unit, json_object_agg(name, quantity::text) AS quantities
    FROM (SELECT u.day, u.labels, u.kind, u.unit, q.name, sum(u.sign * q.quantity::numeric) AS quantity
          FROM used u, jsonb_each_text(u.line -> 'quantities') AS q(name, quantity)
          GROUP BY u.day, u.labels, u.kind, u.unit, q.name) named
    WHERE quantity <> 0 GROUP BY day, labels, kind, unit
)
SELECT s.day, s.labels, s.kind, s.unit, s.items, s.credits, coalesce(s.measured, 0) AS measured,
       coalesce(q.quantities, '{{{{}}}}') AS quantities
FROM sums s LEFT JOIN quantities q USING (day, labels, kind, unit)
WHERE (s.items <> 0 OR s.credits <> 0 OR q.quantities IS NOT NULL)
  AND ($7::int IS NULL OR (s.day, s.labels, s.kind, s.unit) > ($7, $8::text[], $9::text, $10::text))
ORDER BY s.day, s.labels, s.kind, s.unit LIMIT $11
"""


class ReportOutdatedError(RequestError):
    """The customer's time zone has changed since the report's first page: its days are others now."""


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
            _PART.format(cell=self._key.cell),
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
            begins,
            self._query.label_keys,
            *past,
            limit,
        )
        return [_used(self._query.first_day, row) for row in found]

    def _begins(self, day: date) -> datetime:
        return datetime.combine(day, time.min, tzinfo=self._calendar).astimezone(UTC)

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
