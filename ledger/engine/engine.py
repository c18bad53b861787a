"""The engine: takes commands for any customer, and answers when they are in the journal.

A caller that goes away cancels its wait, never the write.
"""

from __future__ import annotations

import asyncio

import structlog

import pricing
from ledger.books.commands import Command
from ledger.books.model import Refusal, RefusalReason
from ledger.engine.cell import Cell
from ledger.engine.clock import DatabaseClock
from ledger.engine.outcomes import Committed, Unavailable
from ledger.engine.pending import Answer, Pending, all_done
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
            sweeper = Sweeper(cell, self._database, self._clock, self._metrics)
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
            await all_done((first,))
            answer = first.result()
            repeated = first.command is not None and first.command.fingerprint == command.fingerprint
            if repeated:
                return _again(answer)
            if isinstance(answer, Committed):
                return Refusal(RefusalReason.REQUEST_ID_REUSED, {"request_id": command.request_id})
        pending = Pending(key.customer, command, usage)
        cell.submit(pending)
        await all_done((pending,))
        return _told(pending.result())

    def begin(
        self, customer_id: str, command: Command, usage: tuple[pricing.Item, ...] | None = None
    ) -> Pending | None:
        """What `execute` waits for, if the command can be decided without a wait; None: `execute` it.

        Raises Overloaded.
        """
        key = self.directory.known(customer_id)
        if key is None:
            return None
        cell = self._cells[key.cell]
        if cell.in_flight(key.customer, command.request_id) is not None:
            return None
        pending = Pending(key.customer, command, usage)
        cell.submit(pending)
        return pending

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
    return _told(answer)


def _told(answer: Answer) -> Committed | Refusal:
    if answer is None:
        raise AssertionError("a command has an answer")
    return answer
