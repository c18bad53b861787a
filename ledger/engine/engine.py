"""The engine: takes commands for any customer, and answers when they are in the journal.

A caller that goes away cancels its wait, never the write.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING

from ledger.books.commands import Command
from ledger.books.model.refusals import Refusal
from ledger.clock import DatabaseClock, boot_seconds
from ledger.engine.cell.cell import Cell
from ledger.engine.cell.sweeper import Sweeper
from ledger.engine.command import Asked, Committed, Pending, Underway
from ledger.engine.entrance import Entrance
from ledger.engine.gathering import Gathering
from ledger.engine.limits import ENGINE_LIMITS, EngineLimits
from ledger.engine.waiting import Waiting
from ledger.metrics.operations import OperationsMetrics
from ledger.prices.price_book import PriceBook
from ledger.store.audit import Act
from ledger.store.directory import Directory
from ledger.store.postgres.database import Database

if TYPE_CHECKING:
    from ledger.spans import Spans


class Engine:
    """Decides and commits. One per process and database."""

    def __init__(
        self,
        database: Database,
        prices: PriceBook,
        clock: DatabaseClock,
        metrics: OperationsMetrics,
        spans: Spans | None = None,
        limits: EngineLimits = ENGINE_LIMITS,
    ) -> None:
        """`spans`: None where none are wanted."""
        self.prices = prices
        self.directory = Directory(database.reader)
        self._database = database
        self._clock = clock
        self._metrics = metrics
        self._spans = spans
        self._limits = limits
        self._cells: dict[str, Cell] = {}
        self.gathering = Gathering(limits.gather_seconds)
        self.waiting = Waiting(metrics.refused, limits.bounds)
        self._entrance = Entrance(self.directory, self._cells, self.waiting.ask)
        self.begin = self._entrance.begin
        self.sweepers: list[Sweeper] = []
        self._sweeps: list[asyncio.Task[None]] = []
        database.history.at_a_turn(self._forget)

    def start(self, cells: tuple[str, ...]) -> None:
        """Begins to write and sweep these cells."""
        self._metrics.commands_waiting.set_function(lambda: self.waiting.commands)
        self._metrics.oldest_seconds.set_function(self.waiting.seen_oldest_seconds)
        self._metrics.sweeper_lag.set_function(self._sweeper_lag)
        for name in cells:
            cell = Cell(
                name,
                self._database,
                self.directory,
                self.prices,
                self._clock,
                self._metrics,
                self._spans,
                self.gathering,
                self._limits,
            )
            cell.start()
            self._cells[name] = cell
            sweeper = Sweeper(cell, self._database, self._clock, self._limits)
            self.sweepers.append(sweeper)
            self._sweeps.append(asyncio.create_task(sweeper.run(), name=f"sweeper of {name}"))

    async def carry_out(self, customer_id: str, command: Command, act: Act) -> Committed | Refusal:
        """What comes of a command that the service itself has asked for. Raises as `begin` says."""
        asked = self.waiting.ask()
        pending = self.begin(customer_id, command, None, act, asked)
        await asked.all_done()
        return pending.result()

    async def write_due(self, customer_id: str, at: datetime) -> None:
        """Writes what is due for a customer by the clock, up to an instant, ahead of the sweeper.

        It waits for the database as a command does, and what cannot be written now is left to the sweeper.
        Raises the driver's errors where the customer is looked up.
        """
        key = await self.directory.find(customer_id)
        if key is None:
            return
        ahead_seconds = (at - self._clock.now()).total_seconds()
        await asyncio.sleep(min(max(0.0, ahead_seconds), self._limits.due_wait_seconds))
        look = Asked(Underway())
        self._cells[key.cell].arrive(Pending(key.customer, None, None, look), look.arrived_at)
        await look.all_done()

    def _forget(self, now: datetime) -> None:
        """The database is on another history: nothing that was known of it has to be so.

        What is on its way was decided on the old one: what has not been sent is decided again, and what has
        is written only where its wallets stand as they did.
        """
        self._metrics.histories.inc()
        self._clock.observe(now, boot_seconds(), boot_seconds())
        self.directory.forget()
        self.prices.published.forget()
        for cell in self._cells.values():
            cell.forget()

    def _sweeper_lag(self) -> float:
        return max((sweeper.lag_seconds() for sweeper in self.sweepers), default=0.0)

    async def drain(self) -> None:
        """Ends the sweeping, and waits until every command on its way has its answer."""
        for task in self._sweeps:
            task.cancel()
        await asyncio.gather(*self._sweeps, return_exceptions=True)
        await self._entrance.drain()
        for cell in self._cells.values():
            await cell.drain()
