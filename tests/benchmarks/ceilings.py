"""What the service is held against: the database and the store without the rest of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import datetime
from itertools import count, cycle, islice
from time import perf_counter
from typing import TYPE_CHECKING

from ledger.store import codec
from ledger.store.database import WRITER
from ledger.store.load import LoadRequest, load
from ledger.store.write import Batch, write
from tests.benchmarks.desk import Desk
from tests.benchmarks.postgres import CELL

if TYPE_CHECKING:
    from ledger.books import Wallet
    from ledger.store.codec import Row
    from ledger.store.database import Connection

_TABLE = "bench.inserted"
_INSERT = f"INSERT INTO {_TABLE} (id, content) VALUES ($1, $2)"
_INSERT_MANY = f"INSERT INTO {_TABLE} (id, content) SELECT * FROM unnest($1::bigint[], $2::bytea[])"
_NUMBER_BYTES = 8
_AHEAD = 4
"""Calls' worth of pairs decided ahead of the clock: nothing may be written more than 5 s after that."""


async def make_table(owner: Connection) -> None:
    """The table of the bare inserts: a key, and as many bytes as a row of the books has."""
    await owner.execute("CREATE SCHEMA bench")
    await owner.execute(f"CREATE TABLE {_TABLE} (id bigint PRIMARY KEY, content bytea NOT NULL)")
    await owner.execute(f"ALTER TABLE {_TABLE} ALTER content SET STORAGE PLAIN")
    await owner.execute(f"GRANT USAGE ON SCHEMA bench TO {WRITER}")
    await owner.execute(f"GRANT INSERT ON {_TABLE} TO {WRITER}")


class BareInserts:
    """Rows of the bytes that the writes have, into a table with a key: all that the database must do."""

    def __init__(self, connection: Connection, customers: range) -> None:
        self._connection = connection
        self._desk = Desk()
        for customer in customers:
            self._desk.create(customer)
        self._desk.grants(customers)
        self._customers = cycle(customers)
        self._ids = count(1)

    def single(self) -> Callable[[], Awaitable[object]]:
        """Inserts one row, of the size of a hold's entry, and commits."""
        batch, _ = self._desk.reserves(islice(self._customers, 1))
        content = bytes(_size(codec.entry_row(batch.entries[0])))

        async def insert() -> object:
            return await self._connection.execute(_INSERT, next(self._ids), content)

        return insert

    async def pairs_per_second(self, items: int, seconds: float) -> float:
        """One statement for each call's rows, one after the other; only the statements count."""
        reserves, holds = self._desk.reserves(islice(self._customers, items))
        calls = [_contents(batch) for batch in (reserves, self._desk.commits(holds))]
        pairs, taken = 0, 0.0
        while taken < seconds:
            for contents in calls:
                ids = list(islice(self._ids, len(contents)))
                began = perf_counter()
                await self._connection.execute(_INSERT_MANY, ids, contents)
                taken += perf_counter() - began
            pairs += items
        return pairs / taken


class StoreAlone:
    """`ledger.store.write.write` with the batches of the same pairs, decided before the clock starts."""

    def __init__(self, connection: Connection, wallets: Iterable[Wallet]) -> None:
        """Takes customers whom nobody else writes."""
        self._connection = connection
        self._desk = Desk()
        customers = [self._desk.take(wallet) for wallet in wallets]
        self._customers = cycle(customers)

    @classmethod
    async def open(cls, connection: Connection, customers: range) -> StoreAlone:
        """Loads the customers."""
        loaded = await load(connection, CELL, [LoadRequest(customer) for customer in customers])
        return cls(connection, [loaded[customer].wallet for customer in customers])

    async def pairs_per_second(self, items: int, seconds: float) -> float:
        """One statement for each call, one after the other, as one writer ships them."""
        pairs, taken = 0, 0.0
        while taken < seconds:
            batches = list(self._decide(items))
            began = perf_counter()
            for batch in batches:
                written = await write(self._connection, CELL, batch)
                if written.customers != batch.before.keys():
                    raise AssertionError("nobody else writes these customers, and the batch is fresh")
            taken += perf_counter() - began
            pairs += _AHEAD * items
        return pairs / taken

    def _decide(self, items: int) -> Iterator[Batch]:
        for _ in range(_AHEAD):
            reserves, holds = self._desk.reserves(islice(self._customers, items))
            yield reserves
            yield self._desk.commits(holds)


def _contents(batch: Batch) -> list[bytes]:
    """As many zeros for each row as the row has bytes."""
    return [bytes(_size(row)) for row in _rows(batch)]


def _rows(batch: Batch) -> Iterator[Row]:
    """The rows that a batch inserts or changes: a changed row is written whole, too."""
    for wallet in batch.wallets.values():
        yield codec.wallet_row(wallet)
    for entry in batch.entries:
        yield codec.entry_row(entry)
        if entry.money is not None:
            yield codec.money_row(entry, entry.money)
    for (customer, _), (reservation, _) in batch.reservations.items():
        yield codec.reservation_row(customer, reservation)
    for (customer, _), (lot, _) in batch.lots.items():
        yield codec.lot_row(customer, lot)


def _size(row: Row) -> int:
    return sum(_value_size(value) for value in row)


def _value_size(value: str | bytes | bool | int | datetime | None) -> int:
    match value:
        case None:
            return 0
        case bool():
            return 1
        case str():
            return len(value.encode())
        case bytes():
            return len(value)
        case _:
            return _NUMBER_BYTES
