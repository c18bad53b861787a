"""A command on its way: what it asks for, and what comes of it.

An outcome is told by plain calls, and whoever waits for many waits with one future: a future for each
command, whose callbacks the event loop schedules one by one, would cost as much as deciding it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any, Protocol

import pricing
from ledger import calls
from ledger.books.commands import Command, Commit, Extend, Refund, Release, Reserve, Reverse
from ledger.books.model import Facts, Refusal
from ledger.engine.clock import boot_seconds
from ledger.engine.outcomes import Abandoned, Committed
from ledger.store.acts import Act

Answer = Committed | Refusal | None
"""None answers a look at what is due by the clock."""

_NO_KEYS: frozenset[str] = frozenset()


class Outcome(Protocol):
    """What will have an outcome: a command on its way, or a task of asyncio's."""

    def add_done_callback(self, callback: Callable[[Any], object], /) -> object: ...


class Pending:
    """A command on its way. It goes on whether anybody waits for it or not."""

    __slots__ = (
        "_answer",
        "_callbacks",
        "_error",
        "abandoned",
        "act",
        "alone",
        "arrived_at",
        "attempts",
        "call",
        "command",
        "customer",
        "done",
        "facts",
        "gives_back",
        "keys",
        "past",
        "reservation",
        "usage",
    )

    def __init__(
        self,
        customer: int,
        command: Command | None,
        usage: tuple[pricing.Item, ...] | None,
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
        self.gives_back = isinstance(command, (Reverse, Refund))
        """It needs what it gives back."""
        self.past = self.gives_back or (usage is not None and not isinstance(command, Reserve))
        """It may need to know what prices remember: an estimate has no past."""
        self.keys = _NO_KEYS
        """The states that it needs, once the terms of its price are known."""
        self.call = calls.current()
        """Which asks for it; None where the service does."""
        self.arrived_at = boot_seconds()
        self.attempts = 0
        """How often it was decided, and its batch did not commit: its id may be in the journal by now."""
        self.facts: Facts | None = None
        """What a reversal or a refund gives back, loaded for the wallet as it stands."""
        self.alone = False
        """It shares no batch: one like it was in a batch that the database refused."""
        self.abandoned = False
        """Nobody waits for it, and it is not to be begun."""
        self.done = False
        self._answer: Answer = None
        self._error: Exception | None = None
        self._callbacks: list[Callable[[Pending], object]] = []

    @property
    def work(self) -> int:
        """How much it is to decide and to write: itself, or the lines that it books or undoes."""
        if self.usage:
            return len(self.usage)
        if self.facts is not None:
            return sum(max(1, len(charge.lines)) for charge in self.facts.charges) or 1
        return 1

    def abandon(self) -> None:
        """Whoever asked has gone.

        New work that is not decided yet is not begun, for nobody would know of the hold. What has been done
        already is booked all the same.
        """
        self.abandoned = isinstance(self.command, Reserve)

    def drop_if_abandoned(self) -> bool:
        """Ends it, undecided, if nobody waits for it; not so if an attempt of it may have taken effect."""
        if not self.abandoned or self.attempts:
            return False
        self.fail(Abandoned())
        return True

    @property
    def is_dropped(self) -> bool:
        """Whether it ended undecided because nobody waited for it."""
        return isinstance(self._error, Abandoned)

    def answer(self, answer: Answer) -> None:
        """Tells the outcome, unless it has been told."""
        if not self.done:
            self._answer = answer
            self._tell()

    def fail(self, error: Exception) -> None:
        """Tells that there is no outcome but an error."""
        if not self.done:
            self._error = error
            self._tell()

    def _tell(self) -> None:
        self.done = True
        for callback in self._callbacks:
            callback(self)
        self._callbacks.clear()

    def add_done_callback(self, callback: Callable[[Pending], object]) -> None:
        """Calls back as soon as there is an outcome, in the middle of whatever brings it."""
        if self.done:
            callback(self)
        else:
            self._callbacks.append(callback)

    @property
    def answered(self) -> Answer:
        """The answer, if there is one."""
        return self._answer

    def result(self) -> Answer:
        """The outcome that has been told. Raises the error if it was one."""
        if self._error is not None:
            raise self._error
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


async def all_done_or_abandoned(commands: Collection[Pending]) -> None:
    """The same for whoever asked for these commands, and abandons them by going away."""
    try:
        await all_done(commands)
    except asyncio.CancelledError:
        for command in commands:
            command.abandon()
        raise
