"""Usage that was charged, as the journal holds it: read in bulk, to be priced again elsewhere.

Documents of lines stay text: whoever prices them takes them apart.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from ledger.store.statements import statements_of

if TYPE_CHECKING:
    from ledger.store.postgres.database import PooledConnection

CHUNK_ROWS = 500
"""Read at once: a few milliseconds of whoever reads."""

_SQL = statements_of(__name__)


USAGE = _SQL["usage"]

SEEN = _SQL["seen"]

VERSIONS = _SQL["versions"]

DOCUMENTS = _SQL["documents"]

COST_VERSIONS = _SQL["cost_versions"]


@dataclass(frozen=True, slots=True)
class ChargedUsageQuery:
    """Which charges; None: all."""

    since: datetime | None = None
    until: datetime | None = None
    """Booked before this instant, and not before the other."""
    customer: int | None = None
    card: str | None = None
    """Charged by this card."""


class VersionsUsed(NamedTuple):
    """Versions that charges rest on."""

    cards: frozenset[str]
    costs: frozenset[str]


async def versions_used(
    connection: PooledConnection, cells: Sequence[str], query: ChargedUsageQuery
) -> VersionsUsed:
    """The versions that these charges rest on."""
    pairs: set[tuple[str, str]] = set()
    for cell in cells:
        rows = await connection.fetch(VERSIONS.format(cell=cell), *_parameters(query))
        pairs |= {(row[0], row[1]) for row in rows}
    return VersionsUsed(frozenset(card for card, _ in pairs), frozenset(costs for _, costs in pairs))


async def documents(connection: PooledConnection, versions: frozenset[str]) -> dict[str, str]:
    """Documents of cards and cost books, by their content hashes."""
    return {row[0]: row[1] for row in await connection.fetch(DOCUMENTS, sorted(versions))}


async def cost_versions(connection: PooledConnection) -> list[tuple[datetime, str]]:
    """When each version of the cost book came in force, and its content hash; the latest first."""
    return [(row[0], row[1]) for row in await connection.fetch(COST_VERSIONS)]


class SeenUsage(NamedTuple):
    """Something that usage was of."""

    kind: str
    name: str
    served_by: str
    """Empty: what was asked for."""
    service_tier: str


async def seen(
    connection: PooledConnection, cells: Sequence[str], query: ChargedUsageQuery
) -> set[SeenUsage]:
    """All that these charges are of."""
    found: set[SeenUsage] = set()
    for cell in cells:
        for row in await connection.fetch(SEEN.format(cell=cell), *_parameters(query)):
            found.add(SeenUsage(*(value or "" for value in row)))
    return found


async def usage(
    connection: PooledConnection, cells: Sequence[str], query: ChargedUsageQuery
) -> AsyncIterator[list[tuple[Any, ...]]]:
    """The charges and reversals, of a customer together, in order of sequence; in chunks.

    Has to be in a transaction, and reads all of one state of the database in it.
    """
    for cell in cells:
        cursor = await connection.cursor(USAGE.format(cell=cell), *_parameters(query))
        while rows := await cursor.fetch(CHUNK_ROWS):
            yield [tuple(row) for row in rows]


def _parameters(query: ChargedUsageQuery) -> tuple[Any, ...]:
    return query.since, query.until, query.customer, query.card
