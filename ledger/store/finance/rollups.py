"""Rollups: what the journal adds up to, by day and dimension, as far as the tailer's cursor.

A step takes the entries of the transactions in [cursor, upto) and moves the cursor to upto, in one
statement: it happens whole or not at all, so the rollups are the sums of the journal below the cursor
after any crash. `upto` never passes the oldest transaction that is still open, so a late commit is not
skipped; the row of the cursor is locked, so of two replicas one steps and the other does nothing.

`as_of` is a promise about `booked_at`, which is chosen before the transaction that writes it begins, but
not earlier than `LATEST_WRITE`: when everything below a transaction id that was given out after an
instant t is in, everything booked up to t less that is in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ledger.books.model.amounts import Credits, Dollars
from ledger.store.cells.write_statement import FRESH_SECONDS
from ledger.store.finance.reads import snapshot
from ledger.store.statements import statements_of

if TYPE_CHECKING:
    from ledger.store.postgres.database import Pool

LATEST_WRITE = timedelta(seconds=FRESH_SECONDS)
"""An entry is written at most so long after the instant that it is booked at: a later batch is refused."""

MEMOS = ("priced", "uncollected", "absorbed_failed_outcome", "absorbed_uncollected", "absorbed_unpriced")
"""What is rolled up beside the chart of accounts: columns of entries and of money."""

LAG_ENTRIES_MAX = 100_000
"""Entries behind are counted up to here: the gauge is read every few seconds."""

OF_LINES = ("revenue", "cost", "priced")
"""Accounts that are rolled up by kind of usage: what an entry's lines say of them."""

OF_LINES_ALONE = ("unpriced_lines", "uncosted_lines", "saved", "own_key")
"""What only lines say: there is no column of it in entries or money."""

OF_ENTRIES = tuple(
    account for account in (*Credits._fields, *Dollars._fields, *MEMOS) if account not in OF_LINES
)
"""Accounts that only an entry as a whole says something of: rolled up as kind ''."""

_SQL = statements_of(
    __name__,
    account_sums=", ".join(f"sum({account}) AS {account}" for account in OF_ENTRIES),
    account_values=", ".join(f"('{account}', c.{account})" for account in OF_ENTRIES),
)
STEP = _SQL["step"]

LAG = _SQL["lag"]

SUMS = _SQL["sums"]


AmountKey = tuple[str, str, str, str, str]
"""Plan, card, kind of usage, lever, account."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What one step did."""

    entries: int
    behind: bool
    """More can be taken at once."""
    as_of: datetime | None
    """Everything booked up to this instant is in the rollups; None before that is known of any."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What a cell's rollups say, and how far they are behind its journal: of one snapshot."""

    amounts: Mapping[AmountKey, int]
    """Micro-credits, nano-dollars or lines."""
    clock: datetime
    """The database's time of this look."""
    as_of: datetime | None
    """Everything booked up to this instant is in them; None while that is known of none."""
    cursor: int
    """They are the sums of the journal's transactions below this id, and of no other."""
    begun_at: datetime | None
    """When the journal's first entry was booked."""
    entries_behind: int
    """Entries not in the rollups yet, counted up to `LAG_ENTRIES_MAX`."""


async def advance(pool: Pool, cell: str, entries_max: int) -> Progress | None:
    """Takes up to some `entries_max` entries, whole transactions (one at least), into the cell's rollups.

    None: another replica is at it.
    """
    row = await pool.fetchrow(STEP.format(cell=cell), entries_max, LATEST_WRITE)
    return Progress(row["entries"], row["behind"], row["as_of"]) if row else None


async def totals(pool: Pool, cell: str) -> Totals:
    """All that the cell's rollups hold of each account, and where they stand."""
    async with snapshot(pool) as connection:
        row = await connection.fetchrow(LAG.format(cell=cell), LAG_ENTRIES_MAX)
        if row is None:
            raise LookupError(f"{cell}.tailer has no row: the cell is not migrated")
        amounts = await connection.fetch(SUMS.format(cell=cell))
    return Totals(
        amounts={tuple(each[:5]): int(each["amount"]) for each in amounts},
        clock=row["clock"],
        as_of=row["as_of"],
        cursor=row["cursor"],
        begun_at=row["begun_at"],
        entries_behind=row["behind"],
    )
