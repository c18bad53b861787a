"""Where customers wait for a load, or for a round under the lock."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from ledger.engine.cell.customer import Member


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
