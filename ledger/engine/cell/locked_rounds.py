"""Customers that another process writes too: their commands are decided under the lock of their wallets.

BEGIN; lock the wallets, in order; load; decide; write; COMMIT. To reload and try again without the lock would
let a busy customer lose again and again. A customer stays in this mode while other writers keep changing it,
and returns to memory after some undisturbed rounds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from ledger.clock import DatabaseClock, boot_seconds
from ledger.engine.cell.connection import Link, LinkDownError
from ledger.engine.cell.contention import Contention
from ledger.engine.cell.customer import Member
from ledger.engine.cell.customers import Customers
from ledger.engine.cell.loader import Loader
from ledger.engine.cell.open_batch import OpenBatch
from ledger.engine.cell.writer import PAUSE_SECONDS, Writer, will_pass
from ledger.engine.command import WriteOutcome
from ledger.metrics.operations import OperationsMetrics
from ledger.store.cells.load import lock_wallets
from ledger.store.cells.write import WriteRefusedError, Written, write
from ledger.store.postgres.database import Connection
from ledger.turns import Turns

if TYPE_CHECKING:
    from ledger.spans import Spans

_log = structlog.get_logger(__name__)


class _StaleError(Exception):
    """The database's clock is not what this process took it for: nothing may be committed."""


class LockedRounds:
    """One per cell and process, on a connection of its own: one round at a time."""

    def __init__(
        self,
        customers: Customers,
        contention: Contention,
        link: Link,
        loader: Loader,
        writer: Writer,
        clock: DatabaseClock,
        metrics: OperationsMetrics,
        spans: Spans | None,
    ) -> None:
        self._customers = customers
        self._contention = contention
        self._link = link
        self._loader = loader
        self._writer = writer
        self._clock = clock
        self._metrics = metrics
        self._spans = spans

    async def run(self) -> None:
        """Takes rounds until cancelled; none while the outcome of a write is unknown."""
        while True:
            await self._customers.contended.has_some.wait()
            await self._writer.settled.wait()
            members = self._customers.contended.take()
            if members:
                await self._take_round(members)

    async def _take_round(self, members: Sequence[Member]) -> None:
        """Decides and commits what waits for these customers, or puts it back in line."""
        batch = OpenBatch(decided_at=self._clock.now())
        started, outcome = boot_seconds(), WriteOutcome.WRITTEN
        try:
            await self._round(members, batch)
        except WriteRefusedError as error:
            outcome = WriteOutcome.REFUSED
            await self._settle(error)
            self._contention.lose(members, batch, None if will_pass(error) else error)
        except Exception as error:  # noqa: BLE001 -- whatever it was, its outcome is unknown
            outcome = WriteOutcome.UNKNOWN
            await self._settle(error)
            self._contention.lose(members, batch)
        else:
            self._contention.finish(members, batch)
        if self._spans is not None:
            self._spans.wrote(self._customers.cell, batch, boot_seconds() - started, outcome)

    async def _round(self, members: Sequence[Member], batch: OpenBatch) -> None:
        connection = await self._link.connection()
        async with connection.transaction():
            await lock_wallets(connection, self._customers.cell, [member.customer for member in members])
            due_at = self._clock.now()
            fetched = await self._loader.fetch(connection, members, due_at, under_lock=True)
            turns, decided = Turns(), 0
            for member, asked, loaded in fetched:
                self._contention.decide(member, asked, loaded, batch)
                await turns.after(batch.work - decided)
                decided = batch.work
            if batch.has_writes():
                await self._write(connection, batch)

    async def _write(self, connection: Connection, batch: OpenBatch) -> None:
        started = boot_seconds()
        written: Written = await write(connection, self._customers.cell, batch.rows())
        answered = boot_seconds()
        self._clock.observe(written.clock, started, answered)
        self._metrics.batch(batch.commands, answered - started)
        if written.stale:
            raise _StaleError

    async def _settle(self, error: Exception) -> None:
        """Makes sure that no backend of this link is left that could still commit the round."""
        _log.warning("round.lost", cell=self._customers.cell, error=repr(error))
        while True:
            try:
                await self._link.renew()
            except LinkDownError:
                self._customers.give_up_on_the_old()
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                return
