"""What the service is held against: the database and the store without the rest of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import count, cycle, islice
from time import perf_counter
from typing import TYPE_CHECKING

from ledger.store.cells.load import Loaded, LoadRequest, load
from ledger.store.cells.write import Batch, write
from ledger.store.postgres.database import WRITER
from tests.benchmarks.desk import Desk
from tests.benchmarks.postgres import CELL

if TYPE_CHECKING:
    from ledger.store.postgres.database import Connection

_TABLE = "bench.inserted"
_INSERT = f"INSERT INTO {_TABLE} (id, content) VALUES ($1, $2)"
_INSERT_MANY = f"INSERT INTO {_TABLE} (id, content) SELECT * FROM unnest($1::bigint[], $2::bytea[])"
_WITHOUT_CONTENT_BYTES = 24 + 8 + 4
"""Of a row of the bare table: its header, its key, the length of its content."""
# The rows that a batch has inserted or changed, and the bytes of each: a changed row is written whole, too.
_SIZES = f"""
SELECT pg_column_size(w.*) AS size FROM {CELL}.wallets w WHERE w.customer = ANY($1::bigint[])
UNION ALL
SELECT pg_column_size(e.*)
FROM unnest($2::bigint[], $3::bigint[]) x(customer, sequence) JOIN {CELL}.entries e USING (customer, sequence)
UNION ALL
SELECT pg_column_size(m.*)
FROM unnest($2::bigint[], $3::bigint[]) x(customer, sequence) JOIN {CELL}.money m USING (customer, sequence)
UNION ALL
SELECT pg_column_size(r.*)
FROM unnest($4::bigint[], $5::bigint[]) x(customer, sequence)
JOIN {CELL}.reservations r USING (customer, sequence)
UNION ALL
SELECT pg_column_size(t.*)
FROM unnest($6::bigint[], $7::bigint[], $8::integer[]) x(customer, sequence, n)
JOIN {CELL}.lots t USING (customer, sequence, n)
"""
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

    def __init__(self, connection: Connection, store: StoreAlone) -> None:
        """The rows are those of writes of `store`."""
        self._connection = connection
        self._store = store
        self._ids = count(1)

    async def single(self) -> Callable[[], Awaitable[object]]:
        """Inserts one row, of the size of a hold's entry, and commits."""
        [(_, entry, *_), _] = await self._store.sizes(1)
        content = bytes(entry)

        async def insert() -> object:
            return await self._connection.execute(_INSERT, next(self._ids), content)

        return insert

    async def pairs_per_second(self, items: int, seconds: float) -> float:
        """One statement for each call's rows, one after the other; only the statements count."""
        calls = [[bytes(size) for size in sizes] for sizes in await self._store.sizes(items)]
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
    """The write of cells with the batches of the same pairs, decided before the clock starts."""

    def __init__(self, connection: Connection, loaded: Iterable[Loaded]) -> None:
        """Takes customers whom nobody else writes."""
        self._connection = connection
        self._desk = Desk()
        customers = [self._desk.take(each) for each in loaded]
        self._customers = cycle(customers)

    @classmethod
    async def open(cls, connection: Connection, customers: range) -> StoreAlone:
        """Loads the customers."""
        loaded = await load(connection, CELL, [LoadRequest(customer) for customer in customers])
        return cls(connection, [loaded[customer] for customer in customers])

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

    async def sizes(self, items: int) -> list[list[int]]:
        """Writes so many pairs; the bytes of each row that the holds have written, and the commits."""
        reserves, holds = self._desk.reserves(islice(self._customers, items))
        sizes = []
        for batch in (reserves, self._desk.commits(holds)):
            await write(self._connection, CELL, batch)
            entries = [(entry.customer, entry.sequence) for entry in batch.entries]
            lots = [(customer, *key) for customer, key in batch.lots]
            keys = [*_columns(entries, 2), *_columns(batch.reservations, 2), *_columns(lots, 3)]
            rows = await self._connection.fetch(_SIZES, list(batch.wallets), *keys)
            sizes.append([max(0, row["size"] - _WITHOUT_CONTENT_BYTES) for row in rows])
        return sizes


def _columns(rows: Iterable[tuple[int, ...]], width: int) -> list[list[int]]:
    """Rows as a list for each of their columns."""
    taken = list(rows)
    return [[row[column] for row in taken] for column in range(width)]
