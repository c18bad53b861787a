"""What a customer has used, by day and label: added up from its own entries, as the reader's role.

A day's entries are a walk over the primary key, from the milestone before its first instant to the one after
its last. Days without entries are passed over, so a page costs what its own days hold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from ledger.store.milestones import first_after, last_before

if TYPE_CHECKING:
    import asyncpg

    from ledger.store.database import PooledConnection

# Entries of some days that priced something, or took back what others did.
_BOOKED = f"""
FROM {{cell}}.entries e
WHERE e.customer = $1 AND e.sequence >= {last_before("$2")} AND e.sequence <= {first_after("$3")}
  AND e.effective_at >= $2 AND e.effective_at < $3
  AND (e.priced <> 0 OR e.lines IS NOT NULL) AND ($4::text IS NULL OR e.labels::jsonb @> $4::jsonb)
"""
NEXT = f"SELECT e.effective_at {_BOOKED} ORDER BY e.sequence LIMIT 1"

# A reversal takes its items and quantities away, a refund takes credits alone: the work was done. What an
# entry prices beyond its lines (credits stated, a surplus given back) stands as kind ''.
_DAY = """
WITH booked AS MATERIALIZED (
    SELECT ARRAY(SELECT coalesce(e.labels ->> k.key, '')
                 FROM unnest($5::text[]) WITH ORDINALITY AS k(key, n) ORDER BY k.n) AS labels,
           CASE e.kind WHEN 'REVERSAL' THEN -1 WHEN 'REFUND' THEN 0 ELSE 1 END AS sign, e.priced, e.lines
    {booked}
), used AS MATERIALIZED (
    SELECT b.labels, l.line ->> 'kind' AS kind, coalesce(l.line #>> '{{measured,unit}}', '') AS unit, b.sign,
           (l.line ->> 'credits_micros')::numeric AS credits, l.line
    FROM booked b, jsonb_array_elements(b.lines::jsonb) AS l(line)
), credited AS (
    SELECT labels, kind, unit, sign, credits, line FROM used
    UNION ALL
    SELECT labels, '', '', 0, -credits, NULL FROM used
    UNION ALL
    SELECT labels, '', '', 0, priced, NULL FROM booked
), sums AS (
    SELECT labels, kind, unit, sum(sign)::bigint AS items, sum(credits) AS credits,
           sum(sign * (line #>> '{{measured,quantity}}')::numeric) AS measured
    FROM credited GROUP BY labels, kind, unit
), quantities AS (
    SELECT labels, kind, unit, json_object_agg(name, quantity::text) AS quantities
    FROM (SELECT u.labels, u.kind, u.unit, q.name, sum(u.sign * q.quantity::numeric) AS quantity
          FROM used u, jsonb_each_text(u.line -> 'quantities') AS q(name, quantity)
          GROUP BY u.labels, u.kind, u.unit, q.name) named
    WHERE quantity <> 0 GROUP BY labels, kind, unit
)
SELECT s.labels, s.kind, s.unit, s.items, s.credits, coalesce(s.measured, 0) AS measured,
       coalesce(q.quantities, '{{}}') AS quantities
FROM sums s LEFT JOIN quantities q USING (labels, kind, unit)
WHERE (s.items <> 0 OR s.credits <> 0 OR q.quantities IS NOT NULL)
  AND ($6::text[] IS NULL OR (s.labels, s.kind, s.unit) > ($6, $7::text, $8::text))
ORDER BY s.labels, s.kind, s.unit LIMIT $9
""".replace("{booked}", _BOOKED)


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


async def usage_report(
    connection: PooledConnection,
    cell: str,
    customer: int,
    zone: str,
    query: UsageQuery,
    after: UsageKey | None,
    limit: int,
) -> list[Used]:
    """The rows after a key (None: from the first on), at most so many; of one snapshot of `connection`."""
    calendar = ZoneInfo(zone)
    labels = json.dumps(query.labels) if query.labels else None
    start = _begins(after.day if after is not None else query.first_day, calendar)
    end = _begins(query.last_day + timedelta(days=1), calendar)
    rows: list[Used] = []
    while len(rows) < limit:
        instant = await connection.fetchval(NEXT.format(cell=cell), customer, start, end, labels)
        if instant is None:
            break
        day = instant.astimezone(calendar).date()
        begins, start = _begins(day, calendar), _begins(day + timedelta(days=1), calendar)
        past = after[1:] if after is not None and after.day == day else (None, None, None)
        found = await connection.fetch(
            _DAY.format(cell=cell),
            customer,
            begins,
            start,
            labels,
            query.label_keys,
            *past,
            limit - len(rows),
        )
        rows += [_used(day, row) for row in found]
    return rows


def _begins(day: date, calendar: ZoneInfo) -> datetime:
    return datetime.combine(day, time.min, tzinfo=calendar).astimezone(UTC)


def _used(day: date, row: asyncpg.Record) -> Used:
    return Used(
        key=UsageKey(day, tuple(row["labels"]), row["kind"], row["unit"]),
        items=row["items"],
        credits_micros=int(row["credits"]),
        measured=row["measured"],
        quantities={name: Decimal(quantity) for name, quantity in row["quantities"].items()},
    )
