"""All that a run needs, made once: three books, their servers, the bare server, clients of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import grpc.aio

from ledger.client import Credits
from ledger.client.channel import Access
from ledger.store.postgres.embedded import EmbeddedPostgres
from ledger.v1.credit_service_pb2_grpc import CreditServiceStub
from ledger.v1.wallet_service_pb2_grpc import WalletServiceStub
from tests.benchmarks import load
from tests.benchmarks.ceilings import make_table
from tests.benchmarks.echo import METHOD
from tests.benchmarks.keys import make_access, secure
from tests.benchmarks.postgres import Books, connected, make_books, require_durable, writer
from tests.benchmarks.processes import SERVE, Program, Server, echoing, serving
from tests.benchmarks.report import Say
from tests.benchmarks.sizes import Size
from tests.benchmarks.store_before import StoreBefore, store_before

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ledger.store.postgres.database import Connection
    from ledger.v1.credit_service_pb2_grpc import CreditServiceAsyncStub
    from ledger.v1.wallet_service_pb2_grpc import WalletServiceAsyncStub

PAIR_ENTRIES = 2
_OPEN = Access()
_NO_TLS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Service:
    """A server, stubs of it on one channel, and a product's client."""

    server: Server
    credits: CreditServiceAsyncStub
    wallet: WalletServiceAsyncStub
    client: Credits


@dataclass(frozen=True, slots=True)
class Stage:
    size: Size
    logs: Path
    empty: Service
    """Its journal holds no more than customers and grants when the run begins."""
    empty_books: Books
    second: Service
    """Another server of the same books."""
    full: Service
    """Its journal holds a million entries."""
    full_books: Books
    cold: Service
    """Its customers do not fit into memory."""
    cold_books: Books
    budgeted_books: Books
    """Whose customers come to another plan: nobody serves them yet."""
    due_books: Books
    """Whose grants are to expire: nobody serves them yet."""
    keyed: Service
    """As `empty`, with books of its own in which there is a key."""
    keyed_books: Books
    secured: Service
    """Another server of them, by TLS."""
    echo: Callable[[bytes], Awaitable[bytes]]
    before: StoreBefore
    """The store of 0.1.0."""
    database: Connection
    """As a cell's writer has it, to the books of `empty`."""

    async def settle(self) -> None:
        """Waits until all servers have done what earlier turns have left them."""
        services = (self.empty, self.second, self.full, self.cold, self.keyed, self.secured)
        await asyncio.gather(*(each.server.settle() for each in services))


@asynccontextmanager
async def staged(server: EmbeddedPostgres, size: Size, logs: Path, say: Say) -> AsyncIterator[Stage]:
    """Makes the books, and starts what a run needs."""
    await require_durable(server.url)
    say(f"Making books: {size.customers:,} customers, an empty journal")
    empty = await make_books(server, "bench_empty", size.customers, 0)
    say(f"Making books: {size.customers:,} customers, {size.journal_entries:,} entries")
    pairs_each = size.journal_entries // PAIR_ENTRIES // size.customers
    full = await make_books(server, "bench_full", size.customers, pairs_each)
    say(f"Making books: {size.cold_customers:,} customers")
    cold = await make_books(server, "bench_cold", size.cold_customers, 0)
    budgeted = await make_books(server, "bench_budgeted", size.budgeted_customers, 0)
    due = await make_books(server, "bench_due", size.due_customers, 0)
    keyed = await make_books(server, "bench_keyed", size.customers, 0)
    key = await make_access(keyed)
    async with connected(empty.owner) as owner:
        await make_table(owner)
    async with AsyncExitStack() as life:
        certificates = Path(life.enter_context(TemporaryDirectory()))

        async def serve(
            books: Books, name: str, access: Access = _OPEN, tls: Mapping[str, str] = _NO_TLS
        ) -> Service:
            settings = {**books.environment, **tls}
            return await life.enter_async_context(service(settings, logs / f"{name}.log", access))

        bare = await life.enter_async_context(echoing(logs / "echo.log"))
        channel = await life.enter_async_context(load.channel(bare))
        echo: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        stage = Stage(
            size,
            logs,
            empty=await serve(empty, "empty"),
            empty_books=empty,
            second=await serve(empty, "second"),
            full=await serve(full, "full"),
            full_books=full,
            cold=await serve(cold, "cold"),
            cold_books=cold,
            budgeted_books=budgeted,
            due_books=due,
            keyed=await serve(keyed, "keyed", key),
            keyed_books=keyed,
            secured=await serve(keyed, "secured", *secure(key, certificates)),
            echo=echo,
            before=await life.enter_async_context(store_before(server, logs / "store-before.log")),
            database=await life.enter_async_context(writer(empty)),
        )
        say("Waiting until the rollups have caught up")
        await stage.settle()
        yield stage


@asynccontextmanager
async def service(
    settings: Mapping[str, str], log: Path, access: Access = _OPEN, program: Program = SERVE
) -> AsyncIterator[Service]:
    """A server with these settings, and a client of it."""
    async with (
        serving(settings, log, access, program) as server,
        load.channel(server.target, access) as channel,
        Credits.with_access(server.target, access) as client,
    ):
        yield Service(server, CreditServiceStub(channel), WalletServiceStub(channel), client)
