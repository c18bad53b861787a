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
from ledger.engine.cell.customer import UNDISTURBED_ROUNDS, LockedRound, Member
from ledger.engine.cell.customers import Customers
from ledger.engine.cell.decider import Decider
from ledger.engine.cell.loader import Loader
from ledger.engine.cell.loads import Loads
from ledger.engine.cell.open_batch import OpenBatch
from ledger.engine.cell.settlement import Settlement
from ledger.engine.cell.writer import PAUSE_SECONDS, Writer, will_pass
from ledger.engine.command import WriteOutcome
from ledger.metrics.operations import OperationsMetrics
from ledger.store.cells.load import Found, Loaded, LoadRequest, lock_wallets
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
        decider: Decider,
        loads: Loads,
        settlement: Settlement,
        link: Link,
        loader: Loader,
        writer: Writer,
        clock: DatabaseClock,
        metrics: OperationsMetrics,
        spans: Spans | None,
        work_max: int,
    ) -> None:
        """`work_max`: lines that a round decides, but for a command that has more."""
        self._customers = customers
        self._decider = decider
        self._loads = loads
        self._settlement = settlement
        self._link = link
        self._loader = loader
        self._writer = writer
        self._clock = clock
        self._metrics = metrics
        self._spans = spans
        self._work_max = work_max

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
            self._lose(members, batch, None if will_pass(error) else error)
        except Exception as error:  # noqa: BLE001 -- whatever it was, its outcome is unknown
            outcome = WriteOutcome.UNKNOWN
            await self._settle(error)
            self._lose(members, batch)
        else:
            self._finish(members, batch)
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
                self._decide(member, asked, loaded, batch)
                await turns.after(batch.work - decided)
                decided = batch.work
            if batch.has_writes():
                await self._write(connection, batch)

    def _decide(self, member: Member, asked: LoadRequest, loaded: Found | None, batch: OpenBatch) -> None:
        """Decides what waits into the round's own batch. What arrives now waits for the next round."""
        if isinstance(loaded, Loaded):
            undisturbed = loaded.wallet.sequence == member.last_sequence
            member.contended = member.contended - 1 if undisturbed else UNDISTURBED_ROUNDS
        member.round = LockedRound(batch, frozenset(asked.request_ids), self._work_max)
        try:
            self._loads.loaded(member, asked, loaded)
        finally:
            member.round = None
            member.loading = True

    def _finish(self, members: Sequence[Member], batch: OpenBatch) -> None:
        """The round is committed: answers its commands, and lets its customers go on."""
        self._settlement.finish(batch, frozenset(batch.parts), {})
        # Who found no room in this round comes first in the next.
        for member in sorted(members, key=lambda member: member.customer in batch.parts):
            if member.wallet is not None:
                member.last_sequence = member.wallet.sequence
            self._leave(member)

    def _lose(self, members: Sequence[Member], batch: OpenBatch, error: Exception | None = None) -> None:
        """The round has no effect: its commands wait again, alone if the database refused one of them."""
        if error is None:
            self._settlement.retract(batch.parts, batch)
        else:
            for member in members:
                member.contended = 0
            self._settlement.take_apart(batch, error)
        for member in members:
            self._customers.give_up(member)
            self._leave(member)

    def _leave(self, member: Member) -> None:
        """A round is over for a customer."""
        self._customers.contended.leave(member)
        member.loading = False
        if member.contended:
            member.forget()
        self._decider.advance(member)

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
