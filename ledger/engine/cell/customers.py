"""A cell's memory: its customers, the open batches, and what waits to be loaded. Nothing here waits.

A command is decided on arrival against its customer's wallet as all earlier commands left it, and joins the
open batch. What memory lacks is asked of the loader; a customer is loaded while nothing of it is undecided
or uncommitted, and its commands wait in order of arrival. When a batch does not commit, the customers
concerned leave memory, and their commands are decided again on a fresh load.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable
from datetime import datetime

import structlog

from ledger.books import due
from ledger.books.making import make
from ledger.books.model import Entry, Plan, Refusal, RefusalReason
from ledger.clock import DatabaseClock, boot_seconds
from ledger.engine.cell.customer import LockedRound, Member, decide_in_memory
from ledger.engine.cell.open_batch import CustomerPart, OpenBatch
from ledger.engine.command import Answer, Committed, FaultError, Pending, UnavailableError
from ledger.prices.price_book import PriceBook
from ledger.store.audit import audited
from ledger.store.cells.load import Found, Loaded, LoadRequest, Stopped, Unreadable
from ledger.store.cells.write import Standing
from ledger.store.directory import Directory

WALLETS_MAX = 10_000
"""Customers in memory; idle ones leave it first."""
BATCH_COMMANDS_MAX = 2_000
"""Commands in one statement; what arrives beyond it forms the next."""
BATCH_WORK_MAX = 5_000
"""Lines in one statement, but for a command that has more by itself: some tenth of a second."""
WORK_AT_ONCE = 200
"""Lines decided of one customer without a pause, when its commands have waited: some 10 ms, and several times
that where each begins a run."""
ROUND_WORK_MAX = 1_000
"""Lines decided in one round under the lock, but for a command that has more: wallets stay locked."""
LOAD_CUSTOMERS_MAX = 500
"""Customers in one load."""
CONTENDED_MAX = 100
"""Customers in one round under the lock."""
UNDISTURBED_ROUNDS = 3
"""After so many a customer that another process wrote too is decided in memory again."""
PATIENCE_SECONDS = 10.0
"""How long a command is retried inside before it is answered UNAVAILABLE."""

Repeats = dict[tuple[int, str], Entry]
"""Entries found under the request ids of refused commands."""

_log = structlog.get_logger(__name__)


class WaitingLine:
    """Customers that wait for the same thing, in order; whoever serves them takes some at a time."""

    def __init__(self, limit: int) -> None:
        self._members: OrderedDict[int, Member] = OrderedDict()
        self._limit = limit
        self.has_some = asyncio.Event()
        """There are some to take: those that have nothing uncommitted."""

    def join(self, member: Member) -> None:
        """Waits, behind the others."""
        self._members[member.customer] = member
        member.in_line = True
        self.wake(member)

    def wake(self, member: Member) -> None:
        """A customer may have nothing uncommitted any more."""
        if not member.parts and member.customer in self._members:
            self.has_some.set()

    def leave(self, member: Member) -> None:
        """Waits no longer."""
        if self._members.pop(member.customer, None) is not None:
            member.in_line = False

    def members(self) -> list[Member]:
        """All that wait."""
        return list(self._members.values())

    def take(self) -> list[Member]:
        """The first that have nothing uncommitted, to be loaded now; what is left keeps the event set."""
        members = [member for member in self._members.values() if not member.parts][: self._limit]
        for member in members:
            del self._members[member.customer]
            member.in_line, member.loading = False, True
        if all(member.parts for member in self._members.values()):
            self.has_some.clear()
        return members


class Customers:
    """What one process knows of one cell, and has not committed yet."""

    def __init__(self, name: str, directory: Directory, prices: PriceBook, clock: DatabaseClock) -> None:
        self.name = name
        self._directory = directory
        self._prices = prices
        self._clock = clock
        self._members: OrderedDict[int, Member] = OrderedDict()
        self._batches: deque[OpenBatch] = deque()
        self._shipping: OpenBatch | None = None
        """The batch that is being written."""
        self.wanting = WaitingLine(LOAD_CUSTOMERS_MAX)
        """Those that want a load."""
        self.undoing = WaitingLine(1)
        """Those whose next command gives charges back: such a load takes long, and holds up no other."""
        self.contended = WaitingLine(CONTENDED_MAX)
        """Those that want a round under the lock instead of a load."""
        self._lines = (self.wanting, self.undoing, self.contended)
        self.has_batch = asyncio.Event()

    def __len__(self) -> int:
        return len(self._members)

    # -- arrival and deciding --------------------------------------------------------------------

    def arrive(self, pending: Pending, seconds: float) -> Pending | None:
        """Decides a command at once, if nothing of its customer waits and memory has what it needs.

        Does not take one whose request id is another's that has no answer yet: that other one. `seconds` is
        now, on the boot clock.
        """
        member = self._members.get(pending.customer)
        if member is None:
            self._evict(room_for=1)
            member = self._members[pending.customer] = Member(pending.customer)
        else:
            self._members.move_to_end(pending.customer)
        if pending.command is not None:
            first = member.in_flight.setdefault(pending.command.request_id, pending)
            if first is not pending:
                return first
            pending.in_flight = member.in_flight
        member.waiting.append(pending)
        if len(member.waiting) == 1:
            self._advance(member, seconds)
        return None

    def in_flight(self) -> list[Pending]:
        """All commands that have no answer yet."""
        return [pending for member in self._members.values() for pending in member.in_flight.values()]

    def _evict(self, room_for: int = 0) -> None:
        """Idle customers leave memory, the longest unused first; a busy one is passed over."""
        surplus = len(self._members) + room_for - WALLETS_MAX
        if surplus <= 0:
            return
        idle = (customer for customer, member in self._members.items() if member.is_idle())
        for customer in [next(idle, None) for _ in range(surplus)]:
            if customer is not None:
                del self._members[customer]

    def _advance(self, member: Member, seconds: float | None = None) -> None:
        """Decides what waits, in order of arrival, up to a command that needs what is not in memory.

        All of it at one instant, `seconds` on the boot clock where that has just been read. Where much has
        waited, others have their turn in between.
        """
        if member.loading:
            return
        if seconds is None:
            seconds = boot_seconds()
        instant, knows_prices = self._clock.at(seconds), self._prices.published.is_current(seconds)
        work = 0
        while member.waiting:
            pending = member.waiting[0]
            if pending.asked.abandoned and pending.drop_if_abandoned():
                member.waiting.popleft()
                continue
            if member.round is not None and member.round.excludes(pending):
                return
            if work >= WORK_AT_ONCE and member.round is None:
                asyncio.get_running_loop().call_soon(self._advance, member)
                return
            work += pending.work
            now = instant
            if member.wallet is not None and member.wallet.last_instant > now:
                now = member.wallet.last_instant  # Whichever process wrote last, instants never go back.
            if not knows_prices or member.lacks(pending, self._prices, now):
                self._want(member)
                return
            member.waiting.popleft()
            self._decide(member, pending, now)

    def _decide(self, member: Member, pending: Pending, now: datetime) -> None:
        if pending.command is None:
            self._answer_look(member, pending)
            return
        try:
            outcome = decide_in_memory(member, pending, self._prices, now)
        except Exception as error:  # noqa: BLE001 -- deciding has no effect: its fault is this command's alone
            pending.fail(error)
            return
        part = self._part(member, pending.work, alone=pending.alone)
        if isinstance(outcome, Refusal):
            part.items.append((pending, outcome))
            part.has_refusals = True
            return
        if pending.act is not None:
            part.acts += (audited(pending.act, part.wallet, pending.command, outcome),)
        part.apply(outcome)
        part.items.append((pending, make(Committed, (outcome.entry, False))))
        member.keep(outcome)
        member.token = part.token

    def _answer_look(self, member: Member, pending: Pending) -> None:
        """A look at what is due is answered when that is committed, at once if there was nothing."""
        underway = (*reversed(self._batches), self._shipping)
        parts = (batch.parts.get(member.customer) for batch in underway if batch is not None)
        part = next((part for part in parts if part is not None), None)
        if part is None:
            pending.answer(None)
        else:
            part.items.append((pending, None))

    def _part(self, member: Member, work: int, *, alone: bool) -> CustomerPart:
        """The customer's part of the open batch; a batch opens where there is none to join."""
        batch = member.round.batch if member.round is not None else self._open_batch(work, alone=alone)
        batch.commands += 1
        batch.work += work
        part = batch.parts.get(member.customer)
        if part is None:
            wallet = member.wallet
            if wallet is None:
                raise AssertionError("a part begins on a wallet")
            before = Standing(wallet.sequence, member.token)
            part = batch.parts[member.customer] = CustomerPart(member.customer, before, batch.token, wallet)
            member.parts += 1
        return part

    def _open_batch(self, work: int, *, alone: bool) -> OpenBatch:
        batch = self._batches[-1] if self._batches else None
        if (
            batch is None
            or alone
            or batch.alone
            or batch.commands >= BATCH_COMMANDS_MAX
            or 0 < batch.work > BATCH_WORK_MAX - work
        ):
            batch = OpenBatch(decided_at=self._clock.now(), alone=alone)
            self._batches.append(batch)
            self.has_batch.set()
        return batch

    # -- what the writer does --------------------------------------------------------------------

    def next_batch(self) -> OpenBatch:
        """The oldest batch, to be written now; the next command opens another if it was the last."""
        batch = self._shipping = self._batches.popleft()
        if not self._batches:
            self.has_batch.clear()
        return batch

    def shipped(self) -> None:
        """The batch that was being written is settled, one way or the other."""
        self._shipping = None

    def finish(self, batch: OpenBatch, written: frozenset[int], repeats: Repeats) -> None:
        """Answers the commands of a batch, all of whose customers were written."""
        for customer, part in batch.parts.items():
            if customer not in written:
                continue
            member = self._members[customer]
            member.parts -= 1
            member.settle(part)
            for pending, answer in part.items:
                pending.answer(_after_a_look(pending, answer, repeats) if repeats else answer)
            if member.in_line:
                self._wake(member)
        self._evict()

    def retract(self, customers: Iterable[int], shipped: OpenBatch) -> None:
        """Takes customers out of memory and of all batches; their commands wait to be decided again."""
        for customer in list(customers):
            own = shipped.parts.get(customer)
            self._decide_again(customer, own.commands() if own else [])
        self._drop_empty_batches()

    def take_apart(self, batch: OpenBatch, error: Exception) -> None:
        """One bad command fails alone: each is written by itself, and what fails again is at fault."""
        _log.error("write.refused", cell=self.name, alone=batch.alone, **_log_fields(batch), exc_info=error)
        for customer, part in batch.parts.items():
            commands = part.commands()
            for pending in commands:
                pending.alone = True
                if batch.alone:
                    pending.fail(FaultError(repr(error)))
            self._decide_again(customer, [] if batch.alone else commands)
        self._drop_empty_batches()

    def forget(self) -> None:
        """Nothing in memory has to be so: the database is on another history.

        Batches rest on its prices and customers even where the wallets stand as they were: the writer has
        them decided again. Their customers stay until then.
        """
        for batch in (self._shipping, *self._batches):
            if batch is not None:
                batch.outdated = True
        for customer, member in list(self._members.items()):
            if member.is_idle():
                del self._members[customer]
            elif not member.parts:
                member.forget()

    def forget_all(self, shipped: OpenBatch) -> None:
        """Takes every customer out of memory: nothing that is in it can be relied on."""
        self.retract({customer for batch in (shipped, *self._batches) for customer in batch.parts}, shipped)
        for customer in [customer for customer, member in self._members.items() if member.is_idle()]:
            del self._members[customer]

    def _decide_again(self, customer: int, shipped: list[Pending]) -> None:
        """Puts commands back in line, before what came later, with those decided on top of them."""
        member = self._members[customer]
        later = [batch.parts.pop(customer) for batch in self._batches if customer in batch.parts]
        again = shipped + [pending for part in later for pending in part.commands()]
        for pending in again:
            pending.attempts += 1
            pending.give_back(None)
        member.waiting.extendleft(pending for pending in reversed(again) if not _gave_up(pending))
        member.parts = 0
        member.forget()
        self._advance(member)

    def _drop_empty_batches(self) -> None:
        self._batches = deque(batch for batch in self._batches if batch.parts)
        if not self._batches:
            self.has_batch.clear()

    # -- what the loader does --------------------------------------------------------------------

    def _want(self, member: Member) -> None:
        head = member.waiting[0] if member.waiting else None
        if member.contended:
            wanted = self.contended
        else:
            wanted = self.undoing if head is not None and head.gives_back else self.wanting
        for line in self._lines:
            if line is not wanted:
                line.leave(member)
        wanted.join(member)

    def _wake(self, member: Member) -> None:
        for line in self._lines:
            line.wake(member)

    def not_loaded(self, members: Iterable[Member]) -> None:
        """The load failed: its customers want it still."""
        for member in members:
            member.loading = False
            self._want(member)

    def loaded(self, member: Member, asked: LoadRequest, loaded: Found | None) -> None:
        """Memory as loaded; then what is due by the clock, then what waits."""
        member.loading = False
        member.stopped = isinstance(loaded, Stopped)
        match loaded:
            case None:
                self._lost(member)
            case Stopped():
                self._refuse(member, asked, loaded)
            case Unreadable():
                self._fail(member, loaded.error)
            case Loaded():
                self._take(member, asked, loaded)

    def _refuse(self, member: Member, asked: LoadRequest, stopped: Stopped) -> None:
        """Nothing is booked upon books that do not verify, not even what is due; a repeat has its entry.

        A command whose id was not looked for waits for the next load, which looks.
        """
        member.forget()
        member.contended = 0
        _answer_repeats(member, stopped.entries)
        refusal = Refusal(RefusalReason.BOOKS_DO_NOT_VERIFY, {"finding_id": stopped.finding})
        looked_for = {*asked.request_ids}
        waiting, member.waiting = member.waiting, deque()
        for pending in waiting:
            if pending.command is None:
                pending.answer(None)
            elif pending.command.request_id in looked_for:
                pending.answer(refusal)
            else:
                member.waiting.append(pending)
        self._advance(member)

    def _take(self, member: Member, asked: LoadRequest, loaded: Loaded) -> None:
        before = member.wallet
        anew = before is None or member.token != loaded.token or member.is_full()
        if anew:
            member.forget()
        member.wallet, member.token = loaded.wallet, loaded.token
        member.reservations.update(loaded.reservations)
        # Only of what was asked for is it known that it is not there: more may have come to wait meanwhile.
        member.absent = set(asked.reservations) - loaded.reservations.keys()
        member.states.update({key: loaded.states.get(key) for key in asked.states})
        if anew:
            member.make_room()
        _answer_repeats(member, loaded.entries)
        if asked.due_at is not None:
            try:
                self._write_due(member, loaded, asked.due_at)
            except Exception as error:  # noqa: BLE001 -- nothing is decided yet: its fault is this customer's alone
                self._fail(member, error)
        self._advance(member)

    def _lost(self, member: Member) -> None:
        """A customer that the directory knew is gone with the history of the database that it was on.

        Its id may be another customer's by now, under another number: whoever asks again is led there.
        """
        self._directory.forget()
        member.forget()
        for pending in member.waiting:
            pending.fail(UnavailableError())
        member.waiting.clear()

    def _fail(self, member: Member, error: Exception) -> None:
        """A customer whose books cannot go on: what waits for it is answered with the fault."""
        _log.error("customer.faulty", cell=self.name, customer=member.customer, exc_info=error)
        for pending in member.waiting:
            pending.fail(error)
        member.waiting.clear()
        member.forget()

    def _write_due(self, member: Member, loaded: Loaded, due_at: datetime) -> None:
        """What is due is written ahead of the customer's next command, in the same batch."""
        wallet = loaded.wallet
        if wallet.next_due_at is None or wallet.next_due_at > due_at:
            return
        now = max(due_at, wallet.last_instant)
        plan = self._prices.plans.get(wallet.plan) or Plan(wallet.plan, None)
        decisions, after = due(
            wallet, loaded.due, loaded.next_reservation_due_at, loaded.closings, now=now, plan=plan
        )
        part = self._part(member, len(decisions), alone=False)
        for decision in decisions:
            part.apply(decision)
            member.keep(decision)
        part.take(after)
        member.wallet, member.token = after, part.token
        if decisions:
            # What a reversal is to undo was read before this: a hold that it found open may have expired.
            for pending in member.waiting:
                pending.give_back(None)

    def give_up_on_the_old(self) -> None:
        """While the database is away, commands that have waited long enough are answered UNAVAILABLE."""
        for line in self._lines:
            for member in line.members():
                member.waiting = deque(pending for pending in member.waiting if not _gave_up(pending))
                if not member.waiting:
                    line.leave(member)

    # -- rounds under the lock -------------------------------------------------------------------

    def contend(self, customers: Iterable[int]) -> None:
        """Another process has changed these: their commands are decided under the lock from now on."""
        for customer in customers:
            self._members[customer].contended = UNDISTURBED_ROUNDS

    def decide_under_lock(
        self, member: Member, asked: LoadRequest, loaded: Found | None, batch: OpenBatch
    ) -> None:
        """Decides what waits into the round's own batch. What arrives now waits for the next round."""
        if isinstance(loaded, Loaded):
            undisturbed = loaded.wallet.sequence == member.last_sequence
            member.contended = member.contended - 1 if undisturbed else UNDISTURBED_ROUNDS
        member.round = LockedRound(batch, frozenset(asked.request_ids), ROUND_WORK_MAX)
        try:
            self.loaded(member, asked, loaded)
        finally:
            member.round = None
            member.loading = True

    def finish_round(self, members: Iterable[Member], batch: OpenBatch) -> None:
        """The round is committed: answers its commands, and lets its customers go on."""
        self.finish(batch, frozenset(batch.parts), {})
        # Who found no room in this round comes first in the next.
        for member in sorted(members, key=lambda member: member.customer in batch.parts):
            if member.wallet is not None:
                member.last_sequence = member.wallet.sequence
            self._leave_round(member)

    def lose_round(self, members: Iterable[Member], batch: OpenBatch, error: Exception | None = None) -> None:
        """The round has no effect: its commands wait again, alone if the database refused one of them."""
        for member in members:
            if error is not None:
                member.contended = 0
        if error is not None:
            self.take_apart(batch, error)
        else:
            self.retract(batch.parts, batch)
        for member in members:
            self._leave_round(member)

    def _leave_round(self, member: Member) -> None:
        self.contended.leave(member)
        member.loading = False
        if member.contended:
            member.forget()
        self._advance(member)


def _gave_up(pending: Pending) -> bool:
    """Answers a command UNAVAILABLE if it has been retried for too long; its id makes a retry safe."""
    if boot_seconds() - pending.arrived_at < PATIENCE_SECONDS:
        return False
    pending.fail(UnavailableError())
    return True


def _answer_repeats(member: Member, entries: dict[str, Entry]) -> None:
    """Answers what waits and has an entry already: it was committed by an earlier attempt."""
    for pending in list(member.waiting):
        entry = entries.get(pending.command.request_id) if pending.command is not None else None
        if entry is not None:
            member.waiting.remove(pending)
            pending.answer(_entry_or_reuse(pending, entry))


def _entry_or_reuse(pending: Pending, entry: Entry) -> Committed | Refusal:
    """The answer to a request whose id has an entry: that entry, if it was this request's."""
    if pending.command is not None and entry.fingerprint == pending.command.fingerprint:
        return Committed(entry, replayed=True)
    return Refusal(RefusalReason.REQUEST_ID_REUSED, {"request_id": entry.request_id or ""})


def _after_a_look(pending: Pending, answer: Answer, repeats: Repeats) -> Answer:
    """The answer to a command of a committed batch: a refused one may be the repeat of a success."""
    if not isinstance(answer, Refusal) or pending.command is None:
        return answer
    entry = repeats.get((pending.customer, pending.command.request_id))
    return _entry_or_reuse(pending, entry) if entry is not None else answer


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
