"""The invariants of the books, checked over the whole journal.

All run in one snapshot, so that work going on meanwhile is either wholly in or wholly out, and all
aggregate in the database: no journal is too long to be checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ledger.store.database import Pool
from ledger.store.finance import snapshot
from ledger.store.invariants import INVARIANTS
from ledger.store.migrate import SHARED_SCHEMA

VIOLATIONS_MAX = 100
"""Of one verification: who has so many needs no longer list, and an answer has a size."""

SIZE = """
SELECT (SELECT count(*) FROM {cell}.entries) AS entries, (SELECT count(*) FROM {cell}.wallets) AS customers
"""

BREAKS = """
SELECT coalesce(c.customer_id, '#' || b.customer, '') AS customer_id, b.description
FROM ({breaks}) b LEFT JOIN {shared}.customers c ON c.customer = b.customer
ORDER BY b.customer, b.description LIMIT $1
"""


@dataclass(frozen=True, slots=True)
class Violation:
    """A break of an invariant."""

    invariant: str
    customer_id: str
    """Empty for what belongs to no one customer; `#n` for one whom the directory does not know."""
    description: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What a verification has looked at, and what it found."""

    as_of: datetime
    entries: int
    customers: int
    violations: tuple[Violation, ...]
    """At most `VIOLATIONS_MAX`; none, if the books hold."""


async def verify_journal(pool: Pool, cells: Sequence[str]) -> Verification:
    """Check every invariant over every cell, as of one instant."""
    entries = customers = 0
    violations: list[Violation] = []
    async with snapshot(pool) as connection:
        as_of = await connection.fetchval("SELECT now()")
        for cell in cells:
            size = await connection.fetchrow(SIZE.format(cell=cell))
            if size is not None:
                entries += size["entries"]
                customers += size["customers"]
            for invariant in INVARIANTS:
                breaks = invariant.breaks.format(cell=cell)
                statement = BREAKS.format(breaks=breaks, shared=SHARED_SCHEMA)
                rows = await connection.fetch(statement, VIOLATIONS_MAX - len(violations))
                violations += [
                    Violation(invariant.name, row["customer_id"], row["description"]) for row in rows
                ]
    return Verification(as_of, entries, customers, tuple(violations))
