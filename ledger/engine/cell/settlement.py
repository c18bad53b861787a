"""What became of a batch: its commands are answered, or decided again.

When a batch does not commit, the customers concerned leave memory, and their commands are decided again on a
fresh load.
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from ledger.books.model.entries import Entry
from ledger.books.model.refusals import Refusal, RefusalReason
from ledger.engine.cell.batches import Batches
from ledger.engine.cell.customer import UNDISTURBED_ROUNDS
from ledger.engine.cell.customers import Customers
from ledger.engine.cell.decider import Decider
from ledger.engine.cell.open_batch import OpenBatch
from ledger.engine.command import Answer, Committed, FaultError, Pending

Repeats = dict[tuple[int, str], Entry]
"""Entries found under the request ids of refused commands."""

_log = structlog.get_logger(__name__)


class Settlement:
    """Of the batches of one cell."""

    def __init__(self, customers: Customers, batches: Batches, decider: Decider) -> None:
        self._customers = customers
        self._batches = batches
        self._decider = decider

    def finish(self, batch: OpenBatch, written: frozenset[int], repeats: Repeats) -> None:
        """Answers the commands of the customers that were written."""
        for customer, part in batch.parts.items():
            if customer not in written:
                continue
            member = self._customers.members[customer]
            member.parts -= 1
            member.settle(part)
            for pending, answer in part.items:
                pending.answer(_after_a_look(pending, answer, repeats) if repeats else answer)
            if member.in_line:
                self._customers.wake(member)
        self._customers.evict()

    def contend(self, customers: Iterable[int]) -> None:
        """Another process has changed these: their commands are decided under the lock from now on."""
        for customer in customers:
            self._customers.members[customer].contended = UNDISTURBED_ROUNDS

    def retract(self, customers: Iterable[int], shipped: OpenBatch) -> None:
        """Takes customers out of memory and of all batches; their commands wait to be decided again."""
        for customer in list(customers):
            own = shipped.parts.get(customer)
            self._decide_again(customer, own.commands() if own else [])
        self._batches.drop_empty()

    def take_apart(self, batch: OpenBatch, error: Exception) -> None:
        """One bad command fails alone: each is written by itself, and what fails again is at fault."""
        cell, fields = self._customers.cell, _log_fields(batch)
        _log.error("write.refused", cell=cell, alone=batch.alone, **fields, exc_info=error)
        for customer, part in batch.parts.items():
            commands = part.commands()
            for pending in commands:
                pending.alone = True
                if batch.alone:
                    pending.fail(FaultError(repr(error)))
            self._decide_again(customer, [] if batch.alone else commands)
        self._batches.drop_empty()

    def forget(self) -> None:
        """Nothing in memory has to be so: the database is on another history.

        Batches rest on its prices and customers even where the wallets stand as they were: the writer has
        them decided again. Their customers stay until then.
        """
        for batch in self._batches.underway():
            batch.outdated = True
        self._customers.drop_idle()
        for member in self._customers.members.values():
            if not member.parts:
                member.forget()

    def forget_all(self, shipped: OpenBatch) -> None:
        """Takes every customer out of memory: nothing that is in it can be relied on."""
        batches = (shipped, *self._batches.open)
        self.retract({customer for batch in batches for customer in batch.parts}, shipped)
        self._customers.drop_idle()

    def _decide_again(self, customer: int, shipped: list[Pending]) -> None:
        """Puts commands back in line, before what came later, with those decided on top of them."""
        member = self._customers.members[customer]
        later = [batch.parts.pop(customer) for batch in self._batches.open if customer in batch.parts]
        again = shipped + [pending for part in later for pending in part.commands()]
        for pending in again:
            pending.attempts += 1
            pending.take_facts(None)
        gave_up = self._customers.gave_up
        member.waiting.extendleft(pending for pending in reversed(again) if not gave_up(pending))
        member.parts = 0
        member.forget()
        self._decider.advance(member)


def entry_or_reuse(pending: Pending, entry: Entry) -> Committed | Refusal:
    """The answer to a request whose id has an entry: that entry, if it was this request's."""
    if pending.command is not None and entry.fingerprint == pending.command.fingerprint:
        return Committed(entry, replayed=True)
    return Refusal(RefusalReason.REQUEST_ID_REUSED, {"request_id": entry.request_id or ""})


def _after_a_look(pending: Pending, answer: Answer, repeats: Repeats) -> Answer:
    """The answer to a command of a committed batch: a refused one may be the repeat of a success."""
    if not isinstance(answer, Refusal) or pending.command is None:
        return answer
    entry = repeats.get((pending.customer, pending.command.request_id))
    return entry_or_reuse(pending, entry) if entry is not None else answer


def _log_fields(batch: OpenBatch) -> dict[str, str]:
    """What a log may say of who asked for a batch of one command."""
    if not batch.alone:
        return {}
    fields: dict[str, str] = {}
    for pending in (pending for part in batch.parts.values() for pending, _ in part.items):
        call, command = pending.asked.call, pending.command
        fields |= call.log_fields() if call is not None else {}
        fields |= {"request_id": command.request_id} if command is not None else {}
    return fields
