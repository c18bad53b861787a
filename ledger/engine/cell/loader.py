"""The loaders of a cell: bring what memory lacks.

Each serves one line of customers, with one load in flight; misses that arrive meanwhile form the next. What
reversals and refunds give back is brought by a loader of its own, one customer at a time: it may be thousands
of lines, and nobody else's load is to wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import structlog

from ledger.books.commands import OF_GRANT, Refund, Reverse
from ledger.books.model.reservations import Reservation
from ledger.books.model.wallets import Wallet
from ledger.clock import DatabaseClock, boot_seconds
from ledger.engine.cell.connection import Link
from ledger.engine.cell.customer import Member, keys_of, places_of
from ledger.engine.cell.customers import Customers
from ledger.engine.cell.decider import WORK_AT_ONCE
from ledger.engine.cell.loads import Loads
from ledger.engine.cell.waiting_line import WaitingLine
from ledger.engine.cell.writer import PAUSE_SECONDS, Writer
from ledger.engine.command import UnavailableError
from ledger.prices.price_book import PriceBook
from ledger.store.cells.load import (
    Found,
    Loaded,
    LoadRequest,
    Unreadable,
    load,
    load_claimed,
    load_grant,
    load_reversal,
    load_states,
)
from ledger.store.postgres.database import Connection, Database
from ledger.store.prices.versions import UnknownVersionError
from ledger.turns import Turns

Fetched = tuple[Member, LoadRequest, Found | None]
"""A customer, what was asked for, and what there is of it; None: there is no such customer."""

_NO_KEYS: frozenset[str] = frozenset()

_log = structlog.get_logger(__name__)


class Loader:
    """One per line of a cell and process, on a connection of its own."""

    def __init__(
        self,
        customers: Customers,
        loads: Loads,
        line: WaitingLine,
        link: Link,
        writer: Writer,
        clock: DatabaseClock,
        prices: PriceBook,
        database: Database,
    ) -> None:
        self._customers = customers
        self._loads = loads
        self._line = line
        self._link = link
        self._writer = writer
        self._clock = clock
        self._prices = prices
        self._database = database

    async def run(self) -> None:
        """Loads until cancelled; nothing while the outcome of a write is unknown."""
        while True:
            await self._line.has_some.wait()
            await self._writer.settled.wait()
            members = self._line.take()
            if not members:
                continue
            due_at = self._clock.now()
            try:
                connection = await self._link.connection()
                fetched = await self.fetch(connection, members, due_at, under_lock=False)
            except Exception as error:  # noqa: BLE001 -- nobody would load on: its customers are asked for again
                _log.warning("load.failed", cell=self._customers.cell, error=repr(error))
                await self._link.drop()
                self._loads.not_loaded(members)
                self._customers.give_up_on_the_old()
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            turns = Turns()
            for member, asked, loaded in fetched:
                work = min(_work(member), WORK_AT_ONCE) + _due(loaded)
                self._loads.loaded(member, asked, loaded)
                await turns.after(work)

    async def fetch(
        self, connection: Connection, members: Sequence[Member], due_at: datetime, *, under_lock: bool
    ) -> list[Fetched]:
        """What customers' waiting commands need, of one moment; and what was asked for, as more may wait now.

        Their request ids are looked up where they may be in the journal: after an attempt that did not
        commit, under the lock of their wallets, or where new ones will be refused. Under the lock all is
        loaded that they need, whatever it is.
        """
        turns = Turns()
        requests: list[LoadRequest] = []
        for member in members:
            requests.append(self._request(member, due_at, all_ids=under_lock))
            await turns.after(_work(member))
        found = await load(connection, self._customers.cell, requests)
        # Before the versions that are pinned: those that a lost history knew by their numbers go first.
        if not self._prices.published.is_current(boot_seconds()):
            await self._prices.published.refresh(self._database, self._clock.now())
        for member in members:
            loaded = found.get(member.customer)
            if isinstance(loaded, Loaded):
                found[member.customer] = await self._complete(
                    connection, member, loaded, under_lock=under_lock
                )
        fetched = [
            (member, asked, found.get(member.customer))
            for member, asked in zip(members, requests, strict=True)
        ]
        await self._load_claimed(connection, found)
        return await self._load_states(connection, fetched, due_at)

    async def _load_claimed(self, connection: Connection, found: Mapping[int, Found]) -> None:
        """What was paid for the lots of customers of whom periods close; read after the wallet too."""
        closing = {
            customer: loaded
            for customer, loaded in found.items()
            if isinstance(loaded, Loaded) and loaded.closings.states
        }
        if closing:
            claimed = await load_claimed(connection, self._customers.cell, [*closing])
            for customer, loaded in closing.items():
                loaded.closings = loaded.closings._replace(claimed_nanousd=claimed.get(customer, 0))

    async def _load_states(
        self, connection: Connection, fetched: list[Fetched], now: datetime
    ) -> list[Fetched]:
        """The states that are needed of customers of whom too little was known to ask for them at once.

        Read after the wallet, as what a reversal undoes is.
        """
        complete: list[Fetched] = []
        missing: list[tuple[int, str]] = []
        for member, asked, loaded in fetched:
            if not isinstance(loaded, Loaded):
                complete.append((member, asked, loaded))
                continue
            known = {**member.reservations, **loaded.reservations}
            keys = self._keys(member, loaded.wallet, known, now)
            keys |= {key for reservation in loaded.due for key in reservation.counters}
            keys -= {*asked.states}
            missing.extend((member.customer, key) for key in sorted(keys))
            complete.append((member, replace(asked, states=(*asked.states, *keys)), loaded))
        if missing:
            found = await load_states(connection, self._customers.cell, missing)
            by_customer = {
                member.customer: loaded.states for member, _, loaded in complete if isinstance(loaded, Loaded)
            }
            for (customer, key), state in found.items():
                by_customer[customer][key] = state
        return complete

    def _keys(
        self, member: Member, wallet: Wallet, reservations: Mapping[int, Reservation], now: datetime
    ) -> frozenset[str]:
        """The states that the commands which wait need: of prices, and of budgets.

        Of so many that a load is short; commands behind them ask for another one.
        """
        keys: set[str] = set()
        for pending in member.waiting:
            if len(keys) >= self._customers.limits.load_states_max:
                break
            if pending.past:
                keys |= keys_of(pending, wallet, reservations, self._prices, now)
            for place in places_of(pending, wallet, reservations, self._prices, now):
                keys.update(place.keys)
        return frozenset(keys)

    def _request(self, member: Member, due_at: datetime, *, all_ids: bool) -> LoadRequest:
        """What the commands that wait will need, in one look."""
        named = {pending.reservation for pending in member.waiting}
        keys = _NO_KEYS
        if member.wallet is not None:
            keys = self._keys(member, member.wallet, member.reservations, due_at)
        return LoadRequest(
            customer=member.customer,
            reservations=tuple(sorted(sequence for sequence in named if sequence is not None)),
            states=tuple(sorted(keys)),
            request_ids=tuple(
                pending.command.request_id
                for pending in member.waiting
                if pending.command is not None and (all_ids or member.stopped or pending.attempts)
            ),
            due_at=due_at,
        )

    async def _complete(
        self, connection: Connection, member: Member, loaded: Loaded, *, under_lock: bool
    ) -> Found:
        """With prices, and what is undone; rows that are not such as are ever written hold up no other."""
        try:
            await self._load_prices(loaded)
            if under_lock or self._line is self._customers.undoing:
                await self._load_undone(connection, member)
        except UnknownVersionError as error:  # Lost with the history that the rest was read on.
            return Unreadable(UnavailableError(repr(error)))
        except (LookupError, ValueError, TypeError, ArithmeticError) as error:
            return Unreadable(error)
        return loaded

    async def _load_prices(self, loaded: Loaded) -> None:
        """The versions that reservations pin, where the configuration has moved on."""
        for reservation in (*loaded.reservations.values(), *loaded.due):
            if not self._prices.knows(reservation.terms):
                await self._prices.learn(reservation.terms, self._database)

    async def _load_undone(self, connection: Connection, member: Member) -> None:
        """What the reversal or the refund at the head of the line gives back, or the grant that it changes.

        Read after the wallet, so never older than it; if it is newer, the wallet's sequence has moved too,
        and the write is decided again.
        """
        head = member.waiting[0] if member.waiting else None
        if head is None:
            return
        cell, command = self._customers.cell, head.command
        if isinstance(command, OF_GRANT):
            facts = await load_grant(connection, cell, member.customer, command.lot)
        elif isinstance(command, Reverse | Refund):
            facts = await load_reversal(
                connection,
                cell,
                member.customer,
                charge=command.charge,
                reservation=command.reservation if isinstance(command, Reverse) else None,
            )
        else:
            return
        head.take_facts(facts)


def _work(member: Member) -> int:
    """How much it is to look through what waits for a customer."""
    return sum(pending.work for pending in member.waiting)


def _due(loaded: Found | None) -> int:
    """How much is due by the clock."""
    return len(loaded.due) + len(loaded.closings.states) if isinstance(loaded, Loaded) else 0
