"""Recovery: what earlier processes, and ended sessions, left without an answer is sent as it was.

Each file of the journal's directory that no process has open is taken over, its writes are sent under their
own request ids, and it is removed when all have their answers. So nothing is lost, and nothing is charged
twice, however often a process dies at it. A commit after its reservation has expired is taken as a late
one; where the reservation is closed, a charge takes its place (`already_used`), which the journal says
before it is sent.

Where the service is away a process is to start all the same: what was found and has no answer is sent again
in the background, for as long as the client is open. Between two attempts its file is free for others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple

from ledger.client.amounts import credits_of
from ledger.client.delivery import Delivery, again_seconds, log_refused
from ledger.client.errors import CallerRefused, ClientClosed, CreditsError, JournalError, NotNow, Refused
from ledger.client.journal import Journal, left_in
from ledger.client.outbox import Outbox, Settling
from ledger.client.outstanding import Write
from ledger.v1.usage_pb2 import UsageItem

TURNS_MAX: Final = 64
"""Reservations whose writes are sent at once: they travel together."""
_log = logging.getLogger(__name__)


class RefusedUsage(NamedTuple):
    """Usage that the ledger does not take: it stays in the journal until it is taken, or given up."""

    request_id: str
    customer_id: str
    usage: tuple[UsageItem, ...]
    error: Refused
    amount: Decimal | None = None
    """Credits, where an amount was charged, and no usage."""


class Recovery(NamedTuple):
    """What became of what was left."""

    charged: Decimal
    """Credits that were collected, by this process or by one before it that did not get the answer."""
    items: int
    """Items of usage that are charged."""
    refused: tuple[RefusedUsage, ...]
    given_up: tuple[str, ...]
    """Request ids of what was dropped as the caller said."""
    complete: bool
    """False: something has no answer yet, and is sent again in the background."""


class _Pass:
    """One attempt at what was left, and what has become of it so far."""

    def __init__(self, delivery: Delivery, give_up: Collection[str] = ()) -> None:
        self._delivery = delivery
        self._give_up = give_up
        self._room = asyncio.Semaphore(TURNS_MAX)
        self.charged_micros = 0
        self.items = 0
        self.refused: list[tuple[Write, Refused]] = []
        self.given_up: list[str] = []
        self.unanswered: list[Path] = []
        """Files of which something has no answer."""
        self.is_left = False
        """Something of this process's own sessions has no answer."""
        self.is_away = False
        """Nobody answers, or nobody lets this client in: what is not sent yet is not to be tried."""
        self.damage: JournalError | None = None

    @property
    def is_complete(self) -> bool:
        return not (self.unanswered or self.is_left)

    async def sessions(self, turns: Sequence[list[Settling]]) -> None:
        """Sends what sessions of this process have left; what has no answer is sent on in any case."""
        try:
            answered = await self._in_turns(turns, self._delivery.outbox)
            self.is_left = not answered or self._delivery.is_sending
        finally:
            for turn in turns:
                self._delivery.send_on([settling for settling in turn if settling.waiting])

    async def files(self, paths: Iterable[Path]) -> None:
        """Sends what processes have left in files, each of which goes when nothing of it is left."""
        self.is_away = False
        for path in paths:
            if self.is_away:
                self.unanswered.append(path)
                continue
            try:
                journal = Journal.adopt(path)
                outbox = None if journal is None else Outbox(journal)
            except JournalError as error:
                self.damage = self.damage or error
                continue
            if outbox is not None:
                await self._file(path, outbox)

    async def _file(self, path: Path, outbox: Outbox) -> None:
        try:
            turns = [[Settling(outbox, write) for write in turn] for turn in outbox.in_turns()]
            if not await self._in_turns(turns, outbox):
                self.unanswered.append(path)
        finally:
            outbox.close()

    async def _in_turns(self, turns: Iterable[Sequence[Settling]], outbox: Outbox) -> bool:
        """Sends the writes of each turn after each other, those of some turns at once.

        Answers whether all have answers. Raises ClientClosed.
        """
        return all(await asyncio.gather(*(self._turn(turn, outbox) for turn in turns)))

    async def _turn(self, turn: Sequence[Settling], outbox: Outbox) -> bool:
        async with self._room:
            try:
                for settling in turn:
                    if self.is_away:
                        return False
                    await settling.run(self._delivery.send)
            except ClientClosed:
                raise
            except CreditsError as error:
                self.is_away |= isinstance(error, NotNow | CallerRefused)
                return False
            finally:
                for settling in turn:
                    self._count(settling, outbox)
        return True

    def _count(self, settling: Settling, outbox: Outbox) -> None:
        """Counts what became of a write."""
        for write, answer in settling.take_answers():
            charge = answer.charge.charge if answer.HasField("charge") else answer.commit.charge
            self.charged_micros += charge.charged_micros
            self.items += len(write.items)
        for write, error in settling.take_refused():
            if write.request_id in self._give_up:
                outbox.drop(write)
                self.given_up.append(write.request_id)
            else:
                self.refused.append((write, error))
                if outbox is self._delivery.outbox:
                    self._delivery.refuse(write)


class Recoveries:
    """What one client recovers: when it is asked, and then in the background."""

    def __init__(self, delivery: Delivery, directory: Path | None) -> None:
        self._delivery = delivery
        self._directory = directory
        self._one_at_a_time = asyncio.Lock()
        self._unanswered: list[Path] = []
        self._background: asyncio.Task[None] | None = None
        self._reported: set[str] = set()
        """Request ids of refused usage of which the log has a line."""

    async def recover(self, give_up: Collection[str]) -> Recovery:
        """Sends what was left, once. Raises JournalCorrupt, JournalError for a file, after all others."""
        async with self._one_at_a_time:
            made = _Pass(self._delivery, give_up)
            await made.sessions([*self._delivery.take_left(), *self._delivery.take_refused()])
            await made.files(left_in(self._directory) if self._directory is not None else ())
            self._unanswered = made.unanswered
        if not made.is_complete and (self._background is None or self._background.done()):
            _log.warning("what was left has no answer yet: it is sent again until it has")
            self._background = asyncio.create_task(self._go_on(), name="recovery")
        if made.damage is not None:
            raise made.damage
        return Recovery(
            credits_of(made.charged_micros),
            made.items,
            tuple(_refused(write, error) for write, error in made.refused),
            tuple(made.given_up),
            made.is_complete,
        )

    async def close(self) -> None:
        """Ends what is done in the background: what has no answer stays where it is."""
        if self._background is not None:
            self._background.cancel()
            await asyncio.wait([self._background])

    async def _go_on(self) -> None:
        """Until all that was found has its answer."""
        attempt, is_complete = 0, False
        while not is_complete:
            attempt += 1
            await asyncio.sleep(again_seconds(attempt))
            is_complete = await self._again()

    async def _again(self) -> bool:
        async with self._one_at_a_time:
            made = _Pass(self._delivery)
            await made.files(self._unanswered)
            # The others are not to wait for ever for one of which nobody answers.
            self._unanswered = [*made.unanswered[1:], *made.unanswered[:1]]
        for write, error in made.refused:
            if write.request_id not in self._reported:
                self._reported.add(write.request_id)
                log_refused(write, error)
        return made.is_complete


def _refused(write: Write, error: Refused) -> RefusedUsage:
    amount = None if write.amount_micros is None else credits_of(write.amount_micros)
    return RefusedUsage(write.request_id, write.customer_id, tuple(write.items), error, amount)
