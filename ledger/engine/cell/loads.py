"""What a load brings into memory: the customer as it stands, what is due by the clock, then what waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import datetime
from functools import partial

import structlog

from ledger.books import due
from ledger.books.model.entries import Entry
from ledger.books.model.plans import Plan
from ledger.books.refusals import do_not_verify
from ledger.engine.cell.batches import Batches
from ledger.engine.cell.customer import Member
from ledger.engine.cell.customers import Customers
from ledger.engine.cell.decider import Decider
from ledger.engine.cell.settlement import entry_or_reuse
from ledger.engine.command import UnavailableError
from ledger.prices.price_book import PriceBook
from ledger.store.cells.load import Found, Loaded, LoadRequest, Stopped, Unreadable
from ledger.store.directory import Directory

_log = structlog.get_logger(__name__)


class Loads:
    """Of the customers of one cell."""

    def __init__(
        self,
        customers: Customers,
        batches: Batches,
        decider: Decider,
        directory: Directory,
        prices: PriceBook,
    ) -> None:
        self._customers = customers
        self._batches = batches
        self._decider = decider
        self._directory = directory
        self._prices = prices

    def not_loaded(self, members: Iterable[Member]) -> None:
        """The load failed: its customers want it still."""
        for member in members:
            member.loading = False
            self._customers.want(member)

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
        refusal = do_not_verify(stopped.finding)
        looked_for = {*asked.request_ids}
        waiting, member.waiting = member.waiting, deque()
        for pending in waiting:
            if pending.command is None:
                pending.answer(None)
            elif pending.command.request_id in looked_for:
                pending.answer(refusal)
            else:
                member.waiting.append(pending)
        self._decider.advance(member)

    def _take(self, member: Member, asked: LoadRequest, loaded: Loaded) -> None:
        anew = member.wallet is None or member.token != loaded.token or member.is_full()
        if anew:
            member.forget()
        member.wallet, member.token = loaded.wallet, loaded.token
        if asked.states and asked.due_at is not None:
            member.forget_swept(asked.due_at)
        member.reservations.update(loaded.reservations)
        # Only of what was asked for is it known that it is not there: more may have come to wait meanwhile.
        member.absent = set(asked.reservations) - loaded.reservations.keys()
        member.states.update({key: loaded.states.get(key) for key in asked.states})
        if anew:
            member.make_room(self._customers.limits.in_use_max)
        _answer_repeats(member, loaded.entries)
        if asked.due_at is not None:
            try:
                self._write_due(member, loaded, asked.due_at)
            except Exception as error:  # noqa: BLE001 -- nothing is decided yet: its fault is this customer's alone
                self._fail(member, error)
        self._decider.advance(member)

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
        cell = self._customers.cell
        _log.error("customer.faulty", cell=cell, customer=member.customer, exc_info=error)
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
        found = self._prices.plan_for(wallet.plan, wallet.plan_overrides, now)
        plan = found or Plan(wallet.plan, None)
        decisions, after, renewals = due(
            wallet,
            loaded.due,
            loaded.next_reservation_due_at,
            loaded.closings,
            member.states,
            loaded.renewals,
            now=now,
            plan=plan,
            plan_at=partial(self._prices.plan_then, wallet.plan, wallet.plan_overrides),
        )
        part = self._batches.part_of(member, len(decisions), alone=False)
        for decision in decisions:
            part.apply(decision)
            member.keep(decision)
        part.renewals.update(renewals)
        part.wallet = member.wallet = after
        part.changed, member.token = True, part.token
        if decisions:
            # What a reversal is to undo was read before this: a hold that it found open may have expired.
            for pending in member.waiting:
                pending.take_facts(None)


def _answer_repeats(member: Member, entries: dict[str, Entry]) -> None:
    """Answers what waits and has an entry already: it was committed by an earlier attempt."""
    for pending in list(member.waiting):
        entry = entries.get(pending.command.request_id) if pending.command is not None else None
        if entry is not None:
            member.waiting.remove(pending)
            pending.answer(entry_or_reuse(pending, entry))
