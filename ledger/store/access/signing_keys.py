"""Keys that sign customers' tokens: one for each day of UTC, drawn by the database, of this database alone.

A secret never travels in a statement, so that no log of the server can hold one; and once the last token that
it has signed has ended, it is deleted. The pool to use is the writer's: no role that answers reads sees them.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from ledger.store.statements import statements_of

if TYPE_CHECKING:
    from ledger.store.postgres.database import Pool

_SQL = statements_of(__name__)
_MAKE = _SQL["make"]
_FIND = _SQL["find"]
_DROP = _SQL["drop"]

_DAY: Final = timedelta(days=1)


class SigningKey(NamedTuple):
    """What tokens of a day are signed by."""

    day: date
    secret: bytes

    def __repr__(self) -> str:
        """Without the secret: it may come to stand in a log."""
        return f"SigningKey({self.day})"


async def signing_keys(pool: Pool, today: date) -> list[SigningKey]:
    """The keys of yesterday (if there was one), today and tomorrow; those that are missing are made.

    Tomorrow's is made a day ahead, so that every server knows it before anybody signs by it. Of two that make
    one at the same time the second finds the first one's.
    """
    found = await _find(pool, today)
    missing = {today, today + _DAY} - {key.day for key in found}
    if not missing:
        return found
    await pool.execute(_MAKE, sorted(missing))
    await pool.execute(_DROP, today - _DAY)
    return await _find(pool, today)


async def _find(pool: Pool, today: date) -> list[SigningKey]:
    return [SigningKey(*record) for record in await pool.fetch(_FIND, today - _DAY)]
