"""Commands are decided on arrival against their customer's wallet as all earlier commands left it.

Each joins the open batch. A customer that lacks something is loaded while nothing of it is undecided or
uncommitted, and its commands wait in order of arrival.
"""

from __future__ import annotations

import asyncio
from datetime import datetime

from ledger.books.making import make
from ledger.books.model.refusals import Refusal
from ledger.clock import DatabaseClock, boot_seconds
from ledger.engine.cell.batches import Batches
from ledger.engine.cell.customer import Member, decide_in_memory
from ledger.engine.cell.customers import Customers
from ledger.engine.command import Committed, Pending
from ledger.prices.price_book import PriceBook
from ledger.store.audit import audited

WORK_AT_ONCE = 200
"""Lines decided of one customer without a pause, when its commands have waited: some 10 ms, and several times
that where each begins a run."""


class Decider:
    """Of one cell."""

    def __init__(
        self, customers: Customers, batches: Batches, prices: PriceBook, clock: DatabaseClock
    ) -> None:
        self._customers = customers
        self._batches = batches
        self._prices = prices
        self._clock = clock

    def arrive(self, pending: Pending, seconds: float) -> Pending | None:
        """Decides a command at once, if nothing of its customer waits and memory has what it needs.

        Does not take one whose request id is another's that has no answer yet: that other one. `seconds` is
        now, on the boot clock.
        """
        members, customer = self._customers.members, pending.customer
        member = members.get(customer)
        if member is None:
            member = self._customers.enter(customer)
        else:
            members.move_to_end(customer)
        if pending.command is not None:
            first = member.in_flight.setdefault(pending.command.request_id, pending)
            if first is not pending:
                return first
            pending.in_flight = member.in_flight
        member.waiting.append(pending)
        if len(member.waiting) == 1:
            self.advance(member, seconds)
        return None

    def advance(self, member: Member, seconds: float | None = None) -> None:
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
                asyncio.get_running_loop().call_soon(self.advance, member)
                return
            now = instant
            if member.wallet is not None and member.wallet.last_instant > now:
                now = member.wallet.last_instant  # Whichever process wrote last, instants never go back.
            keys = member.keys_in_memory(pending, self._prices, now) if knows_prices else None
            if keys is None:
                self._customers.want(member)
                return
            pending.keys = keys
            member.waiting.popleft()
            size = pending.work + len(pending.places)
            work += size
            self._decide(member, pending, now, size)

    def _decide(self, member: Member, pending: Pending, now: datetime, work: int) -> None:
        if pending.command is None:
            self._answer_look(member, pending)
            return
        try:
            outcome = decide_in_memory(member, pending, self._prices, now)
        except Exception as error:  # noqa: BLE001 -- deciding has no effect: its fault is this command's alone
            pending.fail(error)
            return
        part = self._batches.part_of(member, work, alone=pending.alone)
        if isinstance(outcome, Refusal):
            part.items.append((pending, outcome))
            part.has_refusals = True
            return
        if pending.act is not None:
            part.acts += (audited(pending.act, part.wallet, pending.command, outcome, pending.facts),)
        part.apply(outcome)
        part.items.append((pending, make(Committed, (outcome.entry, False))))
        member.keep(outcome)
        member.token = part.token

    def _answer_look(self, member: Member, pending: Pending) -> None:
        """A look at what is due is answered when that is committed, at once if there was nothing."""
        part = self._batches.newest_part_of(member.customer)
        if part is None:
            pending.answer(None)
        else:
            part.items.append((pending, None))
