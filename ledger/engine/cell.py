"""One cell: its customers in memory, the open batch, the writer and the loader.

A command is decided on arrival, in memory, against its customer's wallet as all earlier commands left it,
and joins the open batch. The writer ships the open batch in one statement whenever the one before it is
done, and a new one opens. A refusal is an item of the batch too, and is answered when the batch proves
that it was decided on the truth.

What memory lacks is loaded: one load in flight, on a connection of its own; misses that arrive meanwhile
form the next. A customer is loaded while nothing of it is undecided or uncommitted, and its commands wait
in order of arrival. When a batch does not commit, the customers concerned leave memory, and their commands
are decided again on a fresh load, which also looks for their request ids in the journal.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from datetime import datetime

import asyncpg
import structlog

from ledger.books import due
from ledger.books.commands import Reverse
from ledger.books.model import Entry, Plan, Refusal, RefusalReason
from ledger.engine.batch import OpenBatch, Part, Pending
from ledger.engine.clock import DatabaseClock, boot_seconds
from ledger.engine.links import Link, LinkDown
from ledger.engine.member import Member, decide_in_memory, named_reservation, named_runs
from ledger.engine.outcomes import Committed, Faulty, Overloaded, Unavailable
from ledger.engine.prices import PriceBook
from ledger.metrics.operations import OperationsMetrics
from ledger.store.database import Database
from ledger.store.load import Loaded, LoadRequest, find_entries, load, load_reversal
from ledger.store.write import RepeatedRequest, UnknownOutcome, WriteRefused, Written, check, write

WALLETS_MAX = 10_000
"""Customers in memory; idle ones leave it first."""
WAITING_MAX = 50_000
"""Commands on their way in a cell; one more is OVERLOADED, before anything is decided for it."""
BATCH_COMMANDS_MAX = 2_000
"""Commands in one statement; what arrives beyond it forms the next."""
LOAD_CUSTOMERS_MAX = 500
"""Customers in one load."""
PATIENCE_SECONDS = 10.0
"""How long a command is retried inside before it is answered UNAVAILABLE."""

PAUSE_SECONDS = 0.1
"""Between two attempts while the database is away or out of something."""
_PASSING = ("40", "53", "57", "58", "55P03")
"""Classes of SQLSTATE that say nothing of the batch: conflicts, resources, operators, I/O, a lock not had."""

_log = structlog.get_logger(__name__)


class Cell:
    """All that this process knows and does of one cell. Everything runs on one event loop."""

    def __init__(
        self,
        name: str,
        database: Database,
        prices: PriceBook,
        clock: DatabaseClock,
        metrics: OperationsMetrics,
    ) -> None:
        self.name = name
        self._database = database
        self._prices = prices
        self._clock = clock
        self._metrics = metrics
        self._members: OrderedDict[int, Member] = OrderedDict()
        self._by_request: dict[tuple[int, str], Pending] = {}
        self._batches: deque[OpenBatch] = deque()
        self._shipping: OpenBatch | None = None
        """The batch that is being written."""
        self._wanting: OrderedDict[int, Member] = OrderedDict()
        self._has_batch = asyncio.Event()
        self._has_wanting = asyncio.Event()
        self._settled = asyncio.Event()
        """Cleared while the outcome of a write is unknown: nothing may be loaded then."""
        self._settled.set()
        self._writer = Link(database, f"acu {name} writer")
        self._loader = Link(database, f"acu {name} loader")
        self._tasks: list[asyncio.Task[None]] = []

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._write_forever(), name=f"writer of {self.name}"),
            asyncio.create_task(self._load_forever(), name=f"loader of {self.name}"),
        ]

    async def drain(self) -> None:
        """Waits until every command on its way has its answer, then ends the cell's connections."""
        while self._by_request:
            futures = [pending.future for pending in self._by_request.values()]
            await asyncio.wait(futures)
            await asyncio.sleep(0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._writer.close()
        await self._loader.close()

    # -- arrival ---------------------------------------------------------------------------------

    def in_flight(self, customer: int, request_id: str) -> Pending | None:
        """The command of this request id that has no answer yet, if there is one."""
        return self._by_request.get((customer, request_id))

    def submit(self, pending: Pending) -> None:
        """Takes a command whose request id is not in flight; decides it at once if memory has what it needs.

        Raises Overloaded.
        """
        if len(self._by_request) >= WAITING_MAX:
            raise Overloaded
        if pending.command is not None:
            key = (pending.customer, pending.command.request_id)
            self._by_request[key] = pending
            pending.future.add_done_callback(lambda _: self._by_request.pop(key, None))
            self._metrics.commands_waiting.set(len(self._by_request))
        member = self._member(pending.customer)
        member.waiting.append(pending)
        if len(member.waiting) == 1:
            self._advance(member)

    def _member(self, customer: int) -> Member:
        member = self._members.get(customer)
        if member is None:
            self._evict(room_for=1)
            member = self._members[customer] = Member(customer)
        else:
            self._members.move_to_end(customer)
        return member

    def _evict(self, room_for: int = 0) -> None:
        """Idle customers leave memory, the longest unused first; a busy one is passed over."""
        surplus = len(self._members) + room_for - WALLETS_MAX
        if surplus <= 0:
            return
        idle = (customer for customer, member in self._members.items() if member.is_idle())
        for customer in [next(idle, None) for _ in range(surplus)]:
            if customer is not None:
                del self._members[customer]

    # -- deciding --------------------------------------------------------------------------------

    def _advance(self, member: Member) -> None:
        """Decides what waits, in order of arrival, up to a command that needs what is not in memory."""
        if member.loading:
            return
        while member.waiting:
            pending = member.waiting[0]
            now = self._now(member)
            if member.lacks(pending, now):
                self._want(member)
                return
            member.waiting.popleft()
            self._decide(member, pending, now)

    def _now(self, member: Member) -> datetime:
        """The instant of a decision: a customer's instants never go back, whichever process wrote last."""
        now = self._clock.now()
        return max(now, member.wallet.last_instant) if member.wallet is not None else now

    def _decide(self, member: Member, pending: Pending, now: datetime) -> None:
        wallet = member.wallet
        if wallet is None:
            raise AssertionError("deciding without a wallet")
        if pending.command is None:
            self._answer_look(member, pending)
            return
        try:
            outcome = decide_in_memory(member, pending, self._prices, now)
        except Exception as error:  # noqa: BLE001 -- deciding has no effect: its fault is this command's alone
            pending.fail(error)
            return
        part = self._part(member, alone=pending.alone)
        if isinstance(outcome, Refusal):
            part.items.append((pending, outcome))
            return
        part.apply(outcome)
        part.items.append((pending, outcome.entry))
        member.keep(outcome)

    def _answer_look(self, member: Member, pending: Pending) -> None:
        """A look at what is due is answered when that is committed, at once if there was nothing."""
        underway = (*reversed(self._batches), self._shipping)
        parts = (batch.parts.get(member.customer) for batch in underway if batch is not None)
        part = next((part for part in parts if part is not None), None)
        if part is None:
            pending.answer(None)
        else:
            part.items.append((pending, None))

    def _part(self, member: Member, *, alone: bool) -> Part:
        """The customer's part of the open batch; a batch opens where there is none to join."""
        wallet = member.wallet
        if wallet is None:
            raise AssertionError("a part begins on a wallet")
        batch = self._batches[-1] if self._batches else None
        if batch is None or alone or batch.alone or batch.commands >= BATCH_COMMANDS_MAX:
            batch = OpenBatch(decided_at=self._clock.now(), alone=alone)
            self._batches.append(batch)
            self._has_batch.set()
        batch.commands += 1
        if member.customer not in batch.parts:
            member.parts += 1
        return batch.part(wallet)

    # -- writing ---------------------------------------------------------------------------------

    async def _write_forever(self) -> None:
        while True:
            await self._has_batch.wait()
            batch = self._shipping = self._batches.popleft()
            if not self._batches:
                self._has_batch.clear()
            try:
                await self._ship(batch)
            except Exception as error:  # noqa: BLE001 -- nobody would write on: all would wait for ever
                self._take_apart(batch, error)
            self._shipping = None

    async def _ship(self, batch: OpenBatch) -> None:
        """Writes a batch, and answers or takes back each of its parts."""
        started = boot_seconds()
        try:
            connection = await self._writer.connection()
            if batch.has_writes():
                written = await write(connection, self.name, batch.rows())
            else:
                written = await check(connection, self.name, batch.before())
            answered = boot_seconds()
            repeats = await self._repeats(batch, written)
        except RepeatedRequest:
            self._retract(batch.parts, batch)
            return
        except WriteRefused as error:
            if will_pass(error):
                _log.warning("write.waits", cell=self.name, error=str(error))
                await asyncio.sleep(PAUSE_SECONDS)
                self._retract(batch.parts, batch)
            else:
                self._take_apart(batch, error)
            return
        except (UnknownOutcome, LinkDown) as error:
            await self._recover(batch, error)
            return
        self._clock.observe(written.clock, started, answered)
        self._metrics.batch(batch.commands, answered - started)
        self._finish(batch, written, repeats)

    async def _repeats(self, batch: OpenBatch, written: Written) -> dict[tuple[int, str], Entry]:
        """Entries under the ids of refused requests: a refusal may be the repeat of one that succeeded."""
        ids = [
            (pending.customer, pending.command.request_id)
            for pending, _ in batch.refused()
            if pending.customer in written.customers and pending.command is not None
        ]
        if not ids:
            return {}
        return await find_entries(await self._writer.connection(), self.name, ids)

    def _finish(self, batch: OpenBatch, written: Written, repeats: dict[tuple[int, str], Entry]) -> None:
        """Answers the customers that were written; the others have been changed by another process."""
        behind = batch.parts.keys() - written.customers
        if behind:
            self._metrics.conflicts.inc(len(behind))
            self._retract(behind, batch)
        for customer, part in batch.parts.items():
            if customer in behind:
                continue
            member = self._members[customer]
            member.parts -= 1
            member.settle(part)
            for pending, outcome in part.items:
                _answer(pending, outcome, repeats)
            self._wake(member)
        self._evict()

    def _retract(self, customers: Iterable[int], shipped: OpenBatch, error: Exception | None = None) -> None:
        """Takes customers out of memory and of all batches; their commands wait to be decided again.

        With an error the shipped commands are answered with it instead.
        """
        for customer in list(customers):
            member = self._members[customer]
            own = shipped.parts.get(customer)
            later = [batch.parts.pop(customer) for batch in self._batches if customer in batch.parts]
            shipped_commands = own.commands() if own else []
            if error is not None:
                for pending in shipped_commands:
                    pending.fail(error)
                shipped_commands = []
            again = shipped_commands + [pending for part in later for pending in part.commands()]
            for pending in again:
                pending.attempts += 1
                pending.facts = None
            member.waiting.extendleft(pending for pending in reversed(again) if not self._gave_up(pending))
            member.parts = 0
            member.forget()
            self._advance(member)
        self._drop_empty_batches()

    def _drop_empty_batches(self) -> None:
        self._batches = deque(batch for batch in self._batches if batch.parts)
        if not self._batches:
            self._has_batch.clear()

    def _take_apart(self, batch: OpenBatch, error: Exception) -> None:
        """One bad command fails alone: each is written by itself, and what fails again is at fault."""
        _log.error("write.refused", cell=self.name, alone=batch.alone, exc_info=error)
        if batch.alone:
            self._retract(batch.parts, batch, error=Faulty(repr(error)))
            return
        for part in batch.parts.values():
            for pending in part.commands():
                pending.alone = True
        self._retract(batch.parts, batch)

    async def _recover(self, batch: OpenBatch, error: Exception) -> None:
        """After an unknown outcome: forget everything, make sure that the old backend is gone, decide again.

        Until then the batch may still take effect, so nothing is loaded, and the ids of its commands are
        looked up by the load that follows.
        """
        _log.warning("write.unknown_outcome", cell=self.name, error=repr(error))
        self._settled.clear()
        everyone = {c for b in (batch, *self._batches) for c in b.parts}
        self._retract(everyone, batch)
        for customer in [c for c, member in self._members.items() if member.is_idle()]:
            del self._members[customer]
        while True:
            try:
                await self._writer.renew()
                break
            except LinkDown:
                self._give_up_on_the_old()
                await asyncio.sleep(PAUSE_SECONDS)
        self._settled.set()

    # -- loading ---------------------------------------------------------------------------------

    def _want(self, member: Member) -> None:
        self._wanting[member.customer] = member
        self._wake(member)

    def _wake(self, member: Member) -> None:
        if member.customer in self._wanting and not member.parts:
            self._has_wanting.set()

    async def _load_forever(self) -> None:
        while True:
            await self._has_wanting.wait()
            await self._settled.wait()
            self._has_wanting.clear()
            members = [member for member in self._wanting.values() if not member.parts][:LOAD_CUSTOMERS_MAX]
            if not members:
                continue
            for member in members:
                del self._wanting[member.customer]
                member.loading = True
            await self._load(members)
            if any(not member.parts for member in self._wanting.values()):
                self._has_wanting.set()

    async def _load(self, members: Sequence[Member]) -> None:
        due_at = self._clock.now()
        error: Exception | None = None
        found: dict[int, Loaded] = {}
        try:
            connection = await self._loader.connection()
            found = await load(connection, self.name, [_request(member, due_at) for member in members])
            for member in members:
                await self._load_facts(member, found.get(member.customer))
        except (UnknownOutcome, WriteRefused, LinkDown) as down:
            _log.warning("load.waits", cell=self.name, error=repr(down))
            error = down
            await self._loader.drop()
        except Exception as fault:  # noqa: BLE001 -- nobody would load on: its customers are asked for again
            _log.exception("load.fault", cell=self.name)
            error = fault
            await self._loader.drop()
        for member in members:
            member.loading = False
            if error is None:
                self._take(member, found.get(member.customer), due_at)
            else:
                self._want(member)
        if error is not None:
            self._give_up_on_the_old()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _load_facts(self, member: Member, loaded: Loaded | None) -> None:
        """What the load of the rows does not bring: a reversal's entries, versions of prices."""
        if loaded is None:
            return
        for reservation in (*loaded.reservations.values(), *loaded.due):
            if not self._prices.knows(reservation.terms):
                await self._prices.learn(reservation.terms, self._database)
        head = member.waiting[0] if member.waiting else None
        if head is not None and (subject := reversed_by(head)) is not None:
            charge, reservation_sequence = subject
            head.facts = await load_reversal(
                await self._loader.connection(),
                self.name,
                member.customer,
                charge=charge,
                reservation=reservation_sequence,
            )

    def _take(self, member: Member, loaded: Loaded | None, due_at: datetime) -> None:
        """Memory as loaded; then what is due by the clock, then what waits."""
        if loaded is None:
            for pending in member.waiting:
                pending.answer(Refusal(RefusalReason.CUSTOMER_NOT_FOUND))
            member.waiting.clear()
            return
        member.wallet = loaded.wallet
        member.reservations = dict(loaded.reservations)
        named = {named_reservation(pending.command) for pending in member.waiting}
        member.absent = {sequence for sequence in named if sequence is not None} - loaded.reservations.keys()
        wanted_runs = {run_id for pending in member.waiting for run_id in named_runs(pending)}
        member.runs = {run_id: loaded.runs.get(run_id) for run_id in wanted_runs}
        self._answer_repeats(member, loaded.entries)
        self._write_due(member, loaded, due_at)
        self._advance(member)

    def _answer_repeats(self, member: Member, entries: dict[str, Entry]) -> None:
        for pending in list(member.waiting):
            entry = entries.get(pending.command.request_id) if pending.command is not None else None
            if entry is not None:
                member.waiting.remove(pending)
                _answer(pending, entry_or_reuse(pending, entry), {})

    def _write_due(self, member: Member, loaded: Loaded, due_at: datetime) -> None:
        """What is due is written ahead of the customer's next command, in the same batch."""
        wallet = loaded.wallet
        if wallet.next_due_at is None or wallet.next_due_at > due_at:
            return
        now = max(due_at, wallet.last_instant)
        plan = self._prices.plans.get(wallet.plan) or Plan(wallet.plan, None)
        decisions, after = due(wallet, loaded.due, loaded.next_reservation_due_at, now=now, plan=plan)
        part = self._part(member, alone=False)
        for decision in decisions:
            part.apply(decision)
            member.keep(decision)
        part.take(after)
        member.wallet = after

    def _give_up_on_the_old(self) -> None:
        """While the database is away, commands that have waited long enough are answered UNAVAILABLE."""
        for member in list(self._wanting.values()):
            member.waiting = deque(pending for pending in member.waiting if not self._gave_up(pending))
            if not member.waiting:
                del self._wanting[member.customer]

    def _gave_up(self, pending: Pending) -> bool:
        """Answers a command UNAVAILABLE if it has been retried for too long; its id makes a retry safe."""
        if boot_seconds() - pending.arrived_at < PATIENCE_SECONDS:
            return False
        pending.fail(Unavailable())
        return True


def will_pass(error: WriteRefused) -> bool:
    """Whether the database refused a batch for a reason that may be gone at the next attempt."""
    cause = error.__cause__
    return isinstance(cause, asyncpg.PostgresError) and (cause.sqlstate or "").startswith(_PASSING)


def reversed_by(pending: Pending) -> tuple[int | None, int | None] | None:
    """The charge or the reservation that a command undoes, if it undoes one."""
    command = pending.command
    return (command.charge, command.reservation) if isinstance(command, Reverse) else None


def entry_or_reuse(pending: Pending, entry: Entry) -> Committed | Refusal:
    """The answer to a request whose id has an entry: that entry, if it was this request's."""
    if pending.command is not None and entry.fingerprint == pending.command.fingerprint:
        return Committed(entry, replayed=True)
    return Refusal(RefusalReason.REQUEST_ID_REUSED, {"request_id": entry.request_id or ""})


def _answer(
    pending: Pending, outcome: Entry | Refusal | Committed | None, repeats: dict[tuple[int, str], Entry]
) -> None:
    if isinstance(outcome, Refusal) and pending.command is not None:
        entry = repeats.get((pending.customer, pending.command.request_id))
        pending.answer(entry_or_reuse(pending, entry) if entry is not None else outcome)
    elif isinstance(outcome, Entry):
        pending.answer(Committed(outcome, replayed=False))
    else:
        pending.answer(outcome)


def _request(member: Member, due_at: datetime) -> LoadRequest:
    """What the commands that wait will need, in one look."""
    commands = [pending.command for pending in member.waiting]
    named = {named_reservation(command) for command in commands}
    return LoadRequest(
        customer=member.customer,
        reservations=tuple(sorted(sequence for sequence in named if sequence is not None)),
        runs=tuple(sorted({run_id for pending in member.waiting for run_id in named_runs(pending)})),
        request_ids=tuple(
            pending.command.request_id
            for pending in member.waiting
            if pending.attempts and pending.command is not None
        ),
        due_at=due_at,
    )
