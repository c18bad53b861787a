"""The scene of a fault: a database, servers, the clients' journal; and its end, settling and comparing."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import grpc

from ledger.finance.v1.finance_service_pb2 import VerifyJournalRequest
from ledger.v1.wallet_service_pb2 import GetBalanceRequest
from tests.databases import DatabaseUrls
from tests.faults.calls import attempt
from tests.faults.compare import Findings, compare
from tests.faults.entry import ENTRY
from tests.faults.journal import Journal, Record
from tests.faults.planted import BUGS
from tests.faults.postgres import Postgres, backends
from tests.faults.servers import SERVE, Server
from tests.faults.workload import PAUSE_SECONDS, Reached, Worker, make_customer

CLIENTS = 8
CUSTOMERS = 12
SETTLE_SECONDS = 120.0
BALANCE_READS_MAX = 3
"""A hold may expire between the two looks, and another."""
_CUSTOMER_CREDITS = 1_000_000
_NO_SETTINGS: Mapping[str, str] = {}
_BALANCE = """
    SELECT w.available, w.held, -w.debt FROM cell_00.wallets w JOIN ledger.customers c USING (customer)
    WHERE c.customer_id = $1
"""


@dataclass(slots=True)
class Result:
    """Of one fault."""

    fault: str
    injected: int = 0
    findings: Findings = field(default_factory=Findings)
    notes: dict[str, object] = field(default_factory=dict)
    """Figures of the fault's own."""


class BrokenOffError(Exception):
    """A fault could not be carried through; `result` is what was found until then, and counts."""

    def __init__(self, result: Result) -> None:
        super().__init__(f"{result.fault}: broken off after {result.injected} injections")
        self.result = result


@dataclass(slots=True)
class World:
    """What all faults share."""

    postgres: Postgres
    directory: Path
    """For sockets and the like; with a short name."""
    build: Path
    seed: int
    bug: str = ""
    """Planted into every server; of `planted.BUGS`."""

    def rng(self, name: str) -> random.Random:
        """The chances of one part, the same in each run."""
        return random.Random(f"{self.seed} {name}")  # noqa: S311 -- chances, not secrets


class Scene:
    """One fault's database, servers and journal."""

    def __init__(self, world: World, name: str, sockets: Path) -> None:
        self.world = world
        self.name = name
        self.database = re.sub(r"\W", "_", f"{name}_{world.bug}")
        self.result = Result(name)
        self.journal = Journal(name)
        self.rng = world.rng(name)
        self.servers: list[Server] = []
        self.customers: list[str] = []
        self._workers: list[Worker] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.urls = DatabaseUrls.by_socket(self.database, sockets)

    # -- servers ---------------------------------------------------------------------------------

    async def serve(
        self, count: int = 1, *, arguments: Sequence[str] = (), settings: Mapping[str, str] = _NO_SETTINGS
    ) -> Server:
        """Starts so many servers, one after the other, with these settings too; the first of all."""
        for _ in range(count):
            server = Server(
                f"server-{len(self.servers)}",
                {**self.urls.environment, **settings},
                self.world.build / self.name,
                command=self.command(arguments),
            )
            await server.start()
            if self.world.bug and not self.servers:
                await self._plant(BUGS[self.world.bug].sql)
            self.servers.append(server)
        return self.servers[0]

    async def _plant(self, sql: str) -> None:
        if sql:
            async with self.world.postgres.session(self.database) as connection:
                await connection.execute(sql)

    def command(self, arguments: Sequence[str] = ()) -> Sequence[str]:
        """What starts a server, with arguments for the harness's own entry point."""
        if self.world.bug:
            arguments = (*arguments, "--plant", self.world.bug)
        return (*ENTRY, *arguments, "serve") if arguments else SERVE

    async def kill(self, server: Server) -> set[int]:
        """SIGKILL; the backends that it leaves behind."""
        async with self.world.postgres.session(self.database) as connection:
            await server.kill()
            return await backends(connection, self.database)

    # -- load ------------------------------------------------------------------------------------

    async def populate(self, count: int = CUSTOMERS) -> None:
        """Customers with credits for all that will be done to them."""
        for number in range(count):
            customer_id = f"customer-{number}"
            await make_customer(self.servers[0], self.journal, customer_id, _CUSTOMER_CREDITS)
            self.customers.append(customer_id)

    def start_load(self, clients: int = CLIENTS, *, reached: Sequence[Reached] = ()) -> None:
        """Clients begin to work, on all servers or by what reaches them otherwise."""
        for number in range(clients):
            rng = self.world.rng(f"{self.name} client {number}")
            worker = Worker(reached or self.servers, self.journal, self.customers, rng)
            self._workers.append(worker)
            self._tasks.append(asyncio.create_task(worker.run()))

    async def stop_load(self) -> None:
        """Clients end when they have heard, or given up, on what they sent."""
        for worker in self._workers:
            worker.finish()
        await asyncio.gather(*self._tasks)
        self._workers, self._tasks = [], []

    def abandon_load(self) -> None:
        """Ends the clients, whatever they are at: the scene has failed."""
        for task in self._tasks:
            task.cancel()

    # -- the end ---------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Retries what has no outcome, with the same request ids, until it has one.

        To be called when no backend is left of a server that was killed. What has none by
        `SETTLE_SECONDS` is for `check` to find.
        """
        waiting = self.journal.unknown()
        self.result.notes["settled"] = int(str(self.result.notes.get("settled", 0))) + len(waiting)
        for record in waiting:
            record.settled = True
        limit = asyncio.Semaphore(16)
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                await asyncio.gather(*(self._settle(record, limit) for record in waiting))

    async def _settle(self, record: Record, limit: asyncio.Semaphore) -> None:
        async with limit:
            await attempt(self.servers[0].ledger, self.journal, record)
            while record.state == "unknown":
                await asyncio.sleep(PAUSE_SECONDS)
                await attempt(self.servers[0].ledger, self.journal, record)

    async def check(self) -> None:
        """Compares the books with the journal, asks the service to verify them, and reads the balances."""
        findings = self.result.findings
        logs = "".join(server.log() for server in self.servers)
        async with self.world.postgres.session(self.database) as connection:
            findings.add(await compare(connection, self.journal, logs))
        ledger = self.servers[0].ledger
        verified = await ledger.finance.VerifyJournal(VerifyJournalRequest(), timeout=300)
        findings.other += [
            f"VerifyJournal: {found.invariant} of {found.customer_id}: {found.description}"
            for found in verified.violations
        ]
        if not verified.holds and not verified.violations:
            findings.other.append("VerifyJournal does not hold")
        await self._check_balances(findings)
        self.result.notes["entries"] = verified.entries
        self.result.notes["repeats_answered"] = sum(
            reply.replayed for record in self.journal for reply in record.replies
        )
        self.result.notes["internal_replies"] = sum(
            getattr(outcome, "code", "") == "INTERNAL"
            for record in self.journal
            for outcome in record.outcomes
        )
        if findings:
            self.journal.write(self.world.build / self.name / "journal.jsonl")

    async def _check_balances(self, findings: Findings) -> None:
        """What `GetBalance` answers is what stands in the wallet, on every server."""
        async with self.world.postgres.session(self.database) as connection:
            for server, customer_id in product(self.servers, self.customers):
                reported: tuple[int, ...] = ()
                booked: tuple[int, ...] = ()
                for _ in range(BALANCE_READS_MAX):
                    request = GetBalanceRequest(customer_id=customer_id)
                    balance = (await server.ledger.wallet.GetBalance(request, timeout=30)).balance
                    reported = balance.available_micros, balance.held_micros, balance.debt_micros
                    booked = tuple(await connection.fetchrow(_BALANCE, customer_id) or ())
                    if reported == booked:
                        break
                else:
                    findings.other.append(f"{customer_id}: GetBalance reported {reported}, booked {booked}")


@asynccontextmanager
async def scene(world: World, name: str, sockets: Path | None = None) -> AsyncIterator[Scene]:
    """A scene whose servers are drained at its end; `sockets` leads them by way of a proxy.

    Raises BrokenOffError if it cannot be carried through.
    """
    built = Scene(world, name, sockets or world.postgres.sockets)
    await world.postgres.create_database(built.database)
    try:
        yield built
        for server in built.servers:
            try:
                await server.stop()
            except RuntimeError as error:
                built.result.findings.other.append(str(error))
    except Exception as error:
        built.journal.write(world.build / name / "journal.jsonl")
        raise BrokenOffError(built.result) from error
    finally:
        built.abandon_load()
        for server in built.servers:
            await server.kill()


async def answers(server: Server, within_seconds: float) -> None:
    """Waits until a server answers a read. Raises TimeoutError."""
    async with asyncio.timeout(within_seconds):
        while True:
            try:
                await server.ledger.wallet.GetBalance(GetBalanceRequest(customer_id="customer-0"), timeout=2)
            except grpc.aio.AioRpcError:
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                return
