"""The embedded PostgreSQL of a run, and the books in it: the store makes one customer, the rest are copies.

A copy has the rows of the first customer under a number of its own, in transactions of about a batch's size,
in the order in which a service would have written them.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple

import asyncpg

from ledger.store.cells import columns
from ledger.store.cells.load import LoadRequest, load
from ledger.store.cells.write import write
from ledger.store.finance.rollups import advance
from ledger.store.postgres.database import Connection, Database
from ledger.store.postgres.embedded import EmbeddedPostgres
from ledger.store.postgres.migrate import migrate
from tests.acts import ACT
from tests.benchmarks import workload
from tests.benchmarks.desk import Desk
from tests.customers import create_customer
from tests.databases import DatabaseUrls

CELL = "cell_00"
_CHUNK_CUSTOMERS = 1_000
_CHUNK_ENTRIES = 2
_ROLL_UP_ENTRIES = 5_000
_DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
_BY_SEQUENCE = {"entries": columns.ENTRY, "money": columns.MONEY, "reservations": columns.RESERVATION}


class Books(NamedTuple):
    """A database, as URLs by role, and how many customers it has."""

    owner: str
    reader: str
    finance: str
    writer: str
    customers: int

    @property
    def numbers(self) -> range:
        return range(1, self.customers + 1)

    @property
    def environment(self) -> Mapping[str, str]:
        """What a server is told of it."""
        return DatabaseUrls(self.owner, self.reader, self.finance, self.writer).environment


@contextmanager
def postgres(directory: Path) -> Iterator[EmbeddedPostgres]:
    """A new server on an empty directory, which goes with it."""
    shutil.rmtree(directory, ignore_errors=True)
    server = EmbeddedPostgres.start(directory)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """A connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def opened(books: Books) -> AsyncIterator[Database]:
    """Its pools."""
    database = await _open(books)
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def writer(books: Books) -> AsyncIterator[Connection]:
    """A connection as a cell's writer has it."""
    database = await _open(books)
    connection = await database.connect_writer("bench")
    try:
        yield connection
    finally:
        await connection.close()
        await database.close()


async def require_durable(url: str) -> None:
    """Refuses a server that would answer before a commit is on disk."""
    async with connected(url) as connection:
        for setting, wanted in _DURABLE.items():
            value = await connection.fetchval(f"SHOW {setting}")
            if value != wanted:
                raise SystemExit(f"{setting} is {value}: figures count with {wanted} only")


async def make_books(server: EmbeddedPostgres, name: str, customers: int, pairs_each: int) -> Books:
    """A database of customers, each with its grants and so many pairs of a hold and its commit."""
    async with connected(server.url) as connection:
        await connection.execute(f"CREATE DATABASE {name}")
    own = f"/{name}?"
    books = Books(
        owner=server.url.replace("/postgres?", own),
        reader=server.reader_url.replace("/postgres?", own),
        finance=server.finance_url.replace("/postgres?", own),
        writer=server.writer_url.replace("/postgres?", own),
        customers=customers,
    )
    await migrate(books.owner)
    async with connected(books.owner) as connection:
        # The first customer is number 1, and copied to the numbers that follow.
        await connection.execute("ALTER TABLE ledger.customers ALTER customer SET DEFAULT 1")
    last = await _make_first(books, pairs_each)
    async with connected(books.owner) as connection:
        # What is lost with the machine now is made again with the next run.
        await connection.execute("SET synchronous_commit = off")
        await _copy_first(connection, customers, last)
        await _roll_up(books)
        await _tidy(connection)
    return books


async def _roll_up(books: Books) -> None:
    """As the tailer does it, in larger steps."""
    database = await _open(books)
    while (step := await advance(database.writer, CELL, _ROLL_UP_ENTRIES)) is not None and step.behind:
        pass
    await database.close()


async def _make_first(books: Books, pairs: int) -> int:
    """The first customer, as the service writes it; its last sequence."""
    desk = Desk()
    database = await _open(books)
    try:
        await create_customer(database.writer, workload.customer_id(1), CELL, desk.create, ACT)
        connection = await database.connect_writer("bench")
        desk.take((await load(connection, CELL, [LoadRequest(1)]))[1])
        await write(connection, CELL, desk.grants([1]))
        for _ in range(pairs):
            batch, holds = desk.reserves([1])
            await write(connection, CELL, batch)
            await write(connection, CELL, desk.commits(holds))
        await connection.close()
    finally:
        await database.close()
    return desk.wallet(1).sequence


async def _copy_first(connection: Connection, customers: int, last: int) -> None:
    for first in range(2, customers + 1, _CHUNK_CUSTOMERS):
        chunk = (first, min(first + _CHUNK_CUSTOMERS - 1, customers))
        for sequence in range(1, last + 1, _CHUNK_ENTRIES):
            async with connection.transaction():
                for table, kind in _BY_SEQUENCE.items():
                    names = ", ".join(kind.names[1:])
                    await connection.execute(
                        f"""
                        INSERT INTO {CELL}.{table} (customer, {names})
                        SELECT x.customer, {kind.select("t").split(", ", 1)[1]}
                        FROM {CELL}.{table} t, generate_series($1::bigint, $2::bigint) AS x(customer)
                        WHERE t.customer = 1 AND t.sequence BETWEEN $3 AND $4 ORDER BY t.sequence, x.customer
                        """,
                        *chunk,
                        sequence,
                        sequence + _CHUNK_ENTRIES - 1,
                    )
        async with connection.transaction():
            await _copy_state(connection, chunk)


async def _copy_state(connection: Connection, chunk: tuple[int, int]) -> None:
    """The rows that are changed in place: once, as they are at the end."""
    wallet = f"{', '.join(columns.WALLET.names[1:])}, created_at, token"
    lot = ", ".join(columns.LOT.names[1:])
    for table, names in (
        ("wallets", wallet),
        ("lots", lot),
        ("lot_values", "sequence, n, value_nanousd"),
    ):
        await connection.execute(
            f"""
            INSERT INTO {CELL}.{table} (customer, {names})
            SELECT x.customer, {", ".join(f"t.{name.strip()}" for name in names.split(","))}
            FROM {CELL}.{table} t, generate_series($1::bigint, $2::bigint) AS x(customer)
            WHERE t.customer = 1 ORDER BY x.customer
            """,
            *chunk,
        )
    await connection.execute(
        """
        INSERT INTO ledger.customers (customer, customer_id, cell)
        SELECT n, 'customer-' || lpad(n::text, 7, '0'), $3
        FROM generate_series($1::bigint, $2::bigint) AS n
        """,
        *chunk,
        CELL,
    )


async def _tidy(connection: Connection) -> None:
    """As a while of service leaves the books. No empty table is analysed: a plan made for one would stay."""
    for table in ("wallets", "entries", "money", "reservations", "lots", "lot_values"):
        if await connection.fetchval(f"SELECT EXISTS (SELECT FROM {CELL}.{table})"):
            await connection.execute(f"VACUUM (ANALYZE) {CELL}.{table}")
    await connection.execute("VACUUM (ANALYZE) ledger.customers")
    await connection.execute("CHECKPOINT")


async def _open(books: Books) -> Database:
    return await Database.open(
        books.owner, reader_url=books.reader, finance_url=books.finance, writer_url=books.writer
    )
