"""Who is a customer, in which cell it lives, and whom the clock waits for."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ledger.errors import NotNowError, RequestError
from ledger.store.audit import CUSTOMERS, Audited, customer_image
from ledger.store.cells import rows_out
from ledger.store.cells.columns import AUDIT, ENTRY, RENEWAL, WALLET, instant_of, shared_types
from ledger.store.cells.load import find_entries
from ledger.store.cells.write import new_token
from ledger.store.statements import statements_of
from ledger.turns import LINES_AT_ONCE, Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
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
    shared=shared_types(5),
    wallet_columns=", ".join(WALLET.names),
    wallet_values=WALLET.values(5),
    created_at=instant_of("x", "last_instant", 5),
    entry_columns=", ".join(ENTRY.names),
    entry_values=ENTRY.values(5),
    audit_columns=", ".join(AUDIT.names),
    audit_values=AUDIT.select("x"),
    customers=CUSTOMERS,
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


class NewCustomer(NamedTuple):
    """A customer that is to be created."""

    customer_id: str
    make: Callable[[int, datetime], Decision]
    """Decides its first entry, for the number that it is given, at the database's time."""


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


async def create_customers(
    pool: Pool, cell: str, asked: Sequence[NewCustomer], by: Act
) -> list[Created | CustomerExistsError | RequestIdReusedError]:
    """Creates customers in one transaction: of each its directory row, wallet and first entry, and the act.

    What became of each, in their order. Safe to repeat: where there is a customer of the id already, or one
    was asked for before, the same request (by request id and fingerprint) gets its entry again.
    """
    async with pool.acquire() as connection, connection.transaction():
        ids = list({each.customer_id for each in asked})
        entered = await connection.fetch(ENTER, ids, cell)
        numbers = {record["customer_id"]: record["customer"] for record in entered}
        now = max((record["now"] for record in entered), default=None)
        created: dict[int, Decision] = {}
        repeated: dict[int, NewCustomer] = {}
        for index, each in enumerate(asked):
            number = numbers.pop(each.customer_id, None)
            if number is None or now is None:
                repeated[index] = each
            else:
                created[index] = each.make(number, now)
        if created:
            await _bear(connection, cell, created.values(), by)
        found = await _repeated(connection, repeated) if repeated else {}
    for index, decision in created.items():
        key = CustomerKey(decision.entry.customer, cell)
        found[index] = Created(key, decision.entry, replayed=False)
    return [found[index] for index in range(len(asked))]


async def _bear(connection: PooledConnection, cell: str, decided: Collection[Decision], by: Act) -> None:
    """Writes what has been decided of new customers."""
    shared, turns = rows_out.Shared(), Turns(LINES_AT_ONCE)
    wallets, entries, acts = [], [], []
    for decision in decided:
        wallets.append(rows_out.wallet_row(decision.wallet, shared, with_profile=True))
        entries.append(rows_out.entry_row(decision.entry, shared))
        act = Audited(by, decision.entry, None, customer_image(decision.wallet))
        acts.append(rows_out.audit_row(act))
        await turns.after(3)
    born = _BORN.format(
        cell=cell,
        wallet_rows=WALLET.rows(cell, 1),
        entry_rows=ENTRY.rows(cell, 2),
        audit_rows=AUDIT.rows(cell, 3),
    )
    rows = map(rows_out.joined, (wallets, entries, acts))
    await connection.execute(born, *rows, new_token(), *shared.parameters())
    if any(decision.renewals for decision in decided):
        await _come_to_plan(connection, cell, decided)


async def _come_to_plan(connection: PooledConnection, cell: str, decided: Iterable[Decision]) -> None:
    """Notes that what recurs by the customers' plans is to begin."""
    shared = rows_out.Shared()
    rows = [
        rows_out.renewal_row(decision.entry.customer, key, renewal, shared)
        for decision in decided
        for key, renewal in decision.renewals.items()
    ]
    text = _COMES_TO_PLAN.format(cell=cell, renewal_rows=RENEWAL.rows(cell, 1))
    await connection.execute(text, rows_out.joined(rows), *shared.parameters())


async def _repeated(
    connection: PooledConnection, asked: Mapping[int, NewCustomer]
) -> dict[int, Created | CustomerExistsError | RequestIdReusedError]:
    """What creations amount to, by their numbers, whose customers are there already."""
    records = await connection.fetch(FIND, [each.customer_id for each in asked.values()])
    now = await connection.fetchval("SELECT clock_timestamp()")
    keys = {customer_id: CustomerKey(customer, cell) for customer_id, customer, cell in records}
    again = {n: each.make(keys[each.customer_id].customer, now).entry for n, each in asked.items()}
    ids = [(entry.customer, entry.request_id) for entry in again.values() if entry.request_id is not None]
    entries: dict[tuple[int, str], Entry] = {}
    for cell in {key.cell for key in keys.values()}:
        entries |= await find_entries(connection, cell, ids)
    return {
        n: _of_entry(asked[n].customer_id, keys, entry, entries.get((entry.customer, entry.request_id or "")))
        for n, entry in again.items()
    }


def _of_entry(
    customer_id: str, keys: Mapping[str, CustomerKey], asked: Entry, entry: Entry | None
) -> Created | CustomerExistsError | RequestIdReusedError:
    """What a creation amounts to whose customer is there, by the entry of its request id, if there is one."""
    if entry is None:
        return CustomerExistsError(customer_id)
    if entry.fingerprint != asked.fingerprint:
        return RequestIdReusedError(asked.request_id)
    return Created(keys[customer_id], entry, replayed=True)


async def due_customers(pool: Pool, cell: str, now: datetime, limit: int) -> list[tuple[int, datetime]]:
    """Customers of the cell with something due by `now`, and since when; the most overdue first.

    Without those that take no writes.
    """
    return [tuple(record) for record in await pool.fetch(DUE.format(cell=cell), now, limit)]
