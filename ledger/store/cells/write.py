"""The one batched write: what a cell decided, in one statement, one round trip and one commit.

A customer is written whole or not at all: only where its wallet still stands as its part was decided upon.
The answer tells which customers those were; for the others another process was faster, or the database has
gone back.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ledger.books.model.entries import EntryKind
from ledger.books.model.labels import NOTHING
from ledger.books.model.reservations import NO_COSTS
from ledger.store.cells import rows_out
from ledger.store.cells.write_statement import (
    AUDIT,
    BUDGETED,
    CHECK,
    COSTS,
    DEBTS,
    DOLLARS,
    ENTRIES,
    FRESH_SECONDS,
    GRANTS,
    HOLDS,
    LOTS_BORN,
    LOTS_CHANGED,
    LOTS_EXTENDED,
    PARTS,
    RENEWALS,
    RESERVATIONS_CHANGED,
    STATES,
    VALUES_BORN,
    VALUES_CHANGED,
    WALLETS,
    write_statement,
)
from ledger.store.postgres.outcomes import (
    RepeatedRequestError,
    UnknownOutcomeError,
    WriteError,
    WriteRefusedError,
    as_write_errors,
)
from ledger.turns import LINES_AT_ONCE, Turns

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from ledger.books.model.entries import Entry
    from ledger.books.model.lots import GrantRecord, Lot, LotKey
    from ledger.books.model.priced import State
    from ledger.books.model.renewals import Renewal, RenewalKey
    from ledger.books.model.reservations import Reservation
    from ledger.books.model.wallets import Wallet
    from ledger.store.audit import Audited
    from ledger.store.cells.rows_out import Shared
    from ledger.store.cells.write_statement import StatementPart
    from ledger.store.postgres.database import Connection

__all__ = [
    "Batch",
    "RepeatedRequestError",
    "Standing",
    "UnknownOutcomeError",
    "WriteError",
    "WriteRefusedError",
    "Written",
    "check",
    "write",
]


class Standing(NamedTuple):
    """How a wallet stands in the database."""

    sequence: int
    token: int
    """Of the batch that wrote it last: a sequence may come round again, after a failover that lost some."""


def new_token() -> int:
    """What no other write has, on whatever history of the database: 63 random bits."""
    return secrets.randbits(63)


@dataclass(slots=True)
class Batch:
    """What has been decided: one final image per row, by key."""

    decided_at: datetime
    """The database's time as this process knows it."""
    before: dict[int, Standing] = field(default_factory=dict)
    """What each customer's part was decided upon; customers with refusals only too."""
    token: int = field(default_factory=new_token)
    """Of the wallets that it writes."""
    wallets: dict[int, Wallet] = field(default_factory=dict)
    """Those that changed. A wallet's lots and debt are not written from it: they have rows below."""
    entries: list[Entry] = field(default_factory=list)
    lots: dict[tuple[int, LotKey], tuple[Lot, bool]] = field(default_factory=dict)
    """With whether it is born in this batch, as for reservations."""
    records: dict[tuple[int, LotKey], GrantRecord] = field(default_factory=dict)
    """What becomes known of lots, beside what is stored."""
    renewals: dict[tuple[int, RenewalKey], Renewal] = field(default_factory=dict)
    reservations: dict[tuple[int, int], tuple[Reservation, bool]] = field(default_factory=dict)
    states: dict[tuple[int, str], State] = field(default_factory=dict)
    debts: dict[int, int] = field(default_factory=dict)
    """Nano-dollars unbilled, of the customers for whom it changed."""
    acts: list[Audited] = field(default_factory=list)
    """Of the back office, for those of the entries that it made."""


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a batch."""

    customers: frozenset[int]
    """Those that still stand as decided upon: written whole. The others: not at all."""
    clock: datetime
    """The database's clock when the statement held its locks."""
    stale: bool = False
    """Some of the batch was decided more than 5 s off that clock: nothing was written."""
    repeated: frozenset[int] = frozenset()
    """Of a write that probed: those left out because one of their request ids has an entry already."""


async def write(connection: Connection, cell: str, batch: Batch, *, probe: bool = False) -> Written:
    """Writes the batch's customers that are still at their `before`, in a transaction of its own.

    With `probe` the customers of a repeated request are left out; without it a repeat fails the batch.
    The connection is one of `Database.connect_writer`. Raises RepeatedRequestError and WriteRefusedError,
    after which nothing is written, and UnknownOutcomeError. Not to be cancelled: whoever does knows nothing
    of the outcome.
    """
    try:
        shared = rows_out.Shared()
        rows = await _rows(batch, shared)
    except (TypeError, ValueError) as error:
        raise WriteRefusedError(f"nothing was sent: {error}") from error
    text = write_statement(cell, tuple(rows), probe=probe)
    with as_write_errors(connection):
        record = await connection.fetchrow(text, *_head(batch), *shared.parameters(), *rows.values())
    if record is None:
        raise UnknownOutcomeError("the statement gave no answer")
    return Written(
        customers=frozenset(record["customers"] or ()),
        clock=record["clock"],
        stale=record["stale"],
        repeated=frozenset(record["repeated"] or ()),
    )


async def check(
    connection: Connection, cell: str, before: Mapping[int, Standing], decided_at: datetime
) -> Written:
    """Tells which customers are still at their `before`: a batch of refusals only, which writes nothing.

    One decided too far off the database's clock proves nothing. Raises WriteRefusedError and
    UnknownOutcomeError; either way nothing has changed.
    """
    with as_write_errors(connection):
        record = await connection.fetchrow(CHECK.format(cell=cell), *_standings(before))
    if record is None:
        raise UnknownOutcomeError("the statement gave no answer")
    stale = abs(record["clock"] - decided_at) > timedelta(seconds=FRESH_SECONDS)
    return Written(frozenset(() if stale else record["customers"] or ()), record["clock"], stale)


_UNKNOWN: Final = (None, False)


def _head(batch: Batch) -> list[Any]:
    """The parameters of the verdict. What waited for the batch before it is as old as it was booked at."""
    oldest = min([batch.decided_at, *[entry.booked_at for entry in batch.entries]])
    updates = dict.fromkeys(batch.before, 0)
    for customer in batch.wallets:
        updates[customer] += 1
    for changed in (batch.reservations, batch.lots):
        for (customer, _), (_, is_born) in changed.items():
            if not is_born:
                updates[customer] += 1
    return [
        *_standings(batch.before),
        rows_out.numbers(updates.values()),
        oldest,
        batch.decided_at,
        batch.token,
    ]


def _standings(before: Mapping[int, Standing]) -> tuple[str, str, str]:
    """Customers, their sequences and their tokens."""
    return (
        rows_out.numbers(before),
        rows_out.numbers([standing.sequence for standing in before.values()]),
        rows_out.numbers([standing.token for standing in before.values()]),
    )


async def _rows(batch: Batch, shared: Shared) -> dict[StatementPart, str]:
    """The rows of each part that has some, as its parameter, in the order of the parts."""
    rows: dict[StatementPart, list[str]] = {part: [] for part in PARTS}
    await _add_entries(rows, batch, shared)
    _add_wallets(rows, batch, shared)
    rows[STATES] = [rows_out.state_row(*key, state, shared) for key, state in batch.states.items()]
    rows[DEBTS] = [rows_out.debt_row(*debt) for debt in batch.debts.items()]
    rows[AUDIT] = [rows_out.audit_row(act) for act in batch.acts]
    _add_reservations(rows, batch, shared)
    _add_lots(rows, batch, shared)
    rows[GRANTS] = [rows_out.grant_row(*key, record) for key, record in batch.records.items()]
    rows[RENEWALS] = [rows_out.renewal_row(*key, renewal, shared) for key, renewal in batch.renewals.items()]
    return {part: rows_out.joined(texts) for part, texts in rows.items() if texts}


async def _add_entries(rows: dict[StatementPart, list[str]], batch: Batch, shared: Shared) -> None:
    """Most of the work, and in turns: a batch may hold thousands of lines."""
    turns = Turns(LINES_AT_ONCE)
    for entry in batch.entries:
        own = batch.reservations.get((entry.customer, entry.sequence))
        if own is not None and own[1]:
            rows[HOLDS].append(rows_out.hold_row(entry, own[0], shared))
        else:
            rows[ENTRIES].append(rows_out.entry_row(entry, shared, _stored_labels(batch, entry)))
        if entry.money is not None:
            rows[DOLLARS].append(rows_out.money_row(entry, entry.money, shared))
        if entry.budgets is not None:
            rows[BUDGETED].append(rows_out.budgeted_row(entry, entry.budgets))
        turns.left -= 1 + len(entry.lines)
        if turns.left <= 0:
            await turns.give()


def _stored_labels(batch: Batch, entry: Entry) -> Mapping[str, str] | None:
    """The labels that the database has of an entry's reservation, before the batch; None: not known."""
    if entry.reservation is None:
        return NOTHING
    reservation, is_born = batch.reservations.get((entry.customer, entry.reservation.sequence), _UNKNOWN)
    if reservation is None:
        return None
    return NOTHING if is_born else reservation.labels


def _add_wallets(rows: dict[StatementPart, list[str]], batch: Batch, shared: Shared) -> None:
    """Name and policies change with entries that say so."""
    updated = {entry.customer for entry in batch.entries if entry.kind is EntryKind.CUSTOMER_UPDATED}
    rows[WALLETS] = [
        rows_out.wallet_row(wallet, shared, with_profile=customer in updated)
        for customer, wallet in batch.wallets.items()
    ]


def _add_reservations(rows: dict[StatementPart, list[str]], batch: Batch, shared: Shared) -> None:
    born = 0
    for (customer, sequence), (reservation, is_born) in batch.reservations.items():
        if is_born:
            born += 1
        else:
            change = rows_out.reservation_change(customer, reservation, shared)
            rows[RESERVATIONS_CHANGED].append(change)
        if reservation.costs != NO_COSTS and reservation.state in rows_out.OPEN_TO_COMMITS:
            # A closed reservation's costs stand in its entries.
            rows[COSTS].append(rows_out.reservation_costs_row(customer, sequence, reservation.costs))
    if born != len(rows[HOLDS]):
        raise ValueError("a reservation is born with the entry of its sequence, and with no other")


def _add_lots(rows: dict[StatementPart, list[str]], batch: Batch, shared: Shared) -> None:
    """A lot's value changes with dollars only: a hold takes none. Its terms change where entries say so."""
    extended = {
        (entry.customer, (entry.subject, entry.subject_n))
        for entry in batch.entries
        if entry.kind is EntryKind.GRANT_EXTENDED
    }
    with_dollars = {entry.customer for entry in batch.entries if entry.money is not None}
    for (customer, _), (lot, is_born) in batch.lots.items():
        if is_born:
            rows[LOTS_BORN].append(rows_out.lot_row(customer, lot, shared))
            rows[VALUES_BORN].append(rows_out.lot_value_row(customer, lot))
            continue
        if (customer, lot.key) in extended:
            rows[LOTS_EXTENDED].append(rows_out.lot_extended(customer, lot, shared))
        else:
            rows[LOTS_CHANGED].append(rows_out.lot_change(customer, lot))
        if customer in with_dollars:
            rows[VALUES_CHANGED].append(rows_out.lot_value_row(customer, lot))
