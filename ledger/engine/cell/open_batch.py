"""The open batch: what has been decided and not yet committed, one part per customer.

A part keeps one final image per row, by key: a row born in the batch is inserted in its last state, a row
that existed is updated once. It also keeps its commands, in order, with what became of each: if another
process was faster with that customer, the part is taken out and its commands are decided again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from ledger.books.model.decisions import Decision
from ledger.books.model.entries import Entry
from ledger.books.model.lots import GrantRecord, Lot, LotKey
from ledger.books.model.priced import State
from ledger.books.model.refusals import Refusal
from ledger.books.model.renewals import Renewal, RenewalKey
from ledger.books.model.reservations import Reservation
from ledger.books.model.wallets import Wallet
from ledger.calls import Call
from ledger.engine.command import Answer, Pending
from ledger.store.audit import Audited
from ledger.store.cells.write import Batch, Standing, new_token


@dataclass(slots=True, eq=False)
class CustomerPart:
    """What a batch does to one customer."""

    customer: int
    before: Standing
    """What it was decided on."""
    token: int
    """Of the batch."""
    wallet: Wallet
    changed: bool = False
    """The wallet's row changes: not so where everything was refused."""
    entries: list[Entry] = field(default_factory=list)
    lots: dict[LotKey, tuple[Lot, bool]] = field(default_factory=dict)
    records: dict[LotKey, GrantRecord] = field(default_factory=dict)
    renewals: dict[RenewalKey, Renewal] = field(default_factory=dict)
    reservations: dict[int, tuple[Reservation, bool]] = field(default_factory=dict)
    states: dict[str, State] = field(default_factory=dict)
    debt_nanousd: int | None = None
    acts: tuple[Audited, ...] = ()
    """Of the back office, for those of the entries that it made."""
    items: list[tuple[Pending, Answer]] = field(default_factory=list)
    """Its commands in order, each with what it is answered once the batch is written."""
    has_refusals: bool = False
    """One of these answers is a refusal."""

    def apply(self, decision: Decision) -> None:
        """Adds an entry, and the images of the rows that it changes."""
        entry = decision.entry
        self.entries.append(entry)
        for lot in decision.lots:
            seen = self.lots.get(lot.key)
            self.lots[lot.key] = (lot, seen[1] if seen else lot.key.sequence == entry.sequence)
        if decision.records:
            for key, more in decision.records.items():
                stated = self.records.get(key)
                self.records[key] = more if stated is None else stated.plus(more)
        if decision.renewals:
            self.renewals.update(decision.renewals)
        reservation = decision.reservation
        if reservation is not None:
            known = self.reservations.get(reservation.sequence)
            born = known[1] if known else reservation.sequence == entry.sequence
            self.reservations[reservation.sequence] = (reservation, born)
        if decision.states:
            self.states.update(decision.states)
        wallet = decision.wallet
        if wallet.unbilled_nanousd != self.wallet.unbilled_nanousd:
            self.debt_nanousd = wallet.unbilled_nanousd
        self.wallet = wallet
        self.changed = True

    def commands(self) -> list[Pending]:
        """The part's commands in order. Looks at the clock are answered: the next sweep looks again."""
        looks = [pending for pending, _ in self.items if pending.command is None]
        for look in looks:
            look.answer(None)
        return [pending for pending, _ in self.items if pending.command is not None]


@dataclass(slots=True, eq=False)
class OpenBatch:
    decided_at: datetime
    """When its first command was decided: a database whose clock disagrees applies nothing of it."""
    parts: dict[int, CustomerPart] = field(default_factory=dict)
    commands: int = 0
    work: int = 0
    """Lines that its commands book or undo, one at least for each."""
    alone: bool = False
    token: int = field(default_factory=new_token)
    """Of the wallets that it writes."""
    outdated: bool = False
    """The database is on another history than it was decided on: it is not to be written."""

    def has_writes(self) -> bool:
        return any(part.changed for part in self.parts.values())

    def before(self) -> dict[int, Standing]:
        return {part.customer: part.before for part in self.parts.values()}

    def refused(self) -> list[tuple[Pending, Refusal]]:
        return [
            (pending, answer)
            for part in self.parts.values()
            if part.has_refusals
            for pending, answer in part.items
            if isinstance(answer, Refusal)
        ]

    def calls(self) -> Iterator[Call | None]:
        """What asked for its commands, in order of customers; None for what the service itself did."""
        return (pending.asked.call for part in self.parts.values() for pending, _ in part.items)

    def rows(self) -> Batch:
        """The rows to write, as the store takes them."""
        batch = Batch(
            before=self.before(),
            wallets={},
            entries=[],
            lots={},
            records={},
            renewals={},
            reservations={},
            states={},
            debts={},
            decided_at=self.decided_at,
            token=self.token,
        )
        for customer, part in self.parts.items():
            if part.changed:
                _add_rows(batch, customer, part)
        return batch


def _add_rows(batch: Batch, customer: int, part: CustomerPart) -> None:
    batch.wallets[customer] = part.wallet
    batch.entries.extend(part.entries)
    for key, lot in part.lots.items():
        batch.lots[customer, key] = lot
    for key, record in part.records.items():
        batch.records[customer, key] = record
    for renewal_key, renewal in part.renewals.items():
        batch.renewals[customer, renewal_key] = renewal
    for sequence, reservation in part.reservations.items():
        batch.reservations[customer, sequence] = reservation
    for name, state in part.states.items():
        batch.states[customer, name] = state
    if part.debt_nanousd is not None:
        batch.debts[customer] = part.debt_nanousd
    batch.acts.extend(part.acts)
