"""The engine: takes commands for any customer, and answers when they are in the journal.

A caller that goes away cancels its wait, never the write.
"""

from __future__ import annotations

import asyncio

import structlog

import pricing
from ledger.books.commands import Command
from ledger.books.model import Refusal, RefusalReason
from ledger.engine.batch import Answer, Pending
from ledger.engine.cell import Cell
from ledger.engine.clock import DatabaseClock, boot_seconds
from ledger.engine.outcomes import Committed, Unavailable
from ledger.engine.prices import PriceBook
from ledger.engine.sweeper import Sweeper
from ledger.metrics.operations import OperationsMetrics
from ledger.store.database import Database
from ledger.store.directory import CustomerKey, Directory

_log = structlog.get_logger(__name__)


class Engine:
    """Decides and commits. One per process and database."""

    def __init__(
        self, database: Database, prices: PriceBook, clock: DatabaseClock, metrics: OperationsMetrics
    ) -> None:
        self.prices = prices
        self.directory = Directory(database.reader)
        self._database = database
        self._clock = clock
        self._metrics = metrics
        self._cells: dict[str, Cell] = {}
        self.sweepers: list[Sweeper] = []
        self._sweeps: list[asyncio.Task[None]] = []

    def start(self, cells: tuple[str, ...]) -> None:
        """Begins to write and sweep these cells."""
        self._metrics.commands_waiting.set_function(self._waiting)
        for name in cells:
            cell = Cell(name, self._database, self.prices, self._clock, self._metrics)
            cell.start()
            self._cells[name] = cell
            sweeper = Sweeper(cell, self._database, self._clock, self._metrics, self._wake)
            self.sweepers.append(sweeper)
            self._sweeps.append(asyncio.create_task(sweeper.run(), name=f"sweeper of {name}"))

    def _waiting(self) -> int:
        return sum(cell.waiting() for cell in self._cells.values())

    async def drain(self) -> None:
        """Ends the sweeping, and waits until every command on its way has its answer."""
        for task in self._sweeps:
            task.cancel()
        await asyncio.gather(*self._sweeps, return_exceptions=True)
        for cell in self._cells.values():
            await cell.drain()

    async def execute(
        self, customer_id: str, command: Command, usage: tuple[pricing.Item, ...] | None = None
    ) -> Committed | Refusal:
        """Carries out a command, once, however often it is sent under its request id.

        Raises Unavailable (retry with the same id), Overloaded (nothing was written), Faulty.
        """
        key = self.directory.known(customer_id) or await self._find(customer_id)
        if key is None:
            return Refusal(RefusalReason.CUSTOMER_NOT_FOUND, {"customer_id": customer_id})
        cell = self._cells[key.cell]
        while (first := cell.in_flight(key.customer, command.request_id)) is not None:
            answer = await asyncio.shield(first.future)
            repeated = first.command is not None and first.command.fingerprint == command.fingerprint
            if repeated:
                return _again(answer)
            if isinstance(answer, Committed):
                return Refusal(RefusalReason.REQUEST_ID_REUSED, {"request_id": command.request_id})
            await asyncio.sleep(0)
        answer = await asyncio.shield(self._begin(cell, key.customer, command, usage))
        if answer is None:
            raise AssertionError("a command has an answer")
        return answer

    def begin(
        self, customer_id: str, command: Command, usage: tuple[pricing.Item, ...] | None = None
    ) -> asyncio.Future[Answer] | None:
        """What `execute` waits for, if the command can be decided without a wait; None: `execute` it.

        The answer must not be cancelled: the write goes on without its caller. Raises Overloaded.
        """
        key = self.directory.known(customer_id)
        if key is None:
            return None
        cell = self._cells[key.cell]
        if cell.in_flight(key.customer, command.request_id) is not None:
            return None
        return self._begin(cell, key.customer, command, usage)

    def _begin(
        self, cell: Cell, customer: int, command: Command, usage: tuple[pricing.Item, ...] | None
    ) -> asyncio.Future[Answer]:
        pending = self._pending(customer, command, usage)
        cell.submit(pending)
        return pending.future

    def _pending(
        self, customer: int, command: Command | None, usage: tuple[pricing.Item, ...] | None
    ) -> Pending:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        # The caller may have gone: an error that nobody waits for is no fault of the loop's.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        return Pending(customer, command, usage, future, arrived_at=boot_seconds())

    def _wake(self, cell: Cell, customer: int) -> asyncio.Future[Answer]:
        pending = self._pending(customer, None, None)
        cell.submit(pending)
        return pending.future

    async def _find(self, customer_id: str) -> CustomerKey | None:
        try:
            return await self.directory.find(customer_id)
        except Exception as error:
            _log.warning("directory.away", error=repr(error))
            raise Unavailable from error


def _again(answer: Answer) -> Committed | Refusal:
    """The answer to a repeat that came while the first was on its way."""
    if isinstance(answer, Committed):
        return Committed(answer.entry, replayed=True)
    if answer is None:
        raise AssertionError("a command has an answer")
    return answer
