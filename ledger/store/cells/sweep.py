"""Budgets' counters of windows that ended long ago are taken away.

No wallet is locked for it. A process that has one in memory may write it again: as it was, and so it is right
until it is swept again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.books.budgets import KEY_PREFIX, VALUES_PREFIX
from ledger.books.limits import COUNTERS_STORED
from ledger.store.statements import statements_of

if TYPE_CHECKING:
    from ledger.store.postgres.database import Pool

_SQL = statements_of(
    __name__,
    counter_prefix=KEY_PREFIX,
    values_prefix=VALUES_PREFIX,
    stored_seconds=int(COUNTERS_STORED.total_seconds()),
)
COUNTERS = _SQL["counters"]


async def sweep_counters(pool: Pool, cell: str, limit: int) -> int:
    """Takes away counters whose windows ended more than `COUNTERS_STORED` ago, the oldest; says how many."""
    swept: int = await pool.fetchval(COUNTERS.format(cell=cell), limit)
    return swept
