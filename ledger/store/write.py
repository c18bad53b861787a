"""The one batched write: what a cell decided, in one statement, one round trip and one commit.

A customer is written whole or not at all: only where its wallet is still at the sequence that its part was
decided upon. The answer tells which customers those were; for the others another process was faster.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ledger.store import codec
from ledger.store import write_statement as statement
from ledger.store.database_errors import (
    RepeatedRequest,
    UnknownOutcome,
    WriteError,
    WriteRefused,
    told_outcomes,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from ledger.books.model import Entry, Lot, LotKey, Reservation, Wallet
    from ledger.store.codec import Row
    from ledger.store.database import Connection

__all__ = [
    "Batch",
    "RepeatedRequest",
    "UnknownOutcome",
    "WriteError",
    "WriteRefused",
    "Written",
    "check",
    "write",
]


@dataclass(slots=True)
class Batch:
    """What has been decided: one final image per row, by key."""

    decided_at: datetime
    """The database's time as this process knows it."""
    before: dict[int, int] = field(default_factory=dict)
    """The sequence that each customer's part was decided upon; customers with refusals only too."""
    wallets: dict[int, Wallet] = field(default_factory=dict)
    """Those that changed. A wallet's lots and debt are not written from it: they have rows below."""
    entries: list[Entry] = field(default_factory=list)
    lots: dict[tuple[int, LotKey], tuple[Lot, bool]] = field(default_factory=dict)
    """With whether it is born in this batch, as for reservations."""
    reservations: dict[tuple[int, int], tuple[Reservation, bool]] = field(default_factory=dict)
    runs: dict[tuple[int, str], str] = field(default_factory=dict)
    debts: dict[int, int] = field(default_factory=dict)
    """Nano-dollars unbilled, of the customers for whom it changed."""


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a batch."""

    customers: frozenset[int]
    """Those still at the sequence decided upon: written whole. The others: not at all."""
    clock: datetime
    """The database's clock when the statement held its locks."""
    stale: bool = False
    """Some of the batch was decided more than 5 s off that clock: nothing was written."""
    repeated: frozenset[int] = frozenset()
    """Of a write that probed: those left out because one of their request ids has an entry already."""


async def write(connection: Connection, cell: str, batch: Batch, *, probe: bool = False) -> Written:
    """Writes the batch's customers that are still at their `before`, in a transaction of its own.

    With `probe` the customers of a repeated request are left out; without it a repeat fails the batch.
    The connection is one of `Database.connect_writer`. Raises RepeatedRequest and WriteRefused, after which
    nothing is written, and UnknownOutcome. Not to be cancelled: whoever does knows nothing of the outcome.
    """
    rows = _rows(batch)
    scalar = len(batch.before) == 1 and len(batch.entries) == 1 and _has_single_rows(rows)
    parts = tuple(part for part in statement.PARTS if rows[part.name])
    text = statement.write_statement(cell, parts, scalar=scalar, probe=probe)
    parameters = _head(batch, scalar=scalar)
    for part in parts:
        part_rows = rows[part.name]
        parameters.extend(part_rows[0] if scalar and part.scalar else _arrays(part_rows))
    with told_outcomes(connection):
        record = await connection.fetchrow(text, *parameters)
    if record is None:
        raise UnknownOutcome("the statement gave no answer")
    return Written(
        customers=frozenset(record["customers"] or ()),
        clock=record["clock"],
        stale=record["stale"],
        repeated=frozenset(record["repeated"] or ()),
    )


async def check(
    connection: Connection, cell: str, before: Mapping[int, int], decided_at: datetime
) -> Written:
    """Tells which customers are still at their `before`: a batch of refusals only, which writes nothing.

    One decided too far off the database's clock proves nothing. Raises WriteRefused and UnknownOutcome;
    either way nothing has changed.
    """
    with told_outcomes(connection):
        record = await connection.fetchrow(
            statement.CHECK.format(cell=cell), list(before.keys()), list(before.values())
        )
    if record is None:
        raise UnknownOutcome("the statement gave no answer")
    stale = abs(record["clock"] - decided_at) > timedelta(seconds=statement.FRESH_SECONDS)
    return Written(frozenset(() if stale else record["customers"] or ()), record["clock"], stale)


def _arrays(rows: Sequence[Row]) -> list[Sequence[Any]]:
    """Rows as an array per column. `unnest` fills short arrays up with NULL: all NULLs need not be sent."""
    count = len(rows)
    return [() if column.count(None) == count else column for column in zip(*rows, strict=True)]


def _head(batch: Batch, *, scalar: bool) -> list[Any]:
    """The parameters of the verdict. What waited for the batch before it is as old as it was booked at."""
    oldest = min((entry.booked_at for entry in batch.entries), default=batch.decided_at)
    before: list[Any] = [list(batch.before.keys()), list(batch.before.values())]
    if scalar:
        before = [before[0][0], before[1][0]]
    return [*before, min(oldest, batch.decided_at), batch.decided_at]


def _has_single_rows(rows: Mapping[str, Sequence[Row]]) -> bool:
    return all(len(rows[part.name]) <= 1 for part in statement.PARTS if part.scalar)


def _rows(batch: Batch) -> dict[str, list[Row]]:
    """The rows of each part, by its name."""
    rows: dict[str, list[Row]] = {part.name: [] for part in statement.PARTS}
    rows[statement.WALLETS.name] = [codec.wallet_row(wallet) for wallet in batch.wallets.values()]
    rows[statement.ENTRIES.name] = [codec.entry_row(entry) for entry in batch.entries]
    rows[statement.DOLLARS.name] = [
        codec.money_row(entry, entry.money) for entry in batch.entries if entry.money is not None
    ]
    rows[statement.RUNS.name] = [(*key, state) for key, state in batch.runs.items()]
    rows[statement.DEBTS.name] = list(batch.debts.items())
    _add_reservations(rows, batch)
    _add_lots(rows, batch)
    return rows


def _add_reservations(rows: dict[str, list[Row]], batch: Batch) -> None:
    born, changed = rows[statement.RESERVATIONS_BORN.name], rows[statement.RESERVATIONS_CHANGED.name]
    for (customer, _), (reservation, is_born) in batch.reservations.items():
        (born if is_born else changed).append(codec.reservation_row(customer, reservation))
        costs = codec.reservation_costs_row(customer, reservation)
        if costs is not None:
            rows[statement.COSTS.name].append(costs)


def _add_lots(rows: dict[str, list[Row]], batch: Batch) -> None:
    for (customer, key), (lot, is_born) in batch.lots.items():
        value = (customer, *key, lot.value_nanousd)
        if is_born:
            rows[statement.LOTS_BORN.name].append(codec.lot_row(customer, lot))
            rows[statement.VALUES_BORN.name].append(value)
        else:
            changed = (customer, *key, lot.remaining_micros, lot.held_micros, lot.status.value)
            rows[statement.LOTS_CHANGED.name].append(changed)
            rows[statement.VALUES_CHANGED.name].append(value)
