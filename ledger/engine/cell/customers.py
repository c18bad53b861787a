"""A cell's customers in memory, and where those wait that lack something. Nothing here waits itself.

Those who change them stand beside it: the `Decider` decides what arrives, the `Settlement` says what became
of a batch, the `Loads` bring what was lacking, and `LockedRounds` are for customers that another process
writes too.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from ledger.clock import boot_seconds
from ledger.engine.cell.customer import Member
from ledger.engine.cell.waiting_line import WaitingLine
from ledger.engine.command import Pending, UnavailableError
from ledger.engine.limits import EngineLimits


class Customers:
    """What one process knows of the customers of one cell."""

    def __init__(self, cell: str, limits: EngineLimits) -> None:
        self.cell = cell
        """Its name."""
        self.limits = limits
        self.members: OrderedDict[int, Member] = OrderedDict()
        """By their numbers, the longest unused first."""
        self.wanting = WaitingLine(limits.load_customers_max)
        """Those that want a load."""
        self.undoing = WaitingLine(1)
        """Those whose next command gives charges back, or changes a grant: such a load holds up no other."""
        self.contended = WaitingLine(limits.round_customers_max)
        """Those that want a round under the lock instead of a load."""
        self._lines = (self.wanting, self.undoing, self.contended)

    def enter(self, customer: int) -> Member:
        """One that is not in memory has a command; an idle one leaves where there are too many."""
        self.evict(room_for=1)
        member = self.members[customer] = Member(customer, self.limits.in_use_max)
        return member

    def evict(self, room_for: int = 0) -> None:
        """Idle customers leave memory, the longest unused first; a busy one is passed over."""
        surplus = len(self.members) + room_for - self.limits.wallets_max
        if surplus <= 0:
            return
        idle = (customer for customer, member in self.members.items() if member.is_idle())
        for customer in [next(idle, None) for _ in range(surplus)]:
            if customer is not None:
                del self.members[customer]

    def drop_idle(self) -> None:
        """All leave memory that have nothing on its way."""
        for customer in [customer for customer, member in self.members.items() if member.is_idle()]:
            del self.members[customer]

    def in_flight(self) -> list[Pending]:
        """All commands that have no answer yet."""
        return [pending for member in self.members.values() for pending in member.in_flight.values()]

    def want(self, member: Member) -> None:
        """What a customer lacks is to be brought: it waits in the line for that, and in no other."""
        head = member.waiting[0] if member.waiting else None
        if member.contended:
            wanted = self.contended
        else:
            wanted = self.undoing if head is not None and head.needs_facts else self.wanting
        for line in self._lines:
            if line is not wanted:
                line.leave(member)
        wanted.join(member)

    def wake(self, member: Member) -> None:
        """A customer that waits in a line may have nothing uncommitted any more."""
        for line in self._lines:
            line.wake(member)

    def give_up_on_the_old(self) -> None:
        """While the database is away, commands that have waited long enough are answered UNAVAILABLE."""
        for line in self._lines:
            for member in line.members():
                self.give_up(member)
                if not member.waiting:
                    line.leave(member)

    def give_up(self, member: Member) -> None:
        """A customer's commands that have waited long enough are answered UNAVAILABLE."""
        member.waiting = deque(pending for pending in member.waiting if not self.gave_up(pending))

    def gave_up(self, pending: Pending) -> bool:
        """Answers a command UNAVAILABLE if it has been retried for too long; its id makes a retry safe."""
        if boot_seconds() - pending.arrived_at < self.limits.patience_seconds:
            return False
        pending.fail(UnavailableError())
        return True
