"""What callers read: always from the database, as the reader's role, by key or index; never from memory.

The reader's role cannot see a dollar. Lists go newest first by key, so that a page's end stays where it
is while others write: `before` is where the page before has ended.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from ledger.books.budgets import CounterPlace, read
from ledger.books.model.amounts import Credits
from ledger.books.model.budgets import BudgetCounter
from ledger.books.model.entries import Entry
from ledger.books.model.lots import LotKey
from ledger.books.model.priced import State
from ledger.books.model.reservations import Reservation, ReservationState
from ledger.errors import NotNowError, RequestError
from ledger.store.cells.columns import ENTRY, RESERVATION
from ledger.store.cells.rows_in import entry_of, reservation_of
from ledger.store.directory import CustomerKey, Directory
from ledger.store.lists import BY_SEQUENCE, LINES_BYTES, Page, by_count, fetch_page, page_statement
from ledger.store.postgres.database import Pool, PooledConnection
from ledger.store.postgres.revisions import DEFAULT_CELLS
from ledger.store.reading import grants
from ledger.store.reading.event_list import StoredEvent, events_of_all, events_of_customer
from ledger.store.reading.grants import ANY_GRANT, GrantFilter, GrantPlace, ListedGrant
from ledger.store.reading.milestones import first_after
from ledger.store.reading.month_statement import (
    StatementPage,
    StatementPlace,
    StatementQuery,
    month_statement,
)
from ledger.store.reading.shares import PoolShares
from ledger.store.reading.usage_report import UsagePage, UsagePlace, UsageQuery, usage_report
from ledger.store.statements import statements_of

if TYPE_CHECKING:
    import asyncpg

Row = TypeVar("Row")

NEWEST: Final = 2**63 - 1
"""A `before` above every sequence."""

_SQL = statements_of(
    __name__,
    entry_columns=ENTRY.select("e"),
    reservation_columns=RESERVATION.select("r"),
    after_instant=first_after("$2"),
)
_PROFILE = _SQL["profile"]
_UPCOMING = _SQL["upcoming"]
_PROFILES = _SQL["profiles"]
_CUSTOMERS = _SQL["customers"]
_BALANCE = _SQL["balance"]
_BALANCES = _SQL["balances"]
_SPENDABLE = _SQL["spendable"]
_BUDGETED = _SQL["budgeted"]
_COUNTS = _SQL["counts"]
BALANCE_AT = _SQL["balance_at"]
_NAMES = _SQL["names"]
# A line of the statement tells no lines of usage.
_STATEMENT = page_statement(
    ENTRY.select("e", without="lines"), _SQL["moved"], bytes_="0::bigint", floor=BY_SEQUENCE
)
_RESERVATION = _SQL["reservation"]
_RESERVATIONS = page_statement(
    RESERVATION.select("e"),
    _SQL["reservations_wanted"],
    bytes_="octet_length(e.pins::text)",
    floor=by_count(_SQL["reservations"], where="coalesce($4::text, $5::text) IS NOT NULL"),
)
_CHARGE = _SQL["charge"]
_CHARGES = page_statement(
    _SQL["charge_columns"], _SQL["charges_wanted"], bytes_=LINES_BYTES, floor=BY_SEQUENCE
)
_CHARGES_OF_RESERVATION = page_statement(
    _SQL["charge_columns"],
    _SQL["parts_wanted"],
    bytes_=LINES_BYTES,
    floor=by_count(_SQL["parts"], where="$4::text IS NOT NULL"),
)
_REQUEST = _SQL["request"]


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


class BalanceSeen(NamedTuple):
    """What a customer has; all that was committed before `as_of` is in it."""

    credits: Credits
    as_of: datetime


@dataclass(frozen=True, slots=True)
class BalanceNow:
    """A customer's credits; all that was committed before `as_of` is in them."""

    credits: Credits
    by_kind: tuple[KindBalance, ...]
    next_expiry: NextExpiry | None
    as_of: datetime


@dataclass(frozen=True, slots=True)
class Spendable:
    """What new work of a customer would be judged by; all that was committed before `as_of` is in it."""

    plan: str
    card: str | None
    multiplier_nanos: int
    plan_overrides: str | None
    """But for what tells dollars: top-ups, and what recurs."""
    credits: Credits
    free_micros: Mapping[str | None, int]
    """What is available in lots of each scope; None stands for those without."""
    finding: str | None
    """Why the customer takes no writes; None: it does."""
    as_of: datetime


class BudgetCounts(NamedTuple):
    """What budgets have counted; all that was committed before `as_of` is in it."""

    counters: Mapping[str, BudgetCounter]
    """By key."""
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

    async def upcoming(self, customer_id: str) -> dict[str, datetime]:
        """When what recurs by the customer's plan does so next, by its name; the earliest first."""
        async with self._at(customer_id) as (connection, key):
            rows = await connection.fetch(_UPCOMING.format(cell=key.cell), key.customer)
        rows.sort(key=lambda row: (row["next_at"], row["recurring"]))
        return {row["recurring"]: row["next_at"] for row in rows}

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
            credits=_credits_of(row),
            by_kind=tuple(KindBalance(*kind) for kind in row["by_kind"]),
            next_expiry=NextExpiry(row["expires_at"], row["micros"]) if row["expires_at"] else None,
            as_of=row["as_of"],
        )

    @property
    def history(self) -> int:
        """Another number on another history of the database, where keys of before may be others'."""
        return self._directory.forgotten

    async def key(self, customer_id: str) -> CustomerKey:
        """Where the books of the caller's customer are."""
        async with self._at(customer_id) as (_, key):
            return key

    async def balances(self, keys: Collection[CustomerKey]) -> Mapping[CustomerKey, BalanceSeen]:
        """What customers have, of those that are there: one statement a cell. Raises OtherHistoryError."""
        found = {}
        with self._directory.one_history():
            for cell in {key.cell for key in keys}:
                customers = [key.customer for key in keys if key.cell == cell]
                for row in await self._reader.fetch(_BALANCES.format(cell=cell), customers):
                    key = CustomerKey(row["customer"], cell)
                    found[key] = BalanceSeen(_credits_of(row), row["as_of"])
        return found

    async def budget_counts(
        self, customer_id: str, places_of: Callable[[str, str | None, str, datetime], Sequence[CounterPlace]]
    ) -> BudgetCounts:
        """What stands in budgets' counters.

        Where: a plan, the customer's own fields of it, a zone and this instant lead there.
        """
        async with self._at(customer_id) as (connection, key):
            row = await connection.fetchrow(_BUDGETED.format(cell=key.cell), key.customer)
            if row is None:
                raise CustomerNotFoundError(customer_id)
            places = places_of(row["plan"], row["plan_overrides"], row["zone"], row["as_of"])
            keys = [key for place in places for key in place.keys]
            counts = await connection.fetch(_COUNTS.format(cell=key.cell), key.customer, keys) if keys else ()
        used = {count["key"]: count["used"] for count in counts}
        states = {
            key: State(str(used[key]), place.ends_at) for place in places for key in place.keys if key in used
        }
        counters = read(places, states)
        return BudgetCounts({counter.key: counter for counter in counters}, row["as_of"])

    async def spendable(self, customer_id: str) -> Spendable:
        """The customer's policies, and what it may spend, by scope."""
        async with self._at(customer_id) as (connection, key):
            row = await connection.fetchrow(_SPENDABLE.format(cell=key.cell), key.customer)
        if row is None:
            raise CustomerNotFoundError(customer_id)
        return Spendable(
            plan=row["plan"],
            card=row["card"],
            multiplier_nanos=row["multiplier_nanos"],
            plan_overrides=row["plan_overrides"],
            credits=_credits_of(row),
            free_micros=dict(row["free"]),
            finding=row["finding"],
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

    async def grants(
        self, customer_id: str, before: LotKey, limit: int, wanted: GrantFilter = ANY_GRANT
    ) -> list[ListedGrant]:
        """The customer's grants, the newest first."""
        async with self._at(customer_id) as (connection, key):
            return await grants.of_customer(connection, key, wanted, before, limit)

    async def grants_of_reference(
        self, external_reference: str, expires_before: datetime | None, before: GrantPlace, limit: int
    ) -> list[tuple[str, ListedGrant]]:
        """Grants of one reference with their customers' ids, the newest customers first."""
        async with self._snapshot() as connection:
            found = [
                grant
                for cell in DEFAULT_CELLS
                for grant in await grants.of_reference(
                    connection, cell, external_reference, expires_before, before, limit
                )
            ]
            found.sort(key=lambda grant: (grant.customer, grant.lot.key), reverse=True)
            return await _with_names(connection, found[:limit])

    async def grants_expiring(
        self, instant: datetime, after: tuple[datetime, GrantPlace], limit: int
    ) -> list[tuple[str, ListedGrant]]:
        """Grants with credits left that expire before an instant, with their customers' ids.

        The next to expire come first, those after a place (`after`).
        """
        async with self._snapshot() as connection:
            found = [
                grant
                for cell in DEFAULT_CELLS
                for grant in await grants.expiring_before(connection, cell, instant, after, limit)
            ]
            found.sort(key=lambda grant: (grant.lot.expires_at, grant.customer, grant.lot.key))
            return await _with_names(connection, found[:limit])

    async def statement(self, customer_id: str, before: int, size: int) -> Page[Entry]:
        """The entries that moved credits of the customer's, without their lines."""
        return await self._page(customer_id, _STATEMENT, before, size, row_of=entry_of)

    async def events(
        self, customer_id: str, after: int, limit: int, types: Sequence[str]
    ) -> list[StoredEvent]:
        """The customer's events past its number `after`, the oldest first; of these types (none: of any)."""
        async with self._at(customer_id) as (connection, key):
            return await events_of_customer(connection, key.customer, after, limit, types)

    async def all_events(self, after: int, limit: int, types: Sequence[str]) -> list[StoredEvent]:
        """Events of all customers and of the house, past a number among all, the oldest first."""
        return await events_of_all(self._reader, after, limit, types)

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

    async def month(
        self, customer_id: str, query: StatementQuery, place: StatementPlace | None, size: int
    ) -> StatementPage:
        """The statement of a month: its totals, and lines of what was used and granted.

        Raises MonthNotBegunError, and ReportOutdatedError for a place of a statement by another zone.
        """
        async with self._at(customer_id, reports=True) as (connection, key):
            page = await month_statement(connection, key, query, place, size)
        if page is None:
            raise CustomerNotFoundError(customer_id)
        return page

    async def reservation(self, customer_id: str, sequence: int) -> Reservation | None:
        """The reservation that the entry `sequence` made."""
        async with self._at(customer_id) as (connection, key):
            row = await connection.fetchrow(_RESERVATION.format(cell=key.cell), key.customer, sequence)
        return reservation_of(row) if row is not None else None

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
            customer_id, _RESERVATIONS, before, size, state, _filter(labels), row_of=reservation_of
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
        return entry_of(row) if row is not None else None

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


async def _with_names(
    connection: PooledConnection, found: list[ListedGrant]
) -> list[tuple[str, ListedGrant]]:
    """Grants, each with its customer's id."""
    names = await connection.fetch(_NAMES, sorted({grant.customer for grant in found}))
    by_customer = {row["customer"]: row["customer_id"] for row in names}
    return [(by_customer[grant.customer], grant) for grant in found]


def _credits_of(row: asyncpg.Record) -> Credits:
    return Credits(pending=row["pending"], available=row["available"], held=row["held"], debt=row["debt"])


def _booked_of(row: asyncpg.Record) -> Booked:
    return Booked(entry_of(row), row["reversed"], row["refunded"])


def _filter(labels: Mapping[str, str]) -> str | None:
    return json.dumps(labels) if labels else None
