"""The outbox: what a process has to write, stored before it is sent, and dropped when it is answered.

With a journal each change of `Outstanding` is stored before it counts. What cannot be stored is not taken:
the caller has an error, and nothing is sent of it. That something was answered need not be stored: sent
again, it has the same answer.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

from google.protobuf.message import DecodeError

from ledger.client.errors import (
    BooksDoNotVerify,
    BudgetExceeded,
    CallerRefused,
    InsufficientCredits,
    InvalidArgument,
    JournalError,
    JournalFull,
    NotEntitled,
    Refused,
    ReservationClosed,
    ReservationExpired,
    ReservationNotFound,
    UnpricedUsage,
)
from ledger.client.journal import Journal, framed
from ledger.client.limits import CLIENT_LIMITS
from ledger.client.outstanding import (
    Outstanding,
    Part,
    Write,
    begun,
    final,
    halves,
    item_of,
    late_charge,
    replaced,
    settled,
)
from ledger.v1.credit_service_pb2 import BatchItem, BatchResult
from ledger.v1.usage_pb2 import UsageItem

Send = Callable[[BatchItem], Awaitable[BatchResult]]
"""Carries out one write, repeated while that may help. Raises CreditsError."""

NOT_THE_WRITE: Final = (BooksDoNotVerify, CallerRefused)
"""Refusals that pass, or are mended, and say nothing of the write: what has been done is sent until it is
answered otherwise."""
_LATER: Final = (
    ReservationClosed,
    ReservationNotFound,
    InsufficientCredits,
    BudgetExceeded,
    NotEntitled,
    UnpricedUsage,
)
"""What a request for usage that has happened is refused for, and a charge of work that is done is not."""
_GONE: Final = (ReservationClosed, ReservationExpired, ReservationNotFound)
"""What a release is refused for where nothing is held any more."""
_INSTANT: Final = "occurred_at"


class Outbox:
    """What is to be written, in memory and, with a journal, on a disk."""

    def __init__(
        self, journal: Journal | None = None, waste_bytes_min: int = CLIENT_LIMITS.waste_bytes_min
    ) -> None:
        """Raises JournalError, and closes the journal, where it holds what this version does not read."""
        self._journal = journal
        self._waste_bytes_min = waste_bytes_min
        self._outstanding = Outstanding() if journal is None else _outstanding_in(journal)
        self._live_bytes = journal.end_bytes if journal else 0
        """When nothing in the journal was settled, last."""
        self._has_waste = True

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to do."""
        return not self._outstanding.writes

    @property
    def is_stored(self) -> bool:
        """Whether it outlives the process."""
        return self._journal is not None

    def find(self, request_id: str) -> Write | None:
        """What has no answer under this request id."""
        return self._outstanding.writes.get(request_id)

    def in_turns(self) -> list[list[Write]]:
        """All that is to be sent: the writes of a turn after each other."""
        return self._outstanding.in_turns()

    # -- what is to be done ------------------------------------------------------------------------

    def take(self, begins: Sequence[Write], items: Sequence[tuple[Write, UsageItem]]) -> None:
        """Takes new writes, and items of writes that are not sent yet: all, or nothing.

        Raises JournalFull, JournalError: nothing was taken.
        """
        records = [begun(write) for write in begins]
        records += [item_of(write.request_id, item) for write, item in items]
        self._store(records, bounded=True)
        for write in begins:
            self._outstanding.begin(write)
        for write, item in items:
            write.items.append(item)

    def end(self, write: Write) -> bool:
        """Makes a commit that is not sent yet the final one; False where that cannot be stored."""
        try:
            self._store([final(write.request_id)])
        except JournalError:
            return False
        write.outline.commit.final = True
        return True

    def drop(self, write: Write) -> None:
        """Nothing is left to do for it: it was answered, or the caller gives it up."""
        if write.request_id not in self._outstanding.writes:
            return
        self._outstanding.settle(write)
        self._has_waste = True
        # A disk that is full tells nobody anything: the same is sent again, and has the same answer.
        with suppress(JournalError):
            self._store([settled(write.request_id)])

    def replace(self, write: Write, parts: Sequence[Part]) -> list[Write]:
        """Puts others in a write's place, and returns them. Raises JournalError: that is not stored."""
        self._store([replaced(write.request_id, parts)])
        self._has_waste = True
        return self._outstanding.replace(write, parts)

    # -- storing -----------------------------------------------------------------------------------

    def tidy(self) -> None:
        """Writes the journal anew without what is settled. A disk that is full leaves it as it is."""
        if self._journal is not None:
            with suppress(JournalError):
                self._journal.rewrite(self._outstanding.records())
                self._live_bytes, self._has_waste = self._journal.end_bytes, False

    def close(self) -> None:
        """Leaves what is outstanding in the journal for whoever recovers it; without any it goes."""
        if self._journal is None:
            return
        if self.is_empty:
            self._journal.remove()
        else:
            self._journal.close()

    def _store(self, records: Sequence[bytes], *, bounded: bool = False) -> None:
        journal = self._journal
        if journal is None:
            return
        more = sum(len(framed(record)) for record in records)
        wasted = journal.end_bytes - self._live_bytes > self._live_bytes + self._waste_bytes_min
        if self._has_waste and (wasted or journal.end_bytes + more > journal.bytes_max):
            self.tidy()
        if bounded and journal.end_bytes + more > journal.bytes_max:
            raise JournalFull(
                f"the journal {journal.path} holds {journal.end_bytes} bytes of at most {journal.bytes_max}"
            )
        journal.append(*records)


def _outstanding_in(journal: Journal) -> Outstanding:
    try:
        return Outstanding(journal.records)
    except (ValueError, struct.error, DecodeError) as error:
        journal.close()
        raise JournalError(
            f"{journal.path} holds what this version of the client does not read ({error}): it stays as it"
            " is, for the version that wrote it"
        ) from error


class Settling:
    """A write on its way to an answer, or to those of others in its place."""

    def __init__(self, outbox: Outbox, write: Write) -> None:
        self._outbox = outbox
        self.write = write
        self.waiting = [write]
        """What is still to be answered."""
        self.answers: list[tuple[Write, BatchResult]] = []
        self.refused: list[tuple[Write, Refused]] = []
        """With a journal they stay in the outbox: usage is dropped by nobody but the caller."""
        self.is_sent = False
        """What stands under its request id is the ledger's from now on: it is not to be changed."""

    def take_answers(self) -> list[tuple[Write, BatchResult]]:
        """Hands over the answers so far."""
        answers, self.answers = self.answers, []
        return answers

    def take_refused(self) -> list[tuple[Write, Refused]]:
        """Hands over what was refused so far."""
        refused, self.refused = self.refused, []
        return refused

    async def run(self, send: Send) -> None:
        """Sends what is still to be answered.

        Raises CreditsError where there is no answer yet: it goes on with the same when it is called again.
        """
        self.is_sent = True
        while self.waiting:
            write = self.waiting[0]
            try:
                answer = await send(write.message())
            except NOT_THE_WRITE:
                raise
            except Refused as error:
                self.waiting[:1] = self._instead(write, error)
            else:
                self._outbox.drop(write)
                self.answers.append((write, answer))
                del self.waiting[0]

    def _instead(self, write: Write, error: Refused) -> list[Write]:
        if write.is_release and isinstance(error, _GONE):
            self._outbox.drop(write)
            return []
        parts = _parts_instead(write, error)
        if not parts:
            self.refused.append((write, error))
            if not self._outbox.is_stored:
                # Nobody can recover it: who added it has the error.
                self._outbox.drop(write)
            return []
        return self._outbox.replace(write, parts)


def _parts_instead(write: Write, error: Refused) -> list[Part]:
    """What may be taken where a write was refused; nothing, if it is refused for good."""
    if isinstance(error, _LATER) and write.items and not write.outline.charge.already_used:
        return late_charge(write)
    # Of what is too old by now an earlier attempt may have had its effect: its parts would have it again.
    is_shape = isinstance(error, InvalidArgument) and not any(_INSTANT in each.field for each in error.fields)
    return halves(write) if is_shape and len(write.items) > 1 else []
