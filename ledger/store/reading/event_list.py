"""Events as callers read them: the oldest first, each past the last that was met.

A filter by type goes through all events past that: they are few beside entries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ledger.store.statements import statements_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from ledger.store.postgres.database import Pool, PooledConnection

_SQL = statements_of(__name__)
_OF_CUSTOMER = _SQL["of_customer"]
_OF_ALL = _SQL["of_all"]


class StoredEvent(NamedTuple):
    """An event as it stands in the outbox."""

    number: int
    """Among all: nothing for a customer to see."""
    customer_id: str
    """Empty: the house's."""
    customer_number: int
    event_id: str
    type: str
    at: datetime
    data: str
    """A JSON object."""


async def events_of_customer(
    connection: PooledConnection, customer: int, after: int, limit: int, types: Sequence[str]
) -> list[StoredEvent]:
    """A customer's events past its number `after`, the oldest first; of these types (none: of any)."""
    rows = await connection.fetch(_OF_CUSTOMER, customer, after, limit, list(types))
    return [StoredEvent(**row) for row in rows]


async def events_of_all(pool: Pool, after: int, limit: int, types: Sequence[str]) -> list[StoredEvent]:
    """Events of all customers and of the house past a number among all, the oldest first."""
    return [StoredEvent(**row) for row in await pool.fetch(_OF_ALL, after, limit, list(types))]
