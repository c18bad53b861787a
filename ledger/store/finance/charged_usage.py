"""Usage that was charged, as the journal holds it: read in bulk, to be priced again elsewhere.

Documents of lines stay text: whoever prices them takes them apart.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from ledger.store.postgres.migrate import SHARED_SCHEMA

if TYPE_CHECKING:
    from ledger.store.postgres.database import PooledConnection

CHUNK_ROWS = 500
"""Read at once: a few milliseconds of whoever reads."""

_WINDOW = """
WHERE e.kind IN ('COMMIT', 'CHARGE', 'REVERSAL', 'PERIOD_CLOSED')
  AND ($1::timestamptz IS NULL OR e.booked_at >= $1) AND ($2::timestamptz IS NULL OR e.booked_at < $2)
  AND ($3::bigint IS NULL OR e.customer = $3) AND ($4::text IS NULL OR e.card = $4)
"""

# An entry has the numbers of its versions; whoever prices it anew knows their contents by their hashes.
_CARD_OF_E = f"""
{SHARED_SCHEMA}.price_versions p ON p.kind = 'CARD' AND p.name = e.card AND p.number = e.card_version
"""
_COSTS_OF_E = f"""
{SHARED_SCHEMA}.price_versions b ON b.kind = 'COSTS' AND b.name = '' AND b.number = e.cost_version
"""

# What prices a commit are its reservation's labels, not its own. A reversal gives back what refunds have left
# of its charge; it is reported with them, for they are no price, and so the charge amounts to nothing.
USAGE = (
    """
SELECT e.customer, e.sequence, e.kind, e.reservation, e.subject,
       EXISTS (SELECT FROM {cell}.entries r WHERE r.customer = e.customer AND r.kind = 'REVERSAL'
               AND r.subject = coalesce(e.reservation, e.sequence)) AS undone,
       (extract(epoch FROM e.booked_at) * 1000000)::bigint AS booked_at_micros,
       e.plan, e.card, p.version AS card_version, b.version AS cost_version,
       e.credit_price_nanousd, e.multiplier_nanos,
       e.priced + coalesce(g.priced, 0) AS priced,
       coalesce(m.revenue, 0) + coalesce(g.revenue, 0) AS revenue, -coalesce(m.cost, 0) AS cost,
       CASE WHEN e.reservation IS NULL THEN e.labels ELSE r.labels END::text AS labels,
       e.lines::text AS lines, m.lines::text AS money_lines
FROM {cell}.entries e
LEFT JOIN {cell}.money m ON m.customer = e.customer AND m.sequence = e.sequence AND m.house_sequence = 0
LEFT JOIN {cell}.reservations r ON r.customer = e.customer AND r.sequence = e.reservation
LEFT JOIN LATERAL (
    SELECT sum(f.priced)::bigint AS priced, sum(n.revenue)::bigint AS revenue
    FROM (
        SELECT e.subject AS sequence
        UNION ALL
        SELECT c.sequence FROM {cell}.entries c
        WHERE c.customer = e.customer AND c.reservation = e.subject AND c.kind = 'COMMIT'
    ) c
    JOIN {cell}.entries f ON f.customer = e.customer AND f.subject = c.sequence AND f.kind = 'REFUND'
    LEFT JOIN {cell}.money n ON n.customer = f.customer AND n.sequence = f.sequence AND n.house_sequence = 0
) g ON e.kind = 'REVERSAL'
"""
    f"LEFT JOIN {_CARD_OF_E} LEFT JOIN {_COSTS_OF_E}" + _WINDOW + "ORDER BY e.customer, e.sequence"
)

SEEN = (
    """
SELECT DISTINCT l.line ->> 'kind', l.line ->> 'name', l.line ->> 'served_by', l.line #>> '{{usage,tier}}'
FROM {cell}.entries e
JOIN {cell}.money m ON m.customer = e.customer AND m.sequence = e.sequence AND m.house_sequence = 0
CROSS JOIN LATERAL json_array_elements(m.lines) AS l(line)
"""
    + _WINDOW
)

VERSIONS = (
    "SELECT DISTINCT p.version, b.version FROM {cell}.entries e"
    f" JOIN {_CARD_OF_E} JOIN {_COSTS_OF_E}" + _WINDOW
)

DOCUMENTS = f"SELECT version, document FROM {SHARED_SCHEMA}.price_versions WHERE version = ANY($1::text[])"

COST_VERSIONS = f"""
SELECT effective_from, version FROM {SHARED_SCHEMA}.price_versions
WHERE kind = 'COSTS' ORDER BY effective_from DESC, number DESC
"""


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
