"""The batches of a cell: what has been decided and is not committed yet, in the order of its writing."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator

from ledger.clock import DatabaseClock
from ledger.engine.cell.customer import Member
from ledger.engine.cell.open_batch import CustomerPart, OpenBatch
from ledger.engine.limits import EngineLimits
from ledger.store.cells.write import Standing


class Batches:
    """Those that are open, and the one that is being written."""

    def __init__(self, clock: DatabaseClock, limits: EngineLimits) -> None:
        self._clock = clock
        self._commands_max, self._work_max = limits.batch_commands_max, limits.batch_work_max
        self.open: deque[OpenBatch] = deque()
        self._shipping: OpenBatch | None = None
        self.has_some = asyncio.Event()
        """There are some to write."""

    def part_of(self, member: Member, work: int, *, alone: bool) -> CustomerPart:
        """The part of a customer, for a command of so much work, in its round's batch or the newest.

        A batch opens where there is none that has room for it; `alone` shares none.
        """
        batch = self.open[-1] if self.open else None
        if member.round is not None:
            batch = member.round.batch
        elif (
            batch is None
            or alone
            or batch.alone
            or batch.commands >= self._commands_max
            or 0 < batch.work > self._work_max - work
        ):
            batch = OpenBatch(decided_at=self._clock.now(), alone=alone)
            self.open.append(batch)
            self.has_some.set()
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

    def newest_part_of(self, customer: int) -> CustomerPart | None:
        """What is uncommitted of a customer, as far as it was decided last; None: nothing is."""
        for batch in self.underway():
            if customer in batch.parts:
                return batch.parts[customer]
        return None

    def underway(self) -> Iterator[OpenBatch]:
        """All that are not committed, the newest first."""
        yield from reversed(self.open)
        if self._shipping is not None:
            yield self._shipping

    def next(self) -> OpenBatch:
        """The oldest, to be written now; the next command opens another if it was the last."""
        batch = self._shipping = self.open.popleft()
        if not self.open:
            self.has_some.clear()
        return batch

    def shipped(self) -> None:
        """The one that was being written is settled, one way or the other."""
        self._shipping = None

    def drop_empty(self) -> None:
        """Those from which all has been taken back are not written."""
        self.open = deque(batch for batch in self.open if batch.parts)
        if not self.open:
            self.has_some.clear()
