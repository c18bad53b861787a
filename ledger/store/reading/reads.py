"""What callers read: always from the database, as the reader's role, by key or index; never from memory.

The reader's role cannot see a dollar. Lists go newest first by key, so that a page's end stays where it
is while others write: `before` is where the page before has ended.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from ledger.books.model import Credits, Entry, Lot, LotKey, Reservation, ReservationState
from ledger.errors import NotNowError, RequestError
from ledger.store.cells.columns import ENTRY, LOT, RESERVATION
from ledger.store.cells.rows_in import entry_of, lot_of, reservation_of
from ledger.store.directory import CustomerKey, Directory
from ledger.store.lists import BY_SEQUENCE, LINES_BYTES, Page, by_count, fetch_page, page_statement
from ledger.store.postgres.database import Pool, PooledConnection
from ledger.store.postgres.migrate import SHARED_SCHEMA
from ledger.store.reading.milestones import first_after
from ledger.store.reading.shares import PoolShares
from ledger.store.reading.usage_report import UsagePage, UsagePlace, UsageQuery, usage_report

if TYPE_CHECKING:
    import asyncpg

Row = TypeVar("Row")

NEWEST: Final = 2**63 - 1
"""A `before` above every sequence."""

_PROFILE = """
SELECT display_name, plan, card, zone, multiplier_nanos, created_at
FROM {cell}.wallets WHERE customer = $1
"""

_PROFILES = """
SELECT customer, display_name, plan, card, zone, multiplier_nanos, created_at
FROM {cell}.wallets WHERE customer = ANY($1::bigint[])
"""

_CUSTOMERS = f"""
SELECT customer, customer_id, cell FROM {SHARED_SCHEMA}.customers
WHERE customer_id > $1 ORDER BY customer_id LIMIT $2
"""

# One statement, one snapshot. Lots that are neither used up nor expired are few, whatever the history.
_BALANCE = """
WITH live AS MATERIALIZED (
    SELECT kind, status, expires_at, remaining - held AS free, held
    FROM {cell}.lots WHERE customer = $1 AND remaining > 0
)
SELECT now() AS as_of, w.pending, w.available, w.held, w.debt, kinds.by_kind, next.expires_at, next.micros
FROM {cell}.wallets w
CROSS JOIN (
    SELECT coalesce(json_agg(json_build_array(kind, available, held) ORDER BY kind), '[]') AS by_kind
    FROM (
        SELECT kind, coalesce(sum(free) FILTER (WHERE status = 'ACTIVE'), 0)::bigint AS available,
               sum(held)::bigint AS held
        FROM live GROUP BY kind
    ) sums
    WHERE available > 0 OR held > 0
) kinds
LEFT JOIN (
    SELECT expires_at, sum(free)::bigint AS micros
    FROM live WHERE status = 'ACTIVE' AND free > 0 AND expires_at IS NOT NULL
    GROUP BY expires_at ORDER BY expires_at LIMIT 1
) next ON true
WHERE w.customer = $1
"""

# What is due takes effect at its own instant, and is written a moment later.
BALANCE_AT = f"""
SELECT w.next_due_at, e.*
FROM {{cell}}.wallets w
LEFT JOIN LATERAL (
    SELECT pending_after AS pending, available_after AS available, held_after AS held, debt_after AS debt
    FROM {{cell}}.entries
    WHERE customer = $1 AND sequence <= {first_after("$2")} AND effective_at <= $2
    ORDER BY sequence DESC LIMIT 1
) e ON true
WHERE w.customer = $1
"""

_LOTS = f"""
SELECT {LOT.select("l")} FROM {{cell}}.lots l
WHERE l.customer = $1 AND (l.sequence, l.n) < ($2::bigint, $3::bigint)
ORDER BY l.sequence DESC, l.n DESC LIMIT $4
"""

_MOVED = """
FROM {cell}.entries e
WHERE (e.issued, e.pending, e.available, e.held, e.consumed, e.expired, e.voided, e.refunded, e.debt)
      <> (0, 0, 0, 0, 0, 0, 0, 0, 0)
"""
# A line of the statement tells no lines of usage.
_WITHOUT_LINES = ENTRY.select("e").replace("e.lines", "NULL::json")
_STATEMENT = page_statement(_WITHOUT_LINES, _MOVED, bytes_="0::bigint", floor=BY_SEQUENCE)

_RESERVATION = f"""
SELECT {RESERVATION.select("r")} FROM {{cell}}.reservations r WHERE r.customer = $1 AND r.sequence = $2
"""

_RESERVATIONS = page_statement(
    RESERVATION.select("e"),
    """
    FROM {cell}.reservations e
    WHERE ($4::text IS NULL OR e.state = $4) AND ($5::text IS NULL OR e.labels::jsonb @> $5::jsonb)
    """,
    bytes_="octet_length(e.pins::text)",
    floor=by_count("FROM {cell}.reservations e WHERE true", where="coalesce($4::text, $5::text) IS NOT NULL"),
)

# A reversal names the charge, or the reservation that the charge was a part of.
_CHARGE_COLUMNS = f"""
{ENTRY.select("e")}, EXISTS (
    SELECT 1 FROM {{cell}}.entries r
    WHERE r.customer = e.customer AND r.kind = 'REVERSAL' AND r.subject IN (e.sequence, e.reservation)
) AS reversed, (
    SELECT coalesce(-sum(r.consumed), 0)::bigint FROM {{cell}}.entries r
    WHERE r.customer = e.customer AND r.kind = 'REFUND' AND r.subject = e.sequence
) AS refunded
"""

_CHARGE = (
    f"SELECT {_CHARGE_COLUMNS} FROM {{cell}}.entries e"
    " WHERE e.customer = $1 AND e.sequence = $2 AND e.kind IN ('COMMIT', 'CHARGE')"
)

_LABELLED = "($4::text IS NULL OR e.labels::jsonb @> $4::jsonb)"
_CHARGES = page_statement(
    _CHARGE_COLUMNS,
    f"FROM {{cell}}.entries e WHERE e.kind IN ('COMMIT', 'CHARGE') AND {_LABELLED}",
    bytes_=LINES_BYTES,
    floor=BY_SEQUENCE,
)

_OF_RESERVATION = "FROM {cell}.entries e WHERE e.kind = 'COMMIT' AND e.reservation = $5"
_CHARGES_OF_RESERVATION = page_statement(
    _CHARGE_COLUMNS,
    f"{_OF_RESERVATION} AND {_LABELLED}",
    bytes_=LINES_BYTES,
    floor=by_count(_OF_RESERVATION, where="$4::text IS NOT NULL"),
)

_REQUEST = f"""
SELECT {ENTRY.select("e")} FROM {{cell}}.entries e WHERE e.customer = $1 AND e.request_id = $2
"""


class CustomerNotFoundError(RequestError, LookupError):
    """There is no customer of this id."""

    def __init__(self, customer_id: str) -> None:
        self.customer_id = customer_id
        super().__init__(customer_id)


class BooksBehindError(NotNowError):
    """What was due by the instant asked for is not written yet: starts, expiries, ends of periods."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A customer, without its credits."""

    customer_id: str
    display_name: str
    plan: str
    card: str | None
    zone: str
    multiplier_nanos: int
    created_at: datetime


class KindBalance(NamedTuple):
    """Credits of one kind of grant, in micro-credits."""

    kind: str
    available_micros: int
    held_micros: int


class NextExpiry(NamedTuple):
    """The available credits that expire next."""

    expires_at: datetime
    amount_micros: int


@dataclass(frozen=True, slots=True)
class BalanceNow:
    """A customer's credits; all that was committed before `as_of` is in them."""

    credits: Credits
    by_kind: tuple[KindBalance, ...]
    next_expiry: NextExpiry | None
    as_of: datetime


class Booked(NamedTuple):
    """What a commit or a charge booked, whether it was undone, and how much of it was refunded."""

    entry: Entry
    is_reversed: bool
    refunded_micros: int


class Reads:
    """Reads of one database. Each raises CustomerNotFoundError, or the driver's errors if it is away.

    What walks over a customer's journal has connections of its own, shared fairly: it raises
    TooManyReportsError as well. What is read by key waits for none of that.
    """

    def __init__(
        self,
        reader: Pool,
        reports: Pool,
        directory: Directory,
        looked_up: Callable[[str], str] = str,
    ) -> None:
        """`looked_up`: the id by which the customer of an id is looked up, where that is not itself."""
        self._reader = reader
        self._reports = PoolShares(reports)
        self._directory = directory
        self._looked_up = looked_up

    async def profile(self, customer_id: str) -> Profile:
        """The customer's name and policies."""
        async with self._at(customer_id) as (connection, key):
            row = await connection.fetchrow(_PROFILE.format(cell=key.cell), key.customer)
        if row is None:
            raise CustomerNotFoundError(customer_id)
        return Profile(customer_id=customer_id, **row)

    async def profiles(self, after: str, limit: int) -> list[Profile]:
        """Customers in the order of their ids, those beyond `after` ('' for the first)."""
        async with self._snapshot() as connection:
            rows = await connection.fetch(_CUSTOMERS, after, limit)
            by_customer: dict[int, Mapping[str, object]] = {}
            for cell in {row["cell"] for row in rows}:
                customers = [row["customer"] for row in rows if row["cell"] == cell]
                for wallet in await connection.fetch(_PROFILES.format(cell=cell), customers):
                    fields = dict(wallet)
                    by_customer[fields.pop("customer")] = fields
        return [
            Profile(customer_id=row["customer_id"], **by_customer[row["customer"]])  # type: ignore[arg-type]
            for row in rows
        ]

    async def balance(self, customer_id: str) -> BalanceNow:
        """What the customer has, in all, by kind of grant, and what expires next."""
        async with self._at(customer_id) as (connection, key):
            row = await connection.fetchrow(_BALANCE.format(cell=key.cell), key.customer)
        if row is None:
            raise CustomerNotFoundError(customer_id)
        return BalanceNow(
            credits=Credits(
                pending=row["pending"], available=row["available"], held=row["held"], debt=row["debt"]
            ),
            by_kind=tuple(KindBalance(*kind) for kind in row["by_kind"]),
            next_expiry=NextExpiry(row["expires_at"], row["micros"]) if row["expires_at"] else None,
            as_of=row["as_of"],
        )

    async def balance_at(self, customer_id: str, instant: datetime) -> Credits:
        """What the customer had at an instant, as the wallet dates it; nothing before it was created.

        Raises BooksBehindError while something that was due by then is still to be written.
        """
        async with self._at(customer_id) as (connection, key):
            row = await connection.fetchrow(BALANCE_AT.format(cell=key.cell), key.customer, instant)
        if row is None:
            raise CustomerNotFoundError(customer_id)
        if row["next_due_at"] is not None and row["next_due_at"] <= instant:
            raise BooksBehindError(customer_id)
        return Credits(
            pending=row["pending"] or 0,
            available=row["available"] or 0,
            held=row["held"] or 0,
            debt=row["debt"] or 0,
        )

    async def lots(self, customer_id: str, before: LotKey, limit: int) -> list[Lot]:
        """The customer's lots, without their values."""
        async with self._at(customer_id) as (connection, key):
            rows = await connection.fetch(_LOTS.format(cell=key.cell), key.customer, *before, limit)
        return [lot_of(tuple(row), value_nanousd=0) for row in rows]

    async def statement(self, customer_id: str, before: int, size: int) -> Page[Entry]:
        """The entries that moved credits of the customer's, without their lines."""
        return await self._page(customer_id, _STATEMENT, before, size, row_of=_entry_of)

    async def usage(
        self, customer_id: str, query: UsageQuery, place: UsagePlace | None, size: int
    ) -> UsagePage:
        """What was used, by day of the customer's zone, label, kind and unit; the oldest day first.

        Raises ReportOutdatedError for a place of a report by another zone.
        """
        async with self._at(customer_id, reports=True) as (connection, key):
            profile = await connection.fetchrow(_PROFILE.format(cell=key.cell), key.customer)
            if profile is None:
                raise CustomerNotFoundError(customer_id)
            return await usage_report(connection, key, profile["zone"], query, place, size)

    async def reservation(self, customer_id: str, sequence: int) -> Reservation | None:
        """The reservation that the entry `sequence` made."""
        async with self._at(customer_id) as (connection, key):
            row = await connection.fetchrow(_RESERVATION.format(cell=key.cell), key.customer, sequence)
        return reservation_of(tuple(row)) if row is not None else None

    async def reservations(
        self,
        customer_id: str,
        before: int,
        size: int,
        *,
        state: ReservationState | None,
        labels: Mapping[str, str],
    ) -> Page[Reservation]:
        """Reservations in a state (None: any) with all of these labels."""
        return await self._page(
            customer_id, _RESERVATIONS, before, size, state, _filter(labels), row_of=_reservation_of
        )

    async def charge(self, customer_id: str, sequence: int) -> Booked | None:
        """The charge that the entry `sequence` booked."""
        async with self._at(customer_id) as (connection, key):
            row = await connection.fetchrow(_CHARGE.format(cell=key.cell), key.customer, sequence)
        return _booked_of(row) if row is not None else None

    async def charges(
        self,
        customer_id: str,
        before: int,
        size: int,
        *,
        reservation: int | None,
        labels: Mapping[str, str],
    ) -> Page[Booked]:
        """Charges of a reservation (None: of any, and of none) with all of these labels."""
        text = _CHARGES if reservation is None else _CHARGES_OF_RESERVATION
        of = () if reservation is None else (reservation,)
        return await self._page(customer_id, text, before, size, _filter(labels), *of, row_of=_booked_of)

    async def entry_of_request(self, customer_id: str, request_id: str) -> Entry | None:
        """The entry that a request made, without its money."""
        async with self._at(customer_id) as (connection, key):
            row = await connection.fetchrow(_REQUEST.format(cell=key.cell), key.customer, request_id)
        return entry_of(tuple(row)) if row is not None else None

    @asynccontextmanager
    async def _at(
        self, customer_id: str, *, reports: bool = False
    ) -> AsyncIterator[tuple[PooledConnection, CustomerKey]]:
        """A connection, and the customer's key on the history of the database that it leads to."""
        while True:
            forgotten = self._directory.forgotten
            key = await self._directory.find(self._looked_up(customer_id))
            if key is None:
                raise CustomerNotFoundError(customer_id)
            pool = self._reports.acquire(key.customer) if reports else self._reader.acquire()
            async with pool as connection:
                if self._directory.forgotten == forgotten:
                    yield connection, key
                    return

    async def _page(
        self,
        customer_id: str,
        statement: str,
        before: int,
        size: int,
        *filters: object,
        row_of: Callable[[asyncpg.Record], Row],
    ) -> Page[Row]:
        async with self._at(customer_id, reports=True) as (connection, key):
            text = statement.format(cell=key.cell)
            return await fetch_page(connection, text, key.customer, before, size, *filters, row_of=row_of)

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[PooledConnection]:
        """A connection on which all statements see one state of the database."""
        async with (
            self._reader.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection


def _entry_of(row: asyncpg.Record) -> Entry:
    return entry_of(tuple(row))


def _reservation_of(row: asyncpg.Record) -> Reservation:
    return reservation_of(tuple(row))


def _booked_of(row: asyncpg.Record) -> Booked:
    return Booked(entry_of(tuple(row)), row["reversed"], row["refunded"])


def _filter(labels: Mapping[str, str]) -> str | None:
    return json.dumps(labels) if labels else None
