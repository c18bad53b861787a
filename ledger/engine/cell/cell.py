"""One cell of a process: customers in memory, writer, loader, locked rounds, and commands on their way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from ledger.clock import DatabaseClock
from ledger.engine.cell.batches import Batches
from ledger.engine.cell.connection import Link
from ledger.engine.cell.customers import Customers
from ledger.engine.cell.decider import Decider
from ledger.engine.cell.loader import Loader
from ledger.engine.cell.loads import Loads
from ledger.engine.cell.locked_rounds import LockedRounds
from ledger.engine.cell.settlement import Settlement
from ledger.engine.cell.writer import Writer
from ledger.engine.command import all_done
from ledger.engine.gathering import Gathering
from ledger.engine.limits import EngineLimits
from ledger.metrics.operations import OperationsMetrics
from ledger.prices.price_book import PriceBook
from ledger.store.directory import Directory
from ledger.store.postgres.database import Database

if TYPE_CHECKING:
    from ledger.spans import Spans

RETURNS = ("returns", "other returns")
"""Connections that load what is given back. A customer's load is on one of them at a time, so that a long one
leaves the other to all others."""

_log = structlog.get_logger(__name__)


class Cell:
    """Everything runs on one event loop."""

    def __init__(
        self,
        name: str,
        database: Database,
        directory: Directory,
        prices: PriceBook,
        clock: DatabaseClock,
        metrics: OperationsMetrics,
        spans: Spans | None,
        gathering: Gathering,
        limits: EngineLimits,
    ) -> None:
        self.name = name
        self._customers = Customers(name, limits)
        batches = Batches(clock, limits)
        decider = Decider(self._customers, batches, prices, clock)
        self.arrive = decider.arrive
        """Takes a command, or a look at what is due."""
        self._settlement = Settlement(self._customers, batches, decider)
        loads = Loads(self._customers, batches, decider, directory, prices)
        purposes = ("writer", "loader", "locked rounds", *RETURNS)
        self._links = tuple(Link(database, f"acu {name} {purpose}") for purpose in purposes)
        writes, reads, rounds, *returns = self._links
        self._writer = Writer(
            self._customers, batches, self._settlement, writes, clock, metrics, spans, gathering
        )
        undoing = self._customers.undoing
        self._loader, *self._returns = (
            Loader(self._customers, loads, line, link, self._writer, clock, prices, database)
            for line, link in ((self._customers.wanting, reads), *((undoing, link) for link in returns))
        )
        self._locked_rounds = LockedRounds(
            self._customers,
            decider,
            loads,
            self._settlement,
            rounds,
            self._loader,
            self._writer,
            clock,
            metrics,
            spans,
            limits.round_work_max,
        )
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._writer.run(), name=f"writer of {self.name}"),
            asyncio.create_task(self._loader.run(), name=f"loader of {self.name}"),
            asyncio.create_task(self._locked_rounds.run(), name=f"locked rounds of {self.name}"),
            *(
                asyncio.create_task(loader.run(), name=f"loader of {purpose} of {self.name}")
                for purpose, loader in zip(RETURNS, self._returns, strict=True)
            ),
        ]

        for task in self._tasks:
            task.add_done_callback(self._ended)

    def forget(self) -> None:
        """The database is on another history: nothing in memory has to be so."""
        self._settlement.forget()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Each runs until it is cancelled: commands would wait for it for ever."""
        if not task.cancelled():
            _log.critical("cell.stopped", cell=self.name, task=task.get_name(), exc_info=task.exception())

    async def drain(self) -> None:
        """Waits until every command on its way has its answer, then ends the cell's connections."""
        while in_flight := self._customers.in_flight():
            await all_done(in_flight)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for link in self._links:
            await link.close()
