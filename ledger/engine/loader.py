"""The loader of a cell: brings what memory lacks.

One load is in flight; misses that arrive meanwhile form the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

import structlog

from ledger.books.commands import Reverse
from ledger.engine.clock import DatabaseClock
from ledger.engine.links import Link
from ledger.engine.member import Member
from ledger.engine.memory import Memory
from ledger.engine.prices import PriceBook
from ledger.engine.writer import PAUSE_SECONDS, Writer
from ledger.store.database import Connection, Database
from ledger.store.load import Loaded, LoadRequest, load, load_reversal

Fetched = tuple[Member, LoadRequest, Loaded | None]
"""A customer, what was asked for, and what there is of it; None: there is no such customer."""

_log = structlog.get_logger(__name__)


class Loader:
    """One per cell and process, on a connection of its own."""

    def __init__(
        self,
        memory: Memory,
        link: Link,
        writer: Writer,
        clock: DatabaseClock,
        prices: PriceBook,
        database: Database,
    ) -> None:
        self._memory = memory
        self._link = link
        self._writer = writer
        self._clock = clock
        self._prices = prices
        self._database = database

    async def run(self) -> None:
        """Loads until cancelled; nothing while the outcome of a write is unknown."""
        while True:
            await self._memory.has_wanting.wait()
            await self._writer.settled.wait()
            members = self._memory.next_to_load()
            if not members:
                continue
            due_at = self._clock.now()
            try:
                fetched = await self.fetch(await self._link.connection(), members, due_at, all_ids=False)
            except Exception as error:  # noqa: BLE001 -- nobody would load on: its customers are asked for again
                _log.warning("load.failed", cell=self._memory.name, error=repr(error))
                await self._link.drop()
                self._memory.not_loaded(members)
                self._memory.give_up_on_the_old()
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            for member, asked, loaded in fetched:
                self._memory.loaded(member, asked, loaded)

    async def fetch(
        self, connection: Connection, members: Sequence[Member], due_at: datetime, *, all_ids: bool
    ) -> list[Fetched]:
        """What customers' waiting commands need, of one moment; and what was asked for, as more may wait now.

        Their request ids are looked up where they may be in the journal: after an attempt that did not
        commit, or `all_ids`.
        """
        requests = [_request(member, due_at, all_ids=all_ids) for member in members]
        found = await load(connection, self._memory.name, requests)
        for member in members:
            loaded = found.get(member.customer)
            if loaded is not None:
                await self._load_prices(loaded)
                await self._load_undone(connection, member)
        return [
            (member, asked, found.get(member.customer))
            for member, asked in zip(members, requests, strict=True)
        ]

    async def _load_prices(self, loaded: Loaded) -> None:
        """The versions that reservations pin, where the configuration has moved on."""
        for reservation in (*loaded.reservations.values(), *loaded.due):
            if not self._prices.knows(reservation.terms):
                await self._prices.learn(reservation.terms, self._database)

    async def _load_undone(self, connection: Connection, member: Member) -> None:
        """What the reversal at the head of the line undoes.

        Read after the wallet, so never older than it; if it is newer, the wallet's sequence has moved too,
        and the write is decided again.
        """
        head = member.waiting[0] if member.waiting else None
        if head is None or not isinstance(head.command, Reverse):
            return
        head.facts = await load_reversal(
            connection,
            self._memory.name,
            member.customer,
            charge=head.command.charge,
            reservation=head.command.reservation,
        )


def _request(member: Member, due_at: datetime, *, all_ids: bool) -> LoadRequest:
    """What the commands that wait will need, in one look."""
    named = {pending.reservation for pending in member.waiting}
    return LoadRequest(
        customer=member.customer,
        reservations=tuple(sorted(sequence for sequence in named if sequence is not None)),
        runs=tuple(sorted({run_id for pending in member.waiting for run_id in pending.runs})),
        request_ids=tuple(
            pending.command.request_id
            for pending in member.waiting
            if pending.command is not None and (all_ids or pending.attempts)
        ),
        due_at=due_at,
    )
