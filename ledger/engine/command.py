"""A command on its way: what it asks for, and what becomes of it: an entry, a refusal, or a fault.

Those that one call asks for are counted down, and it waits for all with one future: a future or a callback
for each would cost as much as deciding it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any, NamedTuple, Protocol

import pricing
from ledger import calls
from ledger.books.budgets import CounterPlace
from ledger.books.commands import OF_GRANT, Command, Commit, Extend, Refund, Release, Reserve, Reverse
from ledger.books.model.decisions import Facts
from ledger.books.model.entries import Entry
from ledger.books.model.refusals import Refusal
from ledger.clock import boot_seconds
from ledger.errors import LedgerError, NotNowError
from ledger.store.audit import Act


class Committed(NamedTuple):
    """The entry is in the journal. `replayed`: it was there before this attempt of the request."""

    entry: Entry
    replayed: bool


class WriteOutcome(Enum):
    """What became of the write of a batch; some of its customers may still have to be decided again."""

    WRITTEN = "written"
    OUTDATED = "outdated"
    """It was not sent: the database is on another history than it was decided on."""
    REFUSED = "refused"
    UNKNOWN = "unknown"
    FAULT = "fault"


class UnavailableError(NotNowError):
    """The database is away, or the outcome of the write is unknown. A retry with the same id is safe."""


class OverloadedError(NotNowError):
    """The process cannot keep up with what it is asked; nothing was decided or written for this request."""

    def __init__(self, limit: str, bound: float) -> None:
        """Which limit it is, and what that is."""
        super().__init__(f"{limit} is above {bound:g}")
        self.limit = limit
        self.bound = bound


class AbandonedError(NotNowError):
    """Whoever asked for this command has gone, and nothing was decided for it."""


class FaultError(LedgerError):
    """The write of this command was refused by the database: a bug, whose cause is in the log."""


Answer = Committed | Refusal | None
"""None answers a look at what is due by the clock."""

_NO_KEYS: frozenset[str] = frozenset()
_NEED_FACTS = (Reverse, Refund, *OF_GRANT)


class Outcome(Protocol):
    """What will have an outcome: a command on its way, or a task of asyncio's."""

    def add_done_callback(self, callback: Callable[[Any], object], /) -> object: ...


class Underway:
    """All commands of a process that have no answer yet, in order of arrival."""

    __slots__ = ("begun", "line", "seconds", "written_up_to")

    def __init__(self, seconds: Callable[[], float] = boot_seconds) -> None:
        self.seconds = seconds
        """A clock that is never set."""
        self.begun = 0
        """How many there are."""
        self.line: deque[Pending] = deque()
        """These, and such as have their answer and are not taken out yet."""
        self.written_up_to = 0.0
        """When the latest command arrived that has been written."""


class Asked:
    """The commands that one call asks for together, counted down until all have their outcome."""

    __slots__ = ("_all_done", "abandoned", "arrived_at", "call", "left", "underway")

    def __init__(self, underway: Underway) -> None:
        self.underway = underway
        """Where they are counted."""
        self.call = calls.current()
        """Which asks; None where the service does."""
        self.arrived_at = underway.seconds()
        """When those arrived that are begun now."""
        self.abandoned = False
        """Whoever asked has gone: nobody waits for what comes of them."""
        self.left = 0
        """How many have begun, and have no outcome yet."""
        self._all_done: asyncio.Future[None] | None = None

    def arrive(self) -> None:
        """What is begun from now on arrives now."""
        self.arrived_at = self.underway.seconds()

    @contextmanager
    def beginning(self) -> Iterator[None]:
        """What is begun within the block is abandoned, as by `all_done`, if that is cancelled."""
        try:
            yield
        except asyncio.CancelledError:
            self.abandoned = True
            raise

    async def all_done(self) -> None:
        """Waits until all that have been begun have their outcome, and abandons them if it is cancelled.

        New work that is not decided yet is not begun then, for nobody would know of the hold. What has been
        done already is booked all the same.
        """
        if not self.left:
            return
        self._all_done = asyncio.get_running_loop().create_future()
        try:
            await self._all_done
        except asyncio.CancelledError:
            self.abandoned = True
            raise

    def none_left(self) -> None:
        """The last that had begun has its outcome."""
        if self._all_done is not None and not self._all_done.done():
            self._all_done.set_result(None)


class Pending:
    """A command on its way. It goes on whether anybody waits for it or not."""

    __slots__ = (
        "_answer",
        "_callbacks",
        "_error",
        "act",
        "alone",
        "arrived_at",
        "asked",
        "attempts",
        "command",
        "customer",
        "done",
        "facts",
        "in_flight",
        "keys",
        "needs_facts",
        "past",
        "places",
        "reservation",
        "usage",
        "work",
    )

    def __init__(
        self,
        customer: int,
        command: Command | None,
        usage: tuple[pricing.Item, ...] | None,
        asked: Asked,
        act: Act | None = None,
    ) -> None:
        self.customer = customer
        self.command = command
        """None: only what is due by the clock."""
        self.usage = usage
        self.act = act
        """Of the back office; None: it is no act of its."""
        self.reservation = command.reservation if isinstance(command, (Commit, Extend, Release)) else None
        """The reservation that it names."""
        self.needs_facts = isinstance(command, _NEED_FACTS)
        """It needs what it gives back, or the grant that it changes."""
        self.past = self.needs_facts or (usage is not None and not isinstance(command, Reserve))
        """It may need to know what prices remember: an estimate has no past."""
        self.keys = _NO_KEYS
        """The states that it needs, once the terms of its price are known."""
        self.places: tuple[CounterPlace, ...] = ()
        """Of the budgets' counters that it counts in, once it is known what that depends on."""
        self.work = len(usage) if usage else 1
        """How much it is to decide and to write: itself, or the lines that it books or undoes."""
        self.asked = asked
        """What it is begun with."""
        self.arrived_at = asked.arrived_at
        self.attempts = 0
        """How often it was decided, and its batch did not commit: its id may be in the journal by now."""
        self.facts: Facts | None = None
        """What a reversal or a refund gives back, or the grant that is changed, loaded for the wallet as it
        stands."""
        self.in_flight: dict[str, Pending] | None = None
        """Its customer's commands on their way by their request ids, it among them; None: none are known."""
        self.alone = False
        """It shares no batch: one like it was in a batch that the database refused."""
        self.done = False
        self._answer: Answer = None
        self._error: Exception | None = None
        self._callbacks: list[Callable[[Pending], object]] | None = None
        asked.left += 1
        asked.underway.begun += 1
        asked.underway.line.append(self)

    def take_facts(self, facts: Facts | None) -> None:
        """Takes what it needs beside the wallet, or drops it because it may be so no more."""
        self.facts = facts
        if self.needs_facts:
            charges = facts.charges if facts is not None else ()
            self.work = sum(max(1, len(charge.lines)) for charge in charges) or 1

    def drop_if_abandoned(self) -> bool:
        """Ends it, undecided, if it is new work that nobody waits for.

        Not so if an attempt of it may have taken effect.
        """
        if not self.asked.abandoned or self.attempts or not isinstance(self.command, Reserve):
            return False
        self.fail(AbandonedError())
        return True

    @property
    def is_dropped(self) -> bool:
        """Whether it ended undecided because nobody waited for it."""
        return isinstance(self._error, AbandonedError)

    def answer(self, answer: Answer) -> None:
        """Reports the outcome, unless that has been done."""
        if self.done:
            return
        self.done = True
        self._answer = answer
        if self.in_flight is not None and self.command is not None:
            del self.in_flight[self.command.request_id]
        asked = self.asked
        underway = asked.underway
        if isinstance(answer, Committed) and not answer.replayed and self.arrived_at > underway.written_up_to:
            underway.written_up_to = self.arrived_at
        underway.begun -= 1
        asked.left -= 1
        if not asked.left:
            asked.none_left()
        if self._callbacks is not None:
            for callback in self._callbacks:
                callback(self)
            self._callbacks = None

    def fail(self, error: Exception) -> None:
        """Reports that there is no outcome but an error."""
        if not self.done:
            self._error = error
            self.answer(None)

    def add_done_callback(self, callback: Callable[[Pending], object]) -> None:
        """Calls back as soon as there is an outcome, in the middle of whatever brings it."""
        if self.done:
            callback(self)
        elif self._callbacks is None:
            self._callbacks = [callback]
        else:
            self._callbacks.append(callback)

    def result(self) -> Committed | Refusal:
        """What has come of a command. Raises the error if it was one."""
        if self._error is not None:
            raise self._error
        if self._answer is None:
            raise AssertionError("a command has an answer")
        return self._answer


async def all_done(outcomes: Collection[Outcome]) -> None:
    """Waits until all have their outcome, with one future. Whoever goes away ends this wait alone."""
    if not outcomes:
        return
    future = asyncio.get_running_loop().create_future()
    left = len(outcomes)

    def one_less(_: object) -> None:
        nonlocal left
        left -= 1
        if not left and not future.done():
            future.set_result(None)

    for outcome in outcomes:
        outcome.add_done_callback(one_less)
    await future
