"""A customer's statement of a month: what there was, what came and went, and what was left.

The month is of the customer's time zone, and its entries are those that take effect in it: work that is
reported late stands in the month in which it was booked. The totals are differences of the balances that
entries carry, whatever lies between; what was used is reported line by line, in parts, as a usage report is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from operator import sub
from typing import TYPE_CHECKING, Final, NamedTuple
from zoneinfo import ZoneInfo

from ledger.books.calendar import day_begins
from ledger.books.model.amounts import Credits
from ledger.errors import RequestError
from ledger.store.reading.journal_parts import PART, SPAN, ReportOutdatedError, added_up
from ledger.store.statements import statements_of

if TYPE_CHECKING:
    import asyncpg

    from ledger.store.directory import CustomerKey
    from ledger.store.postgres.database import PooledConnection

_LINE_KEY: Final = (
    "ARRAY[l.line ->> 'kind', coalesce(l.line ->> 'name', ''), coalesce(l.line ->> 'title', ''),"
    " coalesce(l.line #>> '{{measured,unit}}', '')]"
)
_SQL = statements_of(
    __name__,
    added_up=added_up(
        entry_key="CASE WHEN e.kind IN ('COMMIT', 'CHARGE') THEN 'USAGE' ELSE e.kind END",
        line_key=_LINE_KEY,
        line_parts=4,
    ),
)
_CUSTOMER = _SQL["customer"]
_BALANCES = _SQL["balances"]
_LINES = _SQL["lines"]
_ROLLED_OVER = _SQL["rolled_over"]


class MonthNotBegunError(RequestError):
    """The month asked for has not begun in the customer's time zone: there is nothing to report of it."""

    def __init__(self, zone: str) -> None:
        self.zone = zone
        super().__init__(zone)


class StatedType(StrEnum):
    """What a line is about: those of grants add up to the credits granted, the others to those used."""

    USAGE = "USAGE"
    """What charges and commits priced."""
    NOT_COLLECTED = "NOT_COLLECTED"
    """What of it nobody paid for; negative."""
    REFUND = "REFUND"
    REVERSAL = "REVERSAL"
    PERIOD_CLOSED = "PERIOD_CLOSED"
    GRANT = "GRANT"


@dataclass(frozen=True, slots=True)
class StatedLine:
    """What entries of one kind add up to; amounts are negative where more came back than was used."""

    part: StatedType
    labels: tuple[str, ...]
    """The values of the labels asked for; '' where the work has none."""
    grant_kind: str
    """Of grants."""
    kind: str
    """tokens, compute, units, outcome; '' for credits without items, and for grants."""
    name: str
    """The model asked for, the resource, the meter, the outcome."""
    title: str
    """What the card calls it."""
    unit: str
    """What the card measures the items in, e.g. DBU; '' if in nothing of its own."""
    items: int
    credits_micros: int
    measured: Decimal
    quantities: Mapping[str, Decimal]
    """As reported, by name; durations in seconds. What adds up to 0 is left out."""


@dataclass(frozen=True, slots=True)
class StatementQuery:
    """What is asked of a customer."""

    month: date
    """Its first day."""
    label_keys: tuple[str, ...]
    final_until: datetime
    """All that takes effect up to this instant is written, but for what is due by the clock."""


class StatementPlace(NamedTuple):
    """Where a page of a statement begins."""

    zone: str
    as_of: datetime | None
    """None: nothing of the month can change any more."""
    begin: int
    """The month's first sequence, or that of the next entry after it if it has none."""
    through: int
    """The last sequence that is reported; begin - 1: there is none."""
    first: int
    """The first sequence of the part that is added up."""
    passed: int
    """Lines of that part which were reported."""


@dataclass(frozen=True, slots=True)
class StatementPage:
    """A statement's totals, and some of its lines. Amounts are micro-credits."""

    zone: str
    begins_at: datetime
    ends_at: datetime
    as_of: datetime | None
    opening: Credits
    closing: Credits
    rolled_over_micros: int
    lines: list[StatedLine]
    next: StatementPlace | None
    """None: there is no other page."""

    @property
    def change(self) -> Credits:
        """What the month's entries have posted, in all."""
        return Credits._make(map(sub, self.closing, self.opening))


def next_month(month: date) -> date:
    """The first day of the month after that of a day."""
    return (month.replace(day=28) + timedelta(days=4)).replace(day=1)


async def month_statement(
    connection: PooledConnection,
    key: CustomerKey,
    query: StatementQuery,
    place: StatementPlace | None,
    size: int,
) -> StatementPage | None:
    """A page of a statement with at most so many lines; the first (None), or from a place.

    None where the customer has no wallet. Raises MonthNotBegunError, and ReportOutdatedError.
    """
    customer = await connection.fetchrow(_CUSTOMER.format(cell=key.cell), key.customer)
    if customer is None:
        return None
    zone = customer["zone"]
    if place is not None and place.zone != zone:
        raise ReportOutdatedError
    begins_at = day_begins(query.month, ZoneInfo(zone))
    ends_at = day_begins(next_month(query.month), ZoneInfo(zone))
    if begins_at > customer["as_of"]:
        raise MonthNotBegunError(zone)
    if place is None:
        [span] = await connection.fetch(SPAN.format(cell=key.cell), key.customer, begins_at, ends_at)
        begin = min(span["first"], span["through"] + 1)
        as_of = None if _is_final(customer, query, ends_at) else customer["as_of"]
        place = StatementPlace(zone, as_of, begin, span["through"], begin, 0)
    opening, closing = await _balances(connection, key, place)
    rolled_over = await connection.fetchval(
        _ROLLED_OVER.format(cell=key.cell), key.customer, place.begin, place.through
    )
    lines, after = await _lines(connection, key, query, place, size)
    return StatementPage(zone, begins_at, ends_at, place.as_of, opening, closing, rolled_over, lines, after)


def _is_final(customer: asyncpg.Record, query: StatementQuery, ends_at: datetime) -> bool:
    """Whether no entry can take effect in the month any more."""
    due_at = customer["next_due_at"]
    return ends_at <= query.final_until and (due_at is None or due_at >= ends_at)


async def _balances(
    connection: PooledConnection, key: CustomerKey, place: StatementPlace
) -> tuple[Credits, Credits]:
    """Before the month, and after the last entry that is reported."""
    rows = await connection.fetch(
        _BALANCES.format(cell=key.cell), key.customer, place.begin - 1, place.through
    )
    by_sequence = {
        row["sequence"]: Credits._make(row[account] for account in Credits._fields) for row in rows
    }
    return by_sequence.get(place.begin - 1, Credits()), by_sequence.get(place.through, Credits())


async def _lines(
    connection: PooledConnection,
    key: CustomerKey,
    query: StatementQuery,
    place: StatementPlace,
    size: int,
) -> tuple[list[StatedLine], StatementPlace | None]:
    """The lines of a page, and where the next one begins."""
    if place.first > place.through:
        return [], None
    cell, customer = key.cell, key.customer
    [part] = await connection.fetch(PART.format(cell=cell), customer, None, place.first, place.through)
    last = part["last"]
    rows = await connection.fetch(
        _LINES.format(cell=cell),
        customer,
        None,
        place.first,
        last,
        query.label_keys,
        place.passed,
        size + 1,
    )
    lines = [_line(row) for row in rows[:size]]
    if len(rows) > size:
        return lines, place._replace(passed=place.passed + size)
    if last < place.through:
        return lines, place._replace(first=last + 1, passed=0)
    return lines, None


def _line(row: asyncpg.Record) -> StatedLine:
    part = StatedType(row["type"])
    kind, name, title, unit = row["line_key"]
    is_grant = part is StatedType.GRANT
    return StatedLine(
        part=part,
        labels=tuple(row["labels"]),
        grant_kind=kind if is_grant else "",
        kind="" if is_grant else kind,
        name=name,
        title=title,
        unit=unit,
        items=row["items"],
        credits_micros=int(row["credits"]),
        measured=row["measured"],
        quantities={name: Decimal(quantity) for name, quantity in row["quantities"].items()},
    )
