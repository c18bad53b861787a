"""The invariants of the books, checked over the whole journal, or over the books of some customers.

Each verification runs in one snapshot, so that work going on meanwhile is either wholly in or wholly out,
and aggregates in the database: no journal is too long to be checked. What is stored so that an invariant
cannot even be computed of it (pins that are no list, a page that is lost) breaks that invariant.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

import asyncpg

from ledger.store.finance.invariants import INVARIANTS, Invariant, breaks_of_customers
from ledger.store.finance.reads import snapshot
from ledger.store.postgres.database import Pool, PooledConnection
from ledger.store.statements import statements_of

_UNREADABLE = (asyncpg.DataError, asyncpg.DataCorruptedError, asyncpg.IndexCorruptedError)
"""What PostgreSQL says of values that no invariant can be computed of, and of pages that a disk has lost."""

VIOLATIONS_MAX = 100
"""Of one verification: who has so many needs no longer list, and an answer has a size."""

_SQL = statements_of(__name__)
SIZE = _SQL["size"]

VIOLATIONS = _SQL["violations"]

BREAKS_OF_CUSTOMERS = _SQL["breaks_of_customers"]


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


class Break(NamedTuple):
    """An invariant that does not hold of a customer."""

    invariant: str
    times: int
    description: str
    """Of one of the times. May tell dollars."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What the verification of some customers found."""

    as_of: datetime
    breaks: Mapping[int, tuple[Break, ...]]
    """By customer; of one whose books hold there are none."""


async def verify_journal(
    pool: Pool, cells: Sequence[str], invariants: Sequence[Invariant] = INVARIANTS
) -> Verification:
    """Checks invariants, all if none are named, over every cell, as of one instant."""
    entries = customers = 0
    violations: list[Violation] = []
    async with snapshot(pool) as connection:
        as_of = await connection.fetchval("SELECT now()")
        for cell in cells:
            size = await connection.fetchrow(SIZE.format(cell=cell))
            if size is not None:
                entries += size["entries"]
                customers += size["customers"]
            for invariant in invariants:
                violations += await _violations(connection, cell, invariant, VIOLATIONS_MAX - len(violations))
    return Verification(as_of, entries, customers, tuple(violations))


async def _violations(
    connection: PooledConnection, cell: str, invariant: Invariant, limit: int
) -> list[Violation]:
    statement = VIOLATIONS.format(breaks=invariant.breaks.format(cell=cell))
    try:
        async with connection.transaction():
            rows = await connection.fetch(statement, limit)
    except _UNREADABLE as error:
        return [Violation(invariant.name, "", _not_computed(error))][:limit]
    return [Violation(invariant.name, row["customer_id"], row["description"]) for row in rows]


async def verify_customers(
    pool: Pool, cell: str, customers: Sequence[int], invariants: tuple[Invariant, ...]
) -> Verified:
    """Checks invariants of books or rollups over the books of some customers, as of one instant."""
    try:
        async with snapshot(pool) as connection:
            as_of = await _one_processor(connection)
            rows = await connection.fetch(_statement(cell, invariants), customers)
    except _UNREADABLE:
        return await _verify_apart(pool, cell, customers, invariants)
    breaks: defaultdict[int, list[Break]] = defaultdict(list)
    for customer, *found in rows:
        breaks[customer].append(Break(*found))
    return Verified(as_of, _by_customer(breaks))


async def _verify_apart(
    pool: Pool, cell: str, customers: Sequence[int], invariants: tuple[Invariant, ...]
) -> Verified:
    """The same, where one of the invariants cannot be computed of one of the customers."""
    breaks: defaultdict[int, list[Break]] = defaultdict(list)
    async with snapshot(pool) as connection:
        as_of = await _one_processor(connection)
        for customer in customers:
            for invariant in invariants:
                try:
                    async with connection.transaction():
                        rows = await connection.fetch(_statement(cell, (invariant,)), [customer])
                except _UNREADABLE as error:
                    breaks[customer].append(Break(invariant.name, 1, _not_computed(error)))
                else:
                    breaks[customer] += [Break(*found) for _, *found in rows]
    return Verified(as_of, _by_customer(breaks))


async def _one_processor(connection: PooledConnection) -> datetime:
    """Keeps a verification to one processor, for it is to take no more than its share; the instant of it."""
    await connection.execute("SET LOCAL max_parallel_workers_per_gather = 0")
    as_of: datetime = await connection.fetchval("SELECT now()")
    return as_of


def _by_customer(breaks: Mapping[int, Sequence[Break]]) -> dict[int, tuple[Break, ...]]:
    return {customer: tuple(found) for customer, found in breaks.items() if found}


@lru_cache(maxsize=64)
def _statement(cell: str, invariants: tuple[Invariant, ...]) -> str:
    """What breaks any of these invariants, in one look."""
    return " UNION ALL ".join(
        BREAKS_OF_CUSTOMERS.format(
            invariant=invariant.name, breaks=breaks_of_customers(invariant).format(cell=cell)
        )
        for invariant in invariants
    )


def _not_computed(error: Exception) -> str:
    return f"what is stored cannot be read: {error}"
