"""Writes what is due by the clock for customers whom no command wakes: starts, expiries of holds and lots.

And takes away the counters of budgets whose windows ended long ago.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from random import sample

import asyncpg
import structlog

from ledger.clock import DatabaseClock
from ledger.engine.cell.cell import Cell
from ledger.engine.command import Asked, Pending, Underway
from ledger.engine.limits import EngineLimits
from ledger.store.cells.sweep import sweep_counters
from ledger.store.directory import due_customers
from ledger.store.postgres.database import Database

_log = structlog.get_logger(__name__)


class Sweeper:
    """Wakes the customers of one cell whose `next_due_at` has come."""

    def __init__(
        self,
        cell: Cell,
        database: Database,
        clock: DatabaseClock,
        limits: EngineLimits,
    ) -> None:
        self._limits = limits
        self._cell = cell
        self._database = database
        self._clock = clock
        self._due_since: datetime | None = None
        """Of the customer that has been due for longest; None: nobody is."""

    def lag_seconds(self) -> float:
        """How long what is due by the clock has been due."""
        since = self._due_since
        return 0.0 if since is None else max(0.0, (self._clock.now() - since).total_seconds())

    async def run(self) -> None:
        """Sweeps until cancelled. A database that is away is asked again."""
        while True:
            try:
                swept = await self.step()
                counters = await self.sweep_counters()
            except (
                OSError,
                asyncpg.PostgresError,
                asyncpg.InterfaceError,
                TimeoutError,
            ) as error:
                _log.warning("sweeper.waits", cell=self._cell.name, error=repr(error))
                swept = counters = 0
            if swept < self._limits.swept_max and counters < self._limits.swept_counters_max:
                await asyncio.sleep(self._limits.sweep_seconds)

    async def sweep_counters(self) -> int:
        """Takes away some counters of budgets whose windows ended long ago; says how many."""
        return await sweep_counters(self._database.writer, self._cell.name, self._limits.swept_counters_max)

    async def step(self) -> int:
        """Writes what is due for some customers, of those who are due for longest; says for how many."""
        now = self._clock.now()
        if self._due_since is None:
            self._due_since = now  # As far as anybody can tell until the look succeeds.
        due = await due_customers(self._database.writer, self._cell.name, now, self._limits.due_max)
        customers = due
        if len(due) > self._limits.swept_max:
            customers = sample(due, self._limits.swept_max)
        if due:
            self._due_since = due[0][1]
            async with asyncio.timeout(self._limits.sweep_patience_seconds):
                looks = Asked(Underway())
                for customer, _ in customers:
                    self._cell.arrive(Pending(customer, None, None, looks), looks.arrived_at)
                await looks.all_done()
        self._due_since = None
        return len(customers)
