"""Who needs a top-up: noted with the cursor of the journal's events, so that no entry is passed over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ledger.store.statements import statements_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ledger.store.postgres.database import Pool, PooledConnection

DUE_MAX: Final = 100
"""Customers that are looked at one after the other before others are asked for."""

_SQL: Final = statements_of(__name__)


async def note_needs(
    connection: PooledConnection, cell: str, cursor: str, upto: str, below: Mapping[str, int]
) -> None:
    """Notes who needs a top-up by a chunk of the journal, and who is to be looked at again.

    `below`: under how many micro-credits left a top-up is needed, by plan; of none: nobody needs any.
    """
    if not below:
        return
    statement = _SQL["note"].format(cell=cell)
    await connection.execute(statement, cursor, upto, [*below], [*below.values()])
    await connection.execute(_SQL["wake"].format(cell=cell), cursor, upto)


async def due_needs(pool: Pool, cell: str) -> list[int]:
    """Customers that are to be looked at now, those that have waited for longest first."""
    return [row["customer"] for row in await pool.fetch(_SQL["due"].format(cell=cell), DUE_MAX)]
