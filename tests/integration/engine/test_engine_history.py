"""A database that has gone back: an older copy of it is started under engines that know more than it does."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest
from engine_world import Config, World, fingerprint, pages

from ledger import books
from ledger.app import open_prices
from ledger.books.model.refusals import RefusalReason
from ledger.clock import DatabaseClock, boot_seconds
from ledger.engine.command import Committed, UnavailableError, all_done
from ledger.engine.engine import Engine
from ledger.metrics.operations import OperationsMetrics
from ledger.store.postgres.database import Database
from ledger.store.postgres.history import StandbyError
from ledger.store.postgres.migrate import migrate
from ledger.store.reading.reads import CustomerNotFoundError, Reads
from tests.amounts import CREDIT
from tests.databases import DatabaseUrls
from tests.faults.postgres import Postgres

ATTEMPTS_MAX = 100
"""Of a call, until the database that was started again has been found."""


class Cluster:
    """A server of the test's own on a copy of migrated data, which can be set back."""

    def __init__(self, directory: Path, migrated: Path) -> None:
        self.data = directory / "data"
        self._copy = directory / "copy"
        _copy(migrated, self.data)
        self.server = Postgres(self.data, (), None)
        self.urls = DatabaseUrls.by_socket("books", self.server.sockets)

    async def back_up(self) -> None:
        """Keeps a copy of the data as they are now."""
        self.server.stop()
        _copy(self.data, self._copy)
        await self.server.start()

    async def go_back(self) -> None:
        """Kills the server, and starts the copy: of the same identifier, on the same timeline."""
        self.server.kill()
        shutil.rmtree(self.data)
        _copy(self._copy, self.data)
        await self.server.start()


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", source, target], check=True)


@pytest.fixture(scope="module")
def migrated(clusters: Path) -> Iterator[Path]:
    """The data of a server that is stopped, with a migrated database."""
    server = Postgres.create(clusters / "history_before")
    asyncio.run(_migrate(server))
    server.stop()
    yield clusters / "history_before"
    server.remove()


async def _migrate(server: Postgres) -> None:
    await server.start()
    await server.create_database("books")
    await migrate(DatabaseUrls.by_socket("books", server.sockets).owner)


@pytest.fixture
async def cluster(clusters: Path, migrated: Path) -> AsyncIterator[Cluster]:
    directory = clusters / "history"
    directory.mkdir()
    made = Cluster(directory, migrated)
    await made.server.start()
    yield made
    made.server.stop()
    shutil.rmtree(directory)


Open = Callable[..., Awaitable[World]]


@pytest.fixture
async def engine_on(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens engines on the cluster, each with connections of its own, where files price a page at `each`."""
    async with AsyncExitStack() as life:

        async def begin(each: str = "1") -> World:
            urls = cluster.urls
            database = await Database.open(
                urls.owner, reader_url=urls.reader, finance_url=urls.finance, writer_url=urls.writer
            )
            life.push_async_callback(database.close)
            clock, asked_at = DatabaseClock(), boot_seconds()
            now = await database.reader.fetchval("SELECT clock_timestamp()")
            clock.observe(now, asked_at, boot_seconds())
            metrics = OperationsMetrics()
            publishing, _ = await open_prices(Config().write(tmp_path, each), database, clock.now, metrics)
            engine = Engine(database, publishing.prices, clock, metrics)
            engine.start(("cell_00",))
            life.push_async_callback(engine.drain)
            return World(engine, database, clock, publishing)

        yield begin


async def charge(world: World, customer_id: str, request_id: str, micros: int) -> Committed | books.Refusal:
    """A charge of credits, sent again while the database is away."""
    command = books.Charge(request_id, fingerprint(f"{request_id} {micros}"), micros)
    for _ in range(ATTEMPTS_MAX):
        try:
            return await world.execute(customer_id, command)
        except UnavailableError:
            continue
    raise AssertionError("the database was not found again")


async def available(world: World, customer_id: str) -> int:
    """What a read answers, asked again while the database is away."""
    reads = Reads(world.database.reader, world.database.reports, world.engine.directory)
    for _ in range(ATTEMPTS_MAX):
        try:
            return (await reads.balance(customer_id)).credits.available
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            continue
    raise AssertionError("the database was not found again")


async def journal(world: World) -> list[tuple[str, int, int, int]]:
    """Customer, sequence, and what is available then, as the entries sum up; of those who have a wallet."""
    rows = await world.database.finance.fetch(
        """
        SELECT c.customer_id, w.sequence, w.available, sum(e.available)::bigint AS booked
        FROM cell_00.wallets w
        JOIN ledger.customers c USING (customer)
        JOIN cell_00.entries e USING (customer)
        GROUP BY c.customer_id, w.sequence, w.available ORDER BY c.customer_id
        """
    )
    return [tuple(row) for row in rows]


async def take_step(world: World) -> None:
    """A look at what is published, again while the database is away."""
    for _ in range(ATTEMPTS_MAX):
        try:
            await world.publishing.step()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            continue
        return
    raise AssertionError("the database was not found again")


async def charge_page(world: World, customer_id: str, request_id: str) -> int:
    """Micro-credits that one page costs."""
    done = await world.execute(customer_id, books.Charge(request_id, fingerprint(request_id), None), pages(1))
    assert isinstance(done, Committed)
    return done.entry.credits.consumed


async def lose_prices(cluster: Cluster) -> None:
    """Sets back what is published, as of before the first version, under connections that live on."""
    connection = await asyncpg.connect(cluster.urls.owner)
    await connection.execute(
        "BEGIN; DELETE FROM ledger.price_versions; UPDATE ledger.price_generation SET generation = 0; COMMIT"
    )
    await connection.close()


async def test_a_wallet_of_the_same_sequence_on_another_history(cluster: Cluster, engine_on: Open) -> None:
    """A knows x at sequence 4, which is lost; B makes another 4: A's next charge rests on B's.

    100 granted, 40 charged by A and lost, 90 charged by B, 1 by A: 9 is left, and the journal sums to it.
    """
    a, b = await engine_on(), await engine_on()
    await a.customer("x", 100 * CREDIT)
    await cluster.back_up()
    assert isinstance(await charge(a, "x", "lost", 40 * CREDIT), Committed)
    await cluster.go_back()
    assert isinstance(await charge(b, "x", "b", 90 * CREDIT), Committed)
    done = await charge(a, "x", "a", CREDIT)
    assert isinstance(done, Committed)
    assert (done.entry.sequence, done.entry.after.available) == (4, 9 * CREDIT)
    assert await journal(b) == [("x", 4, 9 * CREDIT, 9 * CREDIT)]


async def test_a_refusal_rests_on_no_lost_history(cluster: Cluster, engine_on: Open) -> None:
    """Who has spent all on a lost history has it again. A repeat of what was lost books once."""
    a = await engine_on()
    await a.customer("x", 100 * CREDIT)
    await cluster.back_up()
    assert isinstance(await charge(a, "x", "lost", 100 * CREDIT), Committed)
    await cluster.go_back()
    assert isinstance(await charge(a, "x", "new", 30 * CREDIT), Committed)
    again = await charge(a, "x", "lost", 70 * CREDIT)
    assert isinstance(again, Committed)
    assert not again.replayed
    assert await journal(a) == [("x", 4, 0, 0)]


async def test_a_lost_customer_is_nobody_else(cluster: Cluster, engine_on: Open) -> None:
    """Of a customer who is lost nothing is booked on one who is created later, nor is her balance his.

    One server alone. His number is not given again, and his name is forgotten with the history it was on.
    """
    a = await engine_on()
    await cluster.back_up()
    await a.customer("lost", 100 * CREDIT)
    assert isinstance(await charge(a, "lost", "r", CREDIT), Committed)
    await cluster.go_back()
    with pytest.raises(CustomerNotFoundError):
        await available(a, "lost")
    await a.customer("new", 50 * CREDIT)
    refused = await charge(a, "lost", "r2", CREDIT)
    assert isinstance(refused, books.Refusal)
    assert refused.reason == RefusalReason.CUSTOMER_NOT_FOUND
    assert await available(a, "new") == 50 * CREDIT
    assert await journal(a) == [("new", 2, 50 * CREDIT, 50 * CREDIT)]


async def test_a_customer_created_again_is_found(cluster: Cluster, engine_on: Open) -> None:
    """A server that knows a lost customer by its old number reads and books on the new one of the same id."""
    a, b = await engine_on(), await engine_on()
    await cluster.back_up()
    await a.customer("x", 100 * CREDIT)
    assert await available(a, "x") == 100 * CREDIT
    await cluster.go_back()
    await b.customer("x", 7 * CREDIT)
    assert await available(a, "x") == 7 * CREDIT
    assert isinstance(await charge(a, "x", "r", 2 * CREDIT), Committed)
    assert await journal(a) == [("x", 3, 5 * CREDIT, 5 * CREDIT)]


async def test_prices_of_a_lost_history_are_forgotten(cluster: Cluster, engine_on: Open) -> None:
    """Versions that were published and lost are in force no more; what the files say is published again."""
    await cluster.back_up()
    a = await engine_on()
    assert a.publishing.prices.published.generation == 2
    await cluster.go_back()
    await take_step(a)
    rows = await a.database.finance.fetch("SELECT kind, number FROM ledger.price_versions ORDER BY kind")
    assert [tuple(row) for row in rows] == [("CARD", 1), ("COSTS", 1)]
    assert a.publishing.prices.published.generation == 2


async def test_the_number_of_a_lost_version_prices_as_the_new_one(cluster: Cluster, engine_on: Open) -> None:
    """A server that knew version 1 at 1 credit a page, which is lost, takes 3 where the new one does."""
    await cluster.back_up()
    a = await engine_on()
    await a.customer("lost", 100 * CREDIT)
    assert await charge_page(a, "lost", "r") == CREDIT
    await cluster.go_back()
    b = await engine_on(each="3")
    await b.customer("x", 100 * CREDIT)
    await take_step(a)
    assert await charge_page(a, "x", "r") == 3 * CREDIT
    assert await charge_page(b, "x", "r2") == 3 * CREDIT


async def test_prices_restored_in_place(cluster: Cluster, engine_on: Open) -> None:
    """As many versions are published as before, and no connection is lost: all the same they are told apart.

    A page costs 3 credits now, where it cost 1; all that was known is forgotten, once.
    """
    a = await engine_on()
    await a.customer("x", 100 * CREDIT)
    assert await charge_page(a, "x", "r1") == CREDIT
    await lose_prices(cluster)
    b = await engine_on(each="3")
    assert b.publishing.prices.published.generation == a.publishing.prices.published.generation
    await a.publishing.step()
    assert a.database.history.turns == 1
    assert await charge_page(a, "x", "r2") == 3 * CREDIT
    await a.publishing.step()
    assert a.database.history.turns == 1


async def test_a_batch_is_not_written_on_another_history(cluster: Cluster, engine_on: Open) -> None:
    """What was decided by prices of a lost history and not sent is decided again, though its wallet stands.

    1 credit a page then, 3 now.
    """
    a = await engine_on()
    await a.customer("x", 100 * CREDIT)
    assert await charge_page(a, "x", "r1") == CREDIT
    await lose_prices(cluster)
    await engine_on(each="3")
    charging = a.engine.begin("x", books.Charge("r2", fingerprint("r2"), None), pages(1))
    a.database.history.turn(a.clock.now())
    await all_done((charging,))
    done = charging.result()
    assert isinstance(done, Committed)
    assert done.entry.credits.consumed == 3 * CREDIT


async def test_a_standby_is_not_used(cluster: Cluster) -> None:
    """What a standby shows may be old, and it takes no write: connections to one are refused."""
    cluster.server.stop()
    (cluster.data / "standby.signal").touch()
    await cluster.server.start()
    urls = cluster.urls
    with pytest.raises(StandbyError, match="primary"):
        await Database.open(
            urls.owner, reader_url=urls.reader, finance_url=urls.finance, writer_url=urls.writer
        )
