"""A session: an agent's work on credits that are held, charged while it goes on, and settled when it ends.

What is added is stored in the outbox and returns at once. A task of the session's own commits it, a part at
a time: at most every 200 ms, or 50 items, one after the other, so that answers come in order; it asks for
more credits and time before they run out. Leaving makes the last part final, which gives back what is left
of the hold.

Where a hold has ended (its 24 hours are over, or nobody could extend it), a new one is taken. Without any,
because the service is away and the client goes on (`on_outage="allow"`), usage is charged as work that is
done.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from math import inf
from time import monotonic
from types import TracebackType
from typing import Final, Self, Unpack
from uuid import uuid4

from ledger.client import forks
from ledger.client.amounts import credits_of
from ledger.client.answers import charges
from ledger.client.delivery import AWAY, Delivery, again_seconds
from ledger.client.errors import (
    ClientClosed,
    CreditsError,
    DeadlineExceeded,
    QueueFull,
    Unavailable,
    UsageError,
)
from ledger.client.outbox import Settling
from ledger.client.outstanding import Write, charge_of, commit_of
from ledger.client.requests import labels_message, text
from ledger.client.session_book import SHORT, SessionBook
from ledger.client.session_hold import Estimate, Hold
from ledger.client.session_summary import Summary, summary_of
from ledger.client.usage import Result, Work, convert
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1.usage_pb2 import UsageItem

COMMIT_SECONDS: Final = 0.2
"""At least, between two commits of a session: it is what a batch takes, and a person does not see."""
COMMIT_ITEMS: Final = 50
"""So many are committed at once."""
ITEMS_MAX: Final = 500
"""Of one commit: with every name as long as it may be they are half of what the service reads."""
QUEUE_ITEMS_MAX: Final = 10_000
"""Of a session, not committed: minutes of the busiest agent."""

_log = logging.getLogger(__name__)
_UNANSWERED: Final = (Unavailable, DeadlineExceeded)


class _Part:
    """A write of the session with what it is estimated at."""

    __slots__ = ("estimated_micros", "settling", "write")

    def __init__(self, write: Write, settling: Settling) -> None:
        self.write = write
        self.settling = settling
        self.estimated_micros = 0


class Session:
    """Work of one customer on held credits; `async with credits.session(...)` makes it.

    Not safe for threads: it belongs to the event loop of its client.
    """

    def __init__(
        self,
        delivery: Delivery,
        customer_id: str,
        *,
        estimate: Estimate,
        labels: Mapping[str, str] | None = None,
        ttl_seconds: int | None = None,
    ) -> None:
        self.customer_id = text("customer_id", customer_id)
        self._delivery = delivery
        self._outbox = delivery.outbox
        self._labels = labels_message({} if labels is None else labels)
        self._id = uuid4().hex
        self._numbers = 0
        self._book = SessionBook()
        self._hold = Hold(delivery, self._book, customer_id, estimate, self._labels, ttl_seconds)
        self._parts: deque[_Part] = deque()
        """What is to be committed, in its order; the last may still take items."""
        self._open: _Part | None = None
        self._items_waiting = 0
        self._is_urgent = False
        """Something was added whose price is not known."""
        self._committed_at = -inf
        self._again_at = -inf
        self._attempts = 0
        self._trouble: CreditsError | None = None
        """Why the last attempt had no answer."""
        self._refused: list[Settling] = []
        """Parts of which something was refused."""
        self._flushing: list[asyncio.Future[None]] = []
        """Who waits for what was added to be tried."""
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_leaving = False
        self._at_end: list[Callable[[], Work]] = []
        """What says what is to be added when the session is left."""
        self._not_added: CreditsError | None = None
        """Why something of that could not be."""

    # -- the caller's ------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._task is not None:
            raise ClientClosed("a session is entered once")
        beginning = self._delivery.start(self._begin(), f"session of {self.customer_id} begins")
        try:
            await asyncio.shield(beginning)
        except asyncio.CancelledError:
            self._delivery.start(self._undo(beginning), f"session of {self.customer_id} is given up")
            raise
        self._delivery.sessions.add(self)
        self._task = self._delivery.start(self._run(), f"session of {self.customer_id}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        forks.check()
        self.leave()
        if self._task is not None:
            await asyncio.shield(self._task)
        problem = self._problem()
        if problem is None or isinstance(problem, SHORT):
            return
        if error is None:
            raise problem
        error.add_note(f"The session's usage is not all charged: {problem}")

    def add(
        self, items: UsageItem | Sequence[UsageItem] | None = None, /, **work: Unpack[Work]
    ) -> tuple[str, ...]:
        """Takes usage, which is committed in the background: items, or whatever `convert` makes items of.

        Returns what is to be looked at in the record that they are made of. Raises UsageError, JournalError
        (JournalFull), QueueFull, ClientClosed, ClientForked: nothing of it was taken. Any other CreditsError
        says why the work is to stop, as `check` does; the usage is taken all the same, and is charged.
        """
        forks.check()
        if items is not None:
            if "usage" in work:
                raise UsageError("usage: is there twice: give it by its name, or without")
            work["usage"] = items
        converted = convert(**work)
        self._check_begun()
        if self._items_waiting + len(converted.items) > QUEUE_ITEMS_MAX:
            raise QueueFull(f"{self._items_waiting} items of the session are not committed yet")
        self._take(self._dated(converted.items))
        self.check()
        return converted.warnings

    def outcome(
        self, name: str, *, subject: str | None = None, result: Result = "resolved", count: int = 1
    ) -> None:
        """Takes what came of the work; raises as `add` does."""
        work: Work = {"outcome": name, "result": result, "count": count}
        if subject is not None:
            work["subject"] = subject
        self.add(**work)

    def add_at_end(self, used: Callable[[], Work]) -> None:
        """Adds what `used` answers with, as `add` takes it, when the session is left, by whoever leaves it.

        That is the block's end, an exception, cancellation, or `Credits.close`, before which nobody may have
        ended a stream that is not read any more: what was used so far is charged all the same. It is called
        once, in the thread of the client's loop. What cannot be added is logged, and raised by leaving, as a
        CreditsError. Raises ClientClosed where the session is over, or has not begun.
        """
        forks.check()
        self._check_begun()
        self._at_end.append(used)

    def check(self) -> None:
        """Raises what the work is to stop for.

        InsufficientCredits, BudgetExceeded: an extension was refused, or what was used could not be
        collected. Unavailable, DeadlineExceeded, with `on_outage="refuse"`: the last commit had no answer.
        Any other: usage was refused.
        """
        if self._task is not None and self._task.done() and not self._is_leaving:
            self._task.result()
        problem = self._problem()
        if problem is not None:
            raise problem

    async def flush(self) -> None:
        """Commits what was added at once, and returns when that was tried; raises as `check` does.

        Afterwards the hold is what the next step of the work needs, or what it is short of was raised.
        """
        forks.check()
        if self._task is not None and not self._task.done():
            tried = asyncio.get_running_loop().create_future()
            self._flushing.append(tried)
            self._wake.set()
            await asyncio.wait([tried, self._task], return_when=asyncio.FIRST_COMPLETED)
        self.check()

    def leave(self) -> None:
        """Takes no more usage, and commits the rest; leaving the block does it too."""
        at_end, self._at_end = self._at_end, []
        for used in at_end:
            self._add_last(used)
        self._is_leaving = True
        self._wake.set()

    @property
    def remaining(self) -> Decimal:
        """Credits held and available by the last answer, less what is not committed yet at its rate."""
        return credits_of(self._book.remaining_micros)

    @property
    def held(self) -> Decimal:
        """Credits that the hold has left, less what is not committed yet at its rate."""
        return credits_of(self._book.held_micros)

    @property
    def charged(self) -> Decimal:
        """Credits that were collected, by the answers so far."""
        return credits_of(self._book.charged_micros)

    @property
    def reservation_id(self) -> str | None:
        """The hold's id; None while there is none."""
        return self._hold.reservation_id

    def summary(self) -> Summary:
        """What was used, by line, in credits."""
        return summary_of(self._book, [item for write in self._uncommitted() for item in write.items])

    def _uncommitted(self) -> Iterator[Write]:
        for part in self._parts:
            yield from part.settling.waiting
        for settling in self._refused:
            yield from (write for write, _ in settling.refused)

    # -- what is added -----------------------------------------------------------------------------

    def _check_begun(self) -> None:
        """Raises ClientClosed where nothing can be added."""
        if self._task is None or self._is_leaving:
            raise ClientClosed("the session is over, or has not begun: nothing is added to it")

    def _add_last(self, used: Callable[[], Work]) -> None:
        """Adds what was used; who leaves may be the client, which nothing of it is to keep from closing."""
        try:
            self._take(self._dated(convert(**used()).items))
        except CreditsError as error:
            self._not_added = error
        except Exception as error:  # noqa: BLE001 -- a caller's function may raise anything
            self._not_added = UsageError(f"what a session adds at its end: {error!r}")
        else:
            return
        _log.warning("usage of %s is not charged: %s", self.customer_id, self._not_added)

    def _take(self, items: Sequence[UsageItem]) -> None:
        """Stores items, with the writes that take them. Raises JournalError: none is taken."""
        was_empty = not self._items_waiting
        begun: list[_Part] = []
        placed: list[tuple[_Part, UsageItem]] = []
        current = self._taking()
        room = ITEMS_MAX - len(current.write.items) if current is not None else 0
        for item in items:
            if current is None or not room:
                current, room = self._new_part(), ITEMS_MAX
                begun.append(current)
            placed.append((current, item))
            room -= 1
        self._outbox.take([part.write for part in begun], [(part.write, item) for part, item in placed])
        self._parts.extend(begun)
        self._open = current
        for part, item in placed:
            self._is_urgent |= self._book.estimate(item) is None
            part.estimated_micros += self._book.added([item])
        self._items_waiting += len(items)
        is_due = self._is_urgent or self._items_waiting >= COMMIT_ITEMS or self._book.extension_micros()
        if was_empty or is_due:
            self._wake.set()

    def _taking(self) -> _Part | None:
        """The part that still takes items: one that was begun under the hold as it is now."""
        if self._open is None or self._open.write.reservation_id != (self._hold.reservation_id or ""):
            return None
        return self._open

    def _new_part(self) -> _Part:
        self._numbers += 1
        request_id = f"{self._id}.{self._numbers}"
        reservation_id = self._hold.reservation_id
        if reservation_id is None:
            write = charge_of(request_id, self.customer_id, self._labels)
        else:
            write = commit_of(request_id, self.customer_id, reservation_id, self._labels)
        return _Part(write, Settling(self._outbox, write))

    def _dated(self, items: Sequence[UsageItem]) -> Sequence[UsageItem]:
        """The items, of now where they say nothing else: they may be sent much later."""
        for item in items:
            if not item.HasField("occurred_at"):
                item.occurred_at.FromDatetime(self._book.at(monotonic()) or datetime.now(UTC))
        return items

    def _problem(self) -> CreditsError | None:
        if self._refused:
            return self._refused[0].refused[0][1]
        if self._not_added is not None:
            return self._not_added
        if self._trouble is not None and not (self._delivery.goes_on and isinstance(self._trouble, AWAY)):
            return self._trouble
        return self._book.shortage

    # -- its task ----------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Commits and extends, until the session is left and nothing is to be done, or can be."""
        try:
            while not (self._is_leaving and self._is_settled()):
                await self._until_due()
                if not await self._has_worked():
                    break
        finally:
            self._delivery.sessions.discard(self)
            self._hand_over()

    async def _has_worked(self) -> bool:
        """Does what is due; False where a session that is left has no answer, and is not to wait for one."""
        is_last = self._is_leaving
        if is_last and self._delivery.goes_on and self._delivery.is_away:
            return False
        tried = tuple(self._flushing)
        try:
            await self._work()
        except CreditsError as error:
            self._trouble = error
            self._attempts += 1
            self._again_at = monotonic() + again_seconds(self._attempts)
            self._flushed(tried)
            # Who leaves waits for one answer that does not come, and not for another one after it.
            return not (is_last or (self._is_leaving and isinstance(error, _UNANSWERED)))
        self._trouble, self._attempts = None, 0
        if not self._parts and not self._book.extension_micros():
            self._flushed(tried)
        return True

    def _flushed(self, tried: Sequence[asyncio.Future[None]]) -> None:
        """Lets those go on who waited before the work was done."""
        for each in tried:
            self._flushing.remove(each)
            if not each.done():
                each.set_result(None)

    def _is_settled(self) -> bool:
        return not self._parts and self._hold.release is None

    async def _until_due(self) -> None:
        """Waits until there is something to do."""
        while (seconds := self._due_at() - monotonic()) > 0:
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if seconds == inf else seconds):
                    await self._wake.wait()

    def _due_at(self) -> float:
        if self._is_leaving or self._flushing:
            return -inf
        due = inf
        if self._parts:
            at_once = self._is_urgent or self._items_waiting >= COMMIT_ITEMS
            due = -inf if at_once else self._committed_at + COMMIT_SECONDS
        if self._hold.release is not None:
            due = min(due, -inf if self._book.extension_micros() else self._book.extend_at)
        elif self._book.shortage is None:
            due = -inf
        return max(due, self._again_at)

    async def _work(self) -> None:
        """Does what is due. Raises CreditsError where something had no answer: it is due again."""
        if not self._is_leaving and self._hold.release is None and self._book.shortage is None:
            await self._hold.renew()
        await self._commit()
        if not self._is_leaving:
            await self._hold.extend()
        elif not self._parts:
            await self._hold.give_back()

    # -- holding -----------------------------------------------------------------------------------

    async def _begin(self) -> None:
        """Takes the first hold."""
        if self._delivery.goes_on and self._delivery.is_away:
            return
        try:
            await self._hold.reserve()
        except AWAY:
            if not self._delivery.goes_on:
                raise

    async def _undo(self, beginning: asyncio.Task[None]) -> None:
        """Gives back what a session holds whose caller went away while it began."""
        await asyncio.wait([beginning])
        if beginning.cancelled() or beginning.exception() is not None or self._hold.release is None:
            return
        settling = Settling(self._outbox, self._hold.release)
        try:
            await settling.run(self._delivery.send)
        except CreditsError:
            self._delivery.leave([settling])

    # -- committing --------------------------------------------------------------------------------

    async def _commit(self) -> None:
        """Commits what was added before now, in its order."""
        for _ in range(len(self._parts)):
            part = self._parts[0]
            if part is self._open:
                self._open = None
                self._is_urgent = False
            self._committed_at = monotonic()
            if self._is_leaving and len(self._parts) == 1:
                self._make_final(part)
            await part.settling.run(self._delivery.send)
            self._parts.popleft()
            self._items_waiting -= len(part.write.items)
            self._settled(part)

    def _make_final(self, part: _Part) -> None:
        """The last part gives back the rest of the hold, if it was not sent yet, and that can be stored."""
        if not part.settling.is_sent and self._hold.is_of(part.write):
            self._outbox.end(part.write)

    def _settled(self, part: _Part) -> None:
        """Counts what became of a part."""
        self._book.answered(part.estimated_micros)
        for write, answer in part.settling.answers:
            self._charged(write, answer)
        became_charge = any(answer.HasField("charge") for _, answer in part.settling.answers)
        if became_charge and self._hold.is_of(part.write):
            self._hold.lose()
        if part.settling.refused:
            self._refused.append(part.settling)

    def _charged(self, write: Write, answer: pb.BatchResult) -> None:
        if answer.HasField("charge"):
            charge = charges.charge_of(answer.charge.charge, charges.written_of(answer.charge))
        else:
            written = charges.written_of(answer.commit)
            reservation = charges.reservation_of(answer.commit.reservation, written)
            charge = charges.charge_of(answer.commit.charge, written, reservation)
        self._book.charged(charge, write.items)
        if self._hold.is_of(write) and (charge.late or charge.final):
            self._hold.lose()

    def _hand_over(self) -> None:
        """Leaves what has no answer to the client."""
        left = [part.settling for part in self._parts if part.settling.waiting]
        if self._hold.release is not None:
            left.append(Settling(self._outbox, self._hold.release))
        self._delivery.leave(left)
        for settling in self._refused:
            for write, _ in settling.refused:
                self._delivery.refuse(write)
