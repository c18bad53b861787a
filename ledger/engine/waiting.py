"""What waits for an answer, and what may still join it: the rule of overload, by age and by number.

Where a process cannot keep up, everything in its line grows old together. New work is refused first: nothing
has been done for it yet. Then what can as well be asked later. Last comes what records work that has been
done, for which whoever did it has nothing but this call.

A command that others have overtaken waits for its own customer's sake (a load, a lock): it says nothing of
the line, and is not counted in its age.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from ledger.books.commands import (
    Command,
    DisputeGrant,
    Extend,
    ExtendGrant,
    Refund,
    RefundGrant,
    Reserve,
    ResolveDispute,
    Reverse,
    UpdateCustomer,
    VoidGrant,
    WriteOffDebt,
    WriteOffGrant,
)
from ledger.clock import boot_seconds
from ledger.engine.command import Asked, OverloadedError, Underway
from ledger.engine.limits import BOUNDS, Bound, Urgency
from ledger.metrics.operations import RefusedCollector

AGE, NUMBER = "oldest_seconds", "commands"
"""The limits, by the names that callers and metrics have for them."""


BATCH_SECONDS: Final = 1.0
SHARE_LESS: Final = 0.8
SHARE_MORE: Final = 0.02
SHARE_MIN: Final = 1 / 6
"""A batch whose first writes take longer, as many as are under way at once, makes all numbers smaller. Others
let them grow again, and so does a second without any: slower, so that most batches stay below. The least is a
batch of the size that most send."""

BATCHES_REMEMBERED: Final = 8
"""By which it is guessed how long the next will take."""

ENDING_SECONDS_MAX: Final = 0.75
"""Of a batch, from its last write's beginning to its answer, as far as it counts: one that takes for ever is
not to keep all others out."""

_URGENCIES: Final[Mapping[type[Command], Urgency]] = {
    Reserve: Urgency.NEW_WORK,
    Extend: Urgency.ANY_TIME,
    Refund: Urgency.ANY_TIME,
    Reverse: Urgency.ANY_TIME,
    UpdateCustomer: Urgency.ANY_TIME,
    VoidGrant: Urgency.ANY_TIME,
    ExtendGrant: Urgency.ANY_TIME,
    DisputeGrant: Urgency.ANY_TIME,
    ResolveDispute: Urgency.ANY_TIME,
    RefundGrant: Urgency.ANY_TIME,
    WriteOffGrant: Urgency.ANY_TIME,
    WriteOffDebt: Urgency.ANY_TIME,
}


def urgency_of(command: type[Command]) -> Urgency:
    """The urgency of a kind of write."""
    return _URGENCIES.get(command, Urgency.DONE_WORK)


class Waiting:
    """The commands of a process that have no answer yet, in order of arrival."""

    def __init__(
        self,
        refused: RefusedCollector,
        bounds: Mapping[Urgency, Bound] = BOUNDS,
        seconds: Callable[[], float] = boot_seconds,
    ) -> None:
        """`seconds`: a clock that is never set."""
        self._bounds = bounds
        self.seconds = seconds
        self._underway = Underway(seconds)
        self._announced = 0
        """Writes of batches that have arrived, and are not begun."""
        self._share = 1.0
        """Of the numbers of the bounds, when the last batch ended: by how soon batches had their answers."""
        self._learned_at = 0.0
        """When that was."""
        self._ending_seconds = 0.0
        """From the last write that is begun of a batch to its answer, of late."""
        self._refused = refused

    @property
    def begun(self) -> int:
        """Commands on their way."""
        return self._underway.begun

    @property
    def commands(self) -> int:
        """All that have no answer yet."""
        return self._underway.begun + self._announced

    def ask(self) -> Asked:
        """What a call begins its commands with: they are counted here until they have their answers."""
        return Asked(self._underway)

    def refusal(self, urgency: Urgency) -> OverloadedError | None:
        """Why a request is not to join the line; None: it may."""
        return self.judge(urgency, self._underway.begun + self._announced, 0.0)

    def bears_new_work(self) -> bool:
        """Whether nothing is to be refused."""
        bound = self._bounds[Urgency.NEW_WORK]
        return (
            self.commands < bound.commands * self._share_now() and self.oldest_seconds() <= bound.age_seconds
        )

    @contextmanager
    def announced(self, writes: int) -> Iterator[Announced]:
        """Counts the writes of a batch until each is begun or refused, or the block ends."""
        announced = Announced(self, writes)
        self.announce(writes)
        try:
            yield announced
        finally:
            announced.begin(announced.left)

    def announce(self, writes: int) -> None:
        """So many more are to be begun; fewer, below zero."""
        self._announced += writes

    def ahead_seconds(self) -> float:
        """How long what is begun now takes to its answer: as the line is old, and as batches took of late."""
        return max(self.oldest_seconds(), self._ending_seconds)

    def oldest_seconds(self) -> float:
        """How long the line's oldest command has waited that no later one has overtaken."""
        underway = self._underway
        line, written_up_to = underway.line, underway.written_up_to
        while line and (line[0].done or line[0].arrived_at <= written_up_to):
            line.popleft()
        return self.seconds() - line[0].arrived_at if line else 0.0

    def seen_oldest_seconds(self) -> float:
        """The same for any thread: it takes nothing out of the line."""
        written_up_to = self._underway.written_up_to
        waiting = (
            pending.arrived_at
            for pending in self._underway.line.copy()
            if not pending.done and pending.arrived_at > written_up_to
        )
        oldest = next(waiting, None)
        return self.seconds() - oldest if oldest is not None else 0.0

    def judge(self, urgency: Urgency, commands: int, age_seconds: float) -> OverloadedError | None:
        """Why a request of this age, with so many commands before it, is not to join the line."""
        bound = self._bounds[urgency]
        if commands >= bound.commands * self._share_now():
            return self._refused_by(NUMBER, bound.commands, urgency)
        if max(age_seconds, self.oldest_seconds()) > bound.age_seconds:
            return self._refused_by(AGE, bound.age_seconds, urgency)
        return None

    def learn(self, waited_seconds: float, ending_seconds: float) -> None:
        """From a batch: what a process does in a second depends on its machine and on who else uses that.

        One that others have overtaken was held up by a customer of its own: the line is as late as they were.
        """
        now = self.seconds()
        ending = min(ending_seconds, ENDING_SECONDS_MAX)
        self._ending_seconds += (ending - self._ending_seconds) / BATCHES_REMEMBERED
        share = self._share_now()
        if waited_seconds + min(ending_seconds, now - self._underway.written_up_to) > BATCH_SECONDS:
            self._share = max(SHARE_MIN, share * SHARE_LESS)
        else:
            self._share = min(1.0, share + SHARE_MORE)
        self._learned_at = now

    def _share_now(self) -> float:
        """Of the numbers of the bounds: what batches have taught is forgotten where none come any more."""
        if self._share == 1.0:
            return 1.0
        return min(1.0, self._share + SHARE_MORE * (self.seconds() - self._learned_at))

    def _refused_by(self, limit: str, allowed: float, urgency: Urgency) -> OverloadedError:
        self._refused.note(limit, urgency.value)
        return OverloadedError(limit, allowed)


class Announced:
    """The writes of a batch that are not begun yet; they are refused where the batch is too old, too."""

    def __init__(self, waiting: Waiting, writes: int) -> None:
        self._waiting = waiting
        self._seconds = waiting.seconds
        self._arrived_at, self._commands = self._seconds(), waiting.commands
        self._waited_seconds = 0.0
        """From its arrival until the latest of them was begun."""
        self._is_learned_from = False
        self.left = writes
        """How many there are."""

    def begin(self, writes: int) -> None:
        """So many of them have been begun, or refused."""
        self._waited_seconds = self._seconds() - self._arrived_at
        self.left -= writes
        self._waiting.announce(-writes)

    def refusal(self, urgency: Urgency) -> OverloadedError | None:
        """Why those of an urgency are not to be begun now; None: they may."""
        age = self._seconds() - self._arrived_at + self._waiting.ahead_seconds()
        return self._waiting.judge(urgency, self._commands, age)

    def answered(self) -> None:
        """Those that were begun have their answers: the first of them tell how late the line is."""
        if not self._is_learned_from:
            self._is_learned_from = True
            ending_seconds = self._seconds() - self._arrived_at - self._waited_seconds
            self._waiting.learn(self._waited_seconds, ending_seconds)
