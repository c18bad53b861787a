"""The writer of a cell: ships the open batch in one statement whenever the one before it is done.

Where more of a batch is being decided it waits a little for that.

Definite failures take the batch apart; after an unknown outcome nothing is loaded until the old backend is
seen to be gone, for until then the batch may still take effect.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import structlog

from ledger.clock import DatabaseClock, boot_seconds
from ledger.engine.cell.batches import Batches
from ledger.engine.cell.connection import Link, LinkDownError
from ledger.engine.cell.customers import Customers
from ledger.engine.cell.open_batch import OpenBatch
from ledger.engine.cell.settlement import Repeats, Settlement
from ledger.engine.command import WriteOutcome
from ledger.engine.gathering import Gathering
from ledger.metrics.operations import OperationsMetrics
from ledger.store.cells.load import find_entries
from ledger.store.cells.write import (
    RepeatedRequestError,
    UnknownOutcomeError,
    WriteError,
    WriteRefusedError,
    Written,
    check,
    write,
)
from ledger.store.postgres.database import Connection

if TYPE_CHECKING:
    from ledger.spans import Spans

PAUSE_SECONDS = 0.1
"""Between two attempts while the database is away or out of something."""
PROBE_SECONDS = 60.0
"""How long every batch is probed for repeats after one was met."""
_PASSING = ("40", "53", "57", "58", "55P03")
"""Classes of SQLSTATE that say nothing of the batch: conflicts, resources, operators, I/O, a lock not had."""

_log = structlog.get_logger(__name__)


class Writer:
    """One per cell and process: one statement at a time."""

    def __init__(
        self,
        customers: Customers,
        batches: Batches,
        settlement: Settlement,
        link: Link,
        clock: DatabaseClock,
        metrics: OperationsMetrics,
        spans: Spans | None,
        gathering: Gathering,
    ) -> None:
        self._customers = customers
        self._batches = batches
        self._settlement = settlement
        self._gathering = gathering
        self._link = link
        self._clock = clock
        self._metrics = metrics
        self._spans = spans
        self._probe_until = 0.0
        self.settled = asyncio.Event()
        """Cleared while the outcome of a write is unknown."""
        self.settled.set()

    async def run(self) -> None:
        """Writes until cancelled."""
        while True:
            await self._batches.has_some.wait()
            await self._gathering.over()
            if not self._batches.has_some.is_set():
                continue  # What was in it has been taken back meanwhile.
            batch = self._batches.next()
            started = boot_seconds()
            try:
                outcome = await self._ship(batch)
            except Exception as error:  # noqa: BLE001 -- nobody would write on: all would wait for ever
                self._settlement.take_apart(batch, error)
                outcome = WriteOutcome.FAULT
            self._batches.shipped()
            if self._spans is not None:
                self._spans.wrote(self._customers.cell, batch, boot_seconds() - started, outcome)

    async def _ship(self, batch: OpenBatch) -> WriteOutcome:
        """Writes a batch, and answers or takes back each of its parts."""
        started = boot_seconds()
        try:
            connection = await self._link.connection()
            if batch.outdated:
                self._settlement.retract(batch.parts, batch)
                return WriteOutcome.OUTDATED
            if batch.has_writes():
                written = await self._write(connection, batch)
            else:
                written = await check(connection, self._customers.cell, batch.before(), batch.decided_at)
            answered = boot_seconds()
            repeats = await self._repeats(batch, written)
        except (WriteRefusedError, RepeatedRequestError) as error:
            await self._refused(batch, error)
            return WriteOutcome.REFUSED
        except (UnknownOutcomeError, LinkDownError) as error:
            await self._recover(batch, error)
            return WriteOutcome.UNKNOWN
        self._clock.observe(written.clock, started, answered)
        self._metrics.batch(batch.commands, answered - started)
        self._finish(batch, written, repeats)
        return WriteOutcome.WRITTEN

    async def _write(self, connection: Connection, batch: OpenBatch) -> Written:
        """Writes a batch; after a repeat with the text that probes the ids, and so for a while.

        Where one request is repeated more tend to be, and each that is met without probing costs all who
        share its batch a round trip.
        """
        rows = batch.rows()
        if boot_seconds() >= self._probe_until:
            try:
                return await write(connection, self._customers.cell, rows)
            except RepeatedRequestError:
                self._probe_until = boot_seconds() + PROBE_SECONDS
        return await write(connection, self._customers.cell, rows, probe=True)

    def _finish(self, batch: OpenBatch, written: Written, repeats: Repeats) -> None:
        """Answers the customers that were written; the others have been changed by another process."""
        self._settlement.finish(batch, written.customers, repeats)
        unwritten = batch.parts.keys() - written.customers
        changed = unwritten - written.repeated
        if changed and not written.stale:
            self._metrics.conflicts.inc(len(changed))
            self._settlement.contend(changed)
        if unwritten:
            self._settlement.retract(unwritten, batch)

    async def _repeats(self, batch: OpenBatch, written: Written) -> Repeats:
        """Entries under the ids of refused requests: a refusal may be the repeat of one that succeeded."""
        ids = [
            (pending.customer, pending.command.request_id)
            for pending, _ in batch.refused()
            if pending.customer in written.customers and pending.command is not None
        ]
        if not ids:
            return {}
        return await find_entries(await self._link.connection(), self._customers.cell, ids)

    async def _refused(self, batch: OpenBatch, error: WriteError) -> None:
        """The database has said for certain that nothing was written."""
        if not will_pass(error):
            self._settlement.take_apart(batch, error)
            return
        _log.warning("write.waits", cell=self._customers.cell, error=str(error))
        await asyncio.sleep(PAUSE_SECONDS)
        self._settlement.retract(batch.parts, batch)

    async def _recover(self, batch: OpenBatch, error: Exception) -> None:
        """After an unknown outcome: forget everything, end the old backend, decide again.

        The load that follows looks for the commands' ids, so that what did take effect is answered from
        its entry.
        """
        _log.warning("write.unknown_outcome", cell=self._customers.cell, error=repr(error))
        self.settled.clear()
        self._settlement.forget_all(batch)
        while True:
            try:
                await self._link.renew()
                break
            except LinkDownError:
                self._customers.give_up_on_the_old()
                await asyncio.sleep(PAUSE_SECONDS)
        self.settled.set()


def will_pass(error: WriteError) -> bool:
    """Whether the database refused a batch for a reason that may be gone at the next attempt."""
    cause = error.__cause__
    return isinstance(cause, asyncpg.PostgresError) and (cause.sqlstate or "").startswith(_PASSING)
