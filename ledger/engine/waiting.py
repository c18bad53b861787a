"""What waits for an answer, and what may still join it: the rule of overload, by age and by number.

Where a process cannot keep up, everything in its line grows old together. New work is refused first: nothing
has been done for it yet. Then what can as well be asked later. Last comes what records work that has been
done, for which whoever did it has nothing but this call.

A command that others have overtaken waits for its own customer's sake (a load, a lock): it says nothing of
the line, and is not counted in its age.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import Final, NamedTuple

from ledger.books.commands import Command, Extend, Refund, Reserve, Reverse, UpdateCustomer
from ledger.engine.clock import boot_seconds
from ledger.engine.outcomes import Committed, Overloaded
from ledger.engine.pending import Pending
from ledger.metrics.operations import Refused

AGE, NUMBER = "oldest_seconds", "commands"
"""The limits, by the names that callers and metrics have for them."""


class Urgency(Enum):
    """How late a request is refused; each with the word that metrics have for it."""

    NEW_WORK = "new_work"
    """Work that has not begun: holds, and what asks for a price of it."""
    ANY_TIME = "any_time"
    """Reads, and changes that somebody decides: the same a little later."""
    DONE_WORK = "done_work"
    """What has happened already: usage to be charged, holds to be given back, grants that are paid."""


Announced = Callable[[Urgency], Overloaded | None]
"""Why the next write of a batch is not to be begun, if so: also where the batch itself has become too old."""


class Bound(NamedTuple):
    """Past either, requests of one urgency are refused."""

    age_seconds: float
    """Of the oldest command in the line."""
    commands: int
    """In the line, beside it, and in batches that have not come to them yet."""


BOUNDS: Final[Mapping[Urgency, Bound]] = {
    Urgency.NEW_WORK: Bound(1.0, 4_000),
    Urgency.ANY_TIME: Bound(1.25, 6_000),
    Urgency.DONE_WORK: Bound(1.75, 10_000),
}
"""What is admitted shortly before a bound has its answer within 2 s. The numbers are what a process does in
some second where it is fastest, in batches: they hold back what comes at once, before anything has an age."""

_URGENCIES: Final[Mapping[type[Command], Urgency]] = {
    Reserve: Urgency.NEW_WORK,
    Extend: Urgency.ANY_TIME,
    Refund: Urgency.ANY_TIME,
    Reverse: Urgency.ANY_TIME,
    UpdateCustomer: Urgency.ANY_TIME,
}


def urgency_of(command: type[Command]) -> Urgency:
    """The urgency of a kind of write."""
    return _URGENCIES.get(command, Urgency.DONE_WORK)


class Waiting:
    """The commands of a process that have no answer yet, in order of arrival."""

    def __init__(self, refused: Refused) -> None:
        self.begun = 0
        """Commands on their way."""
        self._announced = 0
        """Writes of batches that have arrived, and are not begun."""
        self._refused = refused
        self._line: deque[Pending] = deque()
        self._written_up_to = 0.0
        """When the latest command arrived that has been written."""

    @property
    def commands(self) -> int:
        """All that have no answer yet."""
        return self.begun + self._announced

    def refusal(self, urgency: Urgency) -> Overloaded | None:
        """Why a request is not to join the line; None: it may."""
        return self._judge(urgency, self.commands, self.oldest_seconds())

    @contextmanager
    def announced(self, writes: int) -> Iterator[Announced]:
        """Counts the writes of a batch until each is begun, or the block ends."""
        arrived_at, commands = boot_seconds(), self.commands
        left = writes
        self._announced += writes

        def refusal(urgency: Urgency) -> Overloaded | None:
            nonlocal left
            left -= 1
            self._announced -= 1
            return self._judge(urgency, commands, max(self.oldest_seconds(), boot_seconds() - arrived_at))

        try:
            yield refusal
        finally:
            self._announced -= left

    def join(self, pending: Pending) -> None:
        """Counts a command until it has its answer."""
        self.begun += 1
        self._line.append(pending)
        pending.add_done_callback(self._leave)

    def oldest_seconds(self) -> float:
        """How long the line's oldest command has waited that no later one has overtaken. From any thread."""
        try:
            oldest = self._line[0]
        except IndexError:
            return 0.0
        return boot_seconds() - oldest.arrived_at

    def _judge(self, urgency: Urgency, commands: int, age_seconds: float) -> Overloaded | None:
        bound = BOUNDS[urgency]
        if commands >= bound.commands:
            return self._refused_by(NUMBER, bound.commands, urgency)
        if age_seconds > bound.age_seconds:
            return self._refused_by(AGE, bound.age_seconds, urgency)
        return None

    def _refused_by(self, limit: str, allowed: float, urgency: Urgency) -> Overloaded:
        self._refused.note(limit, urgency.value)
        return Overloaded(limit, allowed)

    def _leave(self, pending: Pending) -> None:
        self.begun -= 1
        answer = pending.answered
        is_written = isinstance(answer, Committed) and not answer.replayed
        if is_written and pending.arrived_at > self._written_up_to:
            self._written_up_to = pending.arrived_at
        line = self._line
        while line and (line[0].done or line[0].arrived_at <= self._written_up_to):
            line.popleft()
