"""Where commands wait that no cell can take yet: their customer is unknown, or their request id on its way.

Later commands of the same customer wait behind them, so that all are decided in the order in which they came.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping

import structlog

import pricing
from ledger import calls
from ledger.books.commands import Command
from ledger.books.model.refusals import Refusal, RefusalReason
from ledger.clock import boot_seconds
from ledger.engine.cell.cell import Cell
from ledger.engine.command import Asked, Committed, Pending, UnavailableError, all_done
from ledger.store.audit import Act
from ledger.store.directory import CustomerKey, Directory

Line = deque[tuple[Pending, Command]]

_UNKNOWN = 0
"""The number of a customer until it has been looked up: nobody's."""

_log = structlog.get_logger(__name__)


class Entrance:
    """One line for each customer that has to wait, and none for the others."""

    def __init__(self, directory: Directory, cells: Mapping[str, Cell], ask: Callable[[], Asked]) -> None:
        """`ask` is what a command is begun with that is begun by itself."""
        self._directory = directory
        self._cells = cells
        self._ask = ask
        self._lines: dict[str, Line] = {}
        self._servants: set[asyncio.Task[None]] = set()

    def begin(
        self,
        customer_id: str,
        command: Command,
        usage: tuple[pricing.Item, ...] | None = None,
        act: Act | None = None,
        asked: Asked | None = None,
    ) -> Pending:
        """A command on its way: carried out once, however often it is sent under its request id.

        It is given to its customer's cell at once, or when that may be.

        `asked`: what it is begun with; None: it is begun by itself.

        An act of the back office is noted in the audit with the entry that it makes.

        Those of one customer are decided in the order in which they were begun. Whether it may be begun is
        for whoever begins it to ask. What comes of it may be Unavailable (retry with the same id), Faulty or,
        where who asked for it has abandoned it, Abandoned.
        """
        key = self._directory.known(customer_id)
        number = key.customer if key is not None else _UNKNOWN
        pending = Pending(number, command, usage, asked or self._ask(), act)
        if key is not None and customer_id not in self._lines:
            first = self._cells[key.cell].arrive(pending, pending.arrived_at)
            if first is None:
                return pending
        self._join_line(customer_id, pending, command)
        return pending

    def _join_line(self, customer_id: str, pending: Pending, command: Command) -> None:
        line = self._lines.get(customer_id)
        if line is None:
            line = self._lines[customer_id] = deque()
            servant = asyncio.create_task(self._serve(customer_id, line), name="entrance")
            self._servants.add(servant)
            servant.add_done_callback(self._servants.discard)
        line.append((pending, command))

    async def drain(self) -> None:
        """Waits until every command has been given to its cell, or answered."""
        while self._servants:
            await asyncio.wait(self._servants)

    async def _serve(self, customer_id: str, line: Line) -> None:
        while line:
            pending, command = line[0]
            calls.enter(pending.asked.call)
            try:
                await self._let_in(customer_id, pending, command)
            except Exception as error:  # noqa: BLE001 -- whoever waits gets it, and the line goes on
                pending.fail(error)
            line.popleft()
        del self._lines[customer_id]

    async def _let_in(self, customer_id: str, pending: Pending, command: Command) -> None:
        if pending.drop_if_abandoned():
            return
        key = self._directory.known(customer_id) or await self._find(customer_id)
        if key is None:
            pending.answer(Refusal(RefusalReason.CUSTOMER_NOT_FOUND, {"customer_id": customer_id}))
            return
        cell, pending.customer = self._cells[key.cell], key.customer
        while (first := cell.arrive(pending, boot_seconds())) is not None:
            await all_done((first,))
            answer = _answer_after(first, command)
            if answer is not None:
                pending.answer(answer)
                return

    async def _find(self, customer_id: str) -> CustomerKey | None:
        try:
            return await self._directory.find(customer_id)
        except Exception as error:
            _log.warning("directory.away", error=repr(error))
            raise UnavailableError from error


def _answer_after(first: Pending, command: Command) -> Committed | Refusal | None:
    """The answer to a command after the one that had its request id; None: that had no effect.

    Raises what the first one ended with, where that was an error.
    """
    if first.is_dropped:
        return None
    answer = first.result()
    if first.command is not None and first.command.fingerprint == command.fingerprint:
        return Committed(answer.entry, replayed=True) if isinstance(answer, Committed) else answer
    if isinstance(answer, Committed):
        return Refusal(RefusalReason.REQUEST_ID_REUSED, {"request_id": command.request_id})
    return None
