"""Customers that another process writes too, in rounds under the lock of their wallets."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.engine.cell.customer import UNDISTURBED_ROUNDS, LockedRound, Member
from ledger.engine.cell.customers import Customers
from ledger.engine.cell.decider import Decider
from ledger.engine.cell.loads import Loads
from ledger.engine.cell.open_batch import OpenBatch
from ledger.engine.cell.settlement import Settlement
from ledger.store.cells.load import Found, Loaded, LoadRequest

ROUND_WORK_MAX = 1_000
"""Lines decided in one round under the lock, but for a command that has more: wallets stay locked."""


class Contention:
    """Of the customers of one cell."""

    def __init__(self, customers: Customers, decider: Decider, loads: Loads, settlement: Settlement) -> None:
        self._customers = customers
        self._decider = decider
        self._loads = loads
        self._settlement = settlement

    def decide(self, member: Member, asked: LoadRequest, loaded: Found | None, batch: OpenBatch) -> None:
        """Decides what waits into the round's own batch. What arrives now waits for the next round."""
        if isinstance(loaded, Loaded):
            undisturbed = loaded.wallet.sequence == member.last_sequence
            member.contended = member.contended - 1 if undisturbed else UNDISTURBED_ROUNDS
        member.round = LockedRound(batch, frozenset(asked.request_ids), ROUND_WORK_MAX)
        try:
            self._loads.loaded(member, asked, loaded)
        finally:
            member.round = None
            member.loading = True

    def finish(self, members: Sequence[Member], batch: OpenBatch) -> None:
        """The round is committed: answers its commands, and lets its customers go on."""
        self._settlement.finish(batch, frozenset(batch.parts), {})
        # Who found no room in this round comes first in the next.
        for member in sorted(members, key=lambda member: member.customer in batch.parts):
            if member.wallet is not None:
                member.last_sequence = member.wallet.sequence
            self._leave(member)

    def lose(self, members: Sequence[Member], batch: OpenBatch, error: Exception | None = None) -> None:
        """The round has no effect: its commands wait again, alone if the database refused one of them."""
        if error is None:
            self._settlement.retract(batch.parts, batch)
        else:
            for member in members:
                member.contended = 0
            self._settlement.take_apart(batch, error)
        for member in members:
            self._customers.give_up(member)
            self._leave(member)

    def _leave(self, member: Member) -> None:
        """A round is over for a customer."""
        self._customers.contended.leave(member)
        member.loading = False
        if member.contended:
            member.forget()
        self._decider.advance(member)
