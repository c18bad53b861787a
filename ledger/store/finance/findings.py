"""What the verification of all customers in turn stores: whose turn it is, how far it is, what it found.

A finding that stops its customer is written together with a new token of the wallet: a server that has the
wallet in memory finds its next write of it refused, loads the customer anew, and the load finds the finding.
So every server knows at once, and no write asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from ledger.store.cells.write import new_token
from ledger.store.lists import page_of, sized_page
from ledger.store.statements import statements_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    import asyncpg

    from ledger.store.finance.verify import Break
    from ledger.store.postgres.database import Pool

BOOKS: Final = "BOOKS"
ROLLUPS: Final = "ROLLUPS"
"""Parts: a customer's own books, and what they are rolled up to."""

DESCRIPTION_MAX: Final = 4_000
"""Characters of a finding's description: the first violation of each invariant, as far as that goes."""

_SQL = statements_of(__name__)
TAKE_TURN = _SQL["take_turn"]
NOTE_PROGRESS = _SQL["note_progress"]
BEGIN_ROUND = _SQL["begin_round"]
COUNT = _SQL["count"]
NEXT = _SQL["next"]
SIZES = _SQL["sizes"]
HORIZON = _SQL["horizon"]
CHANGED = _SQL["changed"]
FOUND = _SQL["found"]
STANDING = _SQL["standing"]
SAME = _SQL["same"]
END_FINDING = _SQL["end_finding"]
FIND = _SQL["find"]
RENEW_WALLET = _SQL["renew_wallet"]
LIST = _SQL["list"]
FIGURES = _SQL["figures"]


class Finding(NamedTuple):
    """A finding that stands."""

    finding: str
    customer_id: str
    """Empty where the directory has lost the customer."""
    stops: bool
    invariants: Sequence[str]
    violations: int
    description: str
    """May tell dollars."""
    found_at: datetime


class Sized(NamedTuple):
    """A customer, and how many entries it has, as far as its wallet says."""

    customer: int
    entries: int


class Change(NamedTuple):
    """Who was written to, and when."""

    customer: int
    xid: int
    age: timedelta


@dataclass(frozen=True, slots=True)
class WatchFigures:
    """How the verification of a cell stands."""

    verified: int
    """Customers of this round."""
    customers: int
    """As many as there were when the round began."""
    verified_since: datetime
    """Each customer was verified, or made, since."""
    clock: datetime
    """The database's time of this look."""
    standing: int
    """Findings that have not ended."""
    stopped: int
    """Those that stop their customer."""


async def take_turn(pool: Pool, cell: str, holder: str, lease: timedelta) -> int | None:
    """The last customer verified in this round, where it is this process's turn; None: another is at it."""
    passed: int | None = await pool.fetchval(TAKE_TURN.format(cell=cell), holder, lease)
    return passed


async def pass_on(pool: Pool, cell: str, holder: str, passed: int, verified: int, lease: timedelta) -> None:
    """Notes that so many more customers are verified, up to this number, and keeps the turn for so long."""
    await pool.execute(NOTE_PROGRESS.format(cell=cell), holder, passed, verified, lease)


async def begin_round(pool: Pool, cell: str, holder: str) -> None:
    """All customers are verified: the next round begins."""
    await pool.execute(BEGIN_ROUND.format(cell=cell), holder, cell)


async def count_customers(pool: Pool, cell: str) -> int:
    """How many customers a cell has."""
    count: int = await pool.fetchval(COUNT, cell)
    return count


async def next_customers(pool: Pool, cell: str, passed: int, limit: int) -> list[Sized]:
    """The customers above this number."""
    return _sized(await pool.fetch(NEXT.format(cell=cell), passed, cell, limit))


async def sizes(pool: Pool, cell: str, customers: Sequence[int]) -> list[Sized]:
    """How many entries these customers have."""
    return _sized(await pool.fetch(SIZES.format(cell=cell), customers))


def _sized(rows: Sequence[asyncpg.Record]) -> list[Sized]:
    return [Sized(customer, sequence or 0) for customer, sequence in rows]


async def horizon(pool: Pool) -> int:
    """The oldest transaction that may still be open."""
    xid: int = await pool.fetchval(HORIZON)
    return xid


async def changed(pool: Pool, cell: str, since: int, limit: int) -> list[Change]:
    """Who was written to by the transactions from `since` on, the oldest first."""
    return [Change(*row) for row in await pool.fetch(CHANGED.format(cell=cell), since, limit)]


async def found_customers(pool: Pool, cell: str, above: int, limit: int) -> list[Sized]:
    """The customers above this number of whom a finding stands."""
    return _sized(await pool.fetch(FOUND.format(cell=cell), above, limit))


async def standing(pool: Pool, cell: str, customers: Sequence[int], part: str) -> dict[int, str]:
    """The findings of a part that stand, by customer."""
    rows = await pool.fetch(STANDING.format(cell=cell), customers, part)
    return {row["customer"]: row["finding"] for row in rows}


async def find(
    pool: Pool, cell: str, finding: str, customer: int, part: str, breaks: Sequence[Break]
) -> bool:
    """Writes down what was found of a customer, and stops it if these are its books; False: it is known.

    A finding that stands and names all of these invariants says it already.
    """
    names = sorted({each.invariant for each in breaks})
    async with pool.acquire() as connection, connection.transaction():
        same = await connection.fetchrow(SAME.format(cell=cell), customer, part)
        if same is not None:
            if {*names} <= {*same["invariants"]}:
                return False
            clock = await connection.fetchval("SELECT clock_timestamp()")
            await connection.execute(END_FINDING.format(cell=cell), same["finding"], clock)
        found = await connection.fetchval(
            FIND.format(cell=cell),
            finding,
            customer,
            part,
            part == BOOKS,
            names,
            sum(each.times for each in breaks),
            "\n".join(f"{each.invariant}: {each.description}" for each in breaks)[:DESCRIPTION_MAX],
        )
        if found is not None and part == BOOKS:
            await connection.execute(RENEW_WALLET.format(cell=cell), customer, new_token())
    return found is not None


async def list_findings(pool: Pool, cells: Sequence[str], limit: int) -> tuple[list[Finding], bool]:
    """The findings of these cells that stand, the newest first; and whether there are more."""
    found = " UNION ALL ".join(LIST.format(cell=cell) for cell in cells)
    statement = sized_page(
        ", ".join(Finding._fields),
        f"FROM ({found}) standing",
        bytes_="octet_length(description)",
        order="found_at DESC, finding",
        limit="$1",
    )
    return page_of(await pool.fetch(statement, limit), limit, Finding._make)


async def end(pool: Pool, cell: str, finding: str, verified_at: datetime) -> bool:
    """Ends a finding whose customer verifies again; False for one that was found after that."""
    return await pool.fetchval(END_FINDING.format(cell=cell), finding, verified_at) is not None


async def figures(pool: Pool, cell: str) -> WatchFigures:
    """How the verification of a cell stands."""
    row = await pool.fetchrow(FIGURES.format(cell=cell))
    if row is None:
        raise LookupError(f"{cell}.watch has no row: the cell is not migrated")
    return WatchFigures(**row)
