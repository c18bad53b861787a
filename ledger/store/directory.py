"""Who is a customer, in which cell it lives, and whom the clock waits for."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ledger.errors import NotNowError, RequestError
from ledger.store.audit import CUSTOMERS, customer_image, note
from ledger.store.cells import rows_out
from ledger.store.cells.columns import ENTRY, RENEWAL, WALLET, instant_of, shared_types
from ledger.store.cells.load import find_entries
from ledger.store.cells.write import new_token
from ledger.store.statements import statements_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from ledger.books.model.decisions import Decision
    from ledger.books.model.entries import Entry
    from ledger.store.audit import Act
    from ledger.store.postgres.database import Pool, PooledConnection

LOOK_UP_SECONDS = 10.0
"""After so long a look-up fails: whoever waits for it reads that the database is away."""

REMEMBERED_MAX = 20_000
"""Customers whose key is remembered: twice as many as have a wallet in memory."""

_SQL = statements_of(
    __name__,
    shared=shared_types(4),
    wallet_columns=", ".join(WALLET.names),
    wallet_values=WALLET.values(4),
    created_at=instant_of("x", "last_instant", 4),
    entry_columns=", ".join(ENTRY.names),
    entry_values=ENTRY.values(4),
    shared_with_renewals=shared_types(2),
    renewal_columns=", ".join(RENEWAL.names),
    renewal_values=RENEWAL.values(2),
)
FIND = _SQL["find"]
IDS_OF = _SQL["ids_of"]
ENTER = _SQL["enter"]
DUE = _SQL["due"]
_BORN = _SQL["born"]
_COMES_TO_PLAN = _SQL["comes_to_plan"]


class CustomerKey(NamedTuple):
    """A customer's number, and the cell that it lives in for good."""

    customer: int
    cell: str


@dataclass(frozen=True, slots=True)
class Created:
    key: CustomerKey
    entry: Entry
    replayed: bool
    """The same request had created the customer before."""


class CustomerExistsError(RequestError):
    """Another request has created a customer of this id."""


class OtherHistoryError(NotNowError, ConnectionError):
    """The database went on to another history while it was read: what was read may be of two."""


class RequestIdReusedError(RequestError):
    """The customer has an entry of this request id, made by another request."""


class Directory:
    """Customers' keys, by their ids.

    Neither a number nor a cell ever changes on one history of the database: what is known stays true until
    that is another one, when it has to be forgotten.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.forgotten = 0
        """How often: a key that was had before is to be looked up again."""
        self._known: OrderedDict[str, CustomerKey] = OrderedDict()
        self._asked: dict[str, asyncio.Future[CustomerKey | None]] = {}
        self._looking: asyncio.Task[None] | None = None

    def known(self, customer_id: str) -> CustomerKey | None:
        """The customer's key, if it is remembered."""
        return self._known.get(customer_id)

    def forget(self) -> None:
        """Forgets all keys: the database may have lost customers, and have others under their ids."""
        self.forgotten += 1
        self._known.clear()

    @contextmanager
    def one_history(self) -> Iterator[None]:
        """What is looked up and read in the block is of one history. Raises OtherHistoryError."""
        forgotten = self.forgotten
        yield
        if self.forgotten != forgotten:
            raise OtherHistoryError("the database is on another history: ask again")

    async def find(self, customer_id: str) -> CustomerKey | None:
        """The customer's key; None if there is no such customer. Raises the driver's errors.

        One look-up is on its way at a time, for all that were asked for before it began. It is never
        joined later: a customer that has been created since would not be found.
        """
        key = self._known.get(customer_id)
        if key is not None:
            return key
        asked = self._asked.get(customer_id)
        if asked is None:
            asked = self._asked[customer_id] = asyncio.get_running_loop().create_future()
            if self._looking is None:
                self._looking = asyncio.create_task(self._look_up())
        return await asyncio.shield(asked)

    async def _look_up(self) -> None:
        """Answers what is asked, until nothing is."""
        while self._asked:
            asked, self._asked = self._asked, {}
            try:
                found = await self._look(asked)
            except Exception as error:  # noqa: BLE001 -- all who asked get it
                for future in asked.values():
                    future.set_exception(error)
                continue
            self._remember(found)
            for customer_id, future in asked.items():
                future.set_result(found.get(customer_id))
        self._looking = None

    async def _look(self, asked: Iterable[str]) -> dict[str, CustomerKey]:
        """What there is of these, and nothing that was found before all was forgotten."""
        while True:
            forgotten = self.forgotten
            found = await find_customers(self._pool, asked)
            if self.forgotten == forgotten:
                return found

    def _remember(self, found: dict[str, CustomerKey]) -> None:
        self._known.update(found)
        while len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)


async def find_customers(pool: Pool, ids: Iterable[str]) -> dict[str, CustomerKey]:
    """The customers of these ids that exist."""
    records = await pool.fetch(FIND, list(ids), timeout=LOOK_UP_SECONDS)
    return {customer_id: CustomerKey(customer, cell) for customer_id, customer, cell in records}


async def customer_ids(pool: Pool, customers: Iterable[int]) -> dict[int, str]:
    """The ids of these customers."""
    records = await pool.fetch(IDS_OF, list(customers))
    return {record["customer"]: record["customer_id"] for record in records}


async def create_customer(
    pool: Pool, customer_id: str, cell: str, make: Callable[[int, datetime], Decision], by: Act
) -> Created:
    """Creates a customer: its directory row, wallet and first entry, and the act, in one transaction.

    `make` decides that entry for the number that the customer is given, at the database's time. Safe to
    repeat: the same request (by request id and fingerprint) gets its entry again. Raises CustomerExistsError
    and RequestIdReusedError.
    """
    async with pool.acquire() as connection, connection.transaction():
        entered = await connection.fetchrow(ENTER, customer_id, cell)
        if entered is None:
            return await _repeated(connection, customer_id, make)
        customer, now = entered
        decision = make(customer, now)
        shared = rows_out.Shared()
        wallet = rows_out.joined([rows_out.wallet_row(decision.wallet, shared, with_profile=True)])
        entry = rows_out.joined([rows_out.entry_row(decision.entry, shared)])
        born = _BORN.format(cell=cell, wallet_rows=WALLET.rows(cell, 1), entry_rows=ENTRY.rows(cell, 2))
        await connection.execute(born, wallet, entry, new_token(), *shared.parameters())
        if decision.renewals:
            await _come_to_plan(connection, cell, decision)
        made, image = decision.entry, customer_image(decision.wallet)
        await note(
            connection, by, f"{CUSTOMERS}{customer_id}", None, image, request_id=made.request_id, entry=made
        )
    return Created(CustomerKey(customer, cell), decision.entry, replayed=False)


async def _come_to_plan(connection: PooledConnection, cell: str, decision: Decision) -> None:
    """Notes that what recurs by the customer's plan is to begin."""
    shared = rows_out.Shared()
    customer = decision.entry.customer
    rows = rows_out.joined(
        [rows_out.renewal_row(customer, key, renewal, shared) for key, renewal in decision.renewals.items()]
    )
    text = _COMES_TO_PLAN.format(cell=cell, renewal_rows=RENEWAL.rows(cell, 1))
    await connection.execute(text, rows, *shared.parameters())


async def due_customers(pool: Pool, cell: str, now: datetime, limit: int) -> list[tuple[int, datetime]]:
    """Customers of the cell with something due by `now`, and since when; the most overdue first.

    Without those that take no writes.
    """
    return [tuple(record) for record in await pool.fetch(DUE.format(cell=cell), now, limit)]


async def _repeated(
    connection: PooledConnection, customer_id: str, make: Callable[[int, datetime], Decision]
) -> Created:
    """What a creation amounts to where the customer is there already."""
    [(_, customer, cell)] = await connection.fetch(FIND, [customer_id])
    asked = make(customer, await connection.fetchval("SELECT clock_timestamp()")).entry
    if asked.request_id is None:
        raise CustomerExistsError(customer_id)
    entries = await find_entries(connection, cell, [(customer, asked.request_id)])
    entry = entries.get((customer, asked.request_id))
    if entry is None:
        raise CustomerExistsError(customer_id)
    if entry.fingerprint != asked.fingerprint:
        raise RequestIdReusedError(asked.request_id)
    return Created(CustomerKey(customer, cell), entry, replayed=True)
