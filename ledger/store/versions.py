"""Versions of rate cards and cost books: found by the hash of their content, and immutable.

Their documents tell margins and costs: the pools to use are the writer's and finance's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

    from ledger.store.database import Pool

STORE_CARD = """
INSERT INTO ledger.card_versions (version, card, revision, effective_from, document)
VALUES ($1, $2, $3, $4, $5) ON CONFLICT (version) DO NOTHING
"""
STORE_COSTS = """
INSERT INTO ledger.cost_versions (version, revision, effective_from, document)
VALUES ($1, $2, $3, $4) ON CONFLICT (version) DO NOTHING
"""
GET_CARD = "SELECT document FROM ledger.card_versions WHERE version = $1"
GET_COSTS = "SELECT document FROM ledger.cost_versions WHERE version = $1"
CARDS_OF = """
SELECT version, revision, effective_from FROM ledger.card_versions
WHERE card = $1 ORDER BY effective_from DESC, revision DESC, stored_at DESC
"""
ALL_COSTS = """
SELECT version, revision, effective_from FROM ledger.cost_versions
ORDER BY effective_from DESC, revision DESC, stored_at DESC
"""


class StoredVersion(NamedTuple):
    """A version without its document."""

    version: str
    """Content hash."""
    revision: int
    effective_from: datetime


class UnknownVersion(Exception):
    """No version of this content hash has been stored."""


async def store_card(
    pool: Pool, version: str, card: str, revision: int, effective_from: datetime, document: str
) -> None:
    """Stores a version of a card; one that is there already stays as it is."""
    await pool.execute(STORE_CARD, version, card, revision, effective_from, document)


async def store_costs(
    pool: Pool, version: str, revision: int, effective_from: datetime, document: str
) -> None:
    """Stores a version of the cost book; one that is there already stays as it is."""
    await pool.execute(STORE_COSTS, version, revision, effective_from, document)


async def get_card(pool: Pool, version: str) -> str:
    """The document of a card's version. Raises UnknownVersion."""
    return await _document(pool, GET_CARD, version)


async def get_costs(pool: Pool, version: str) -> str:
    """The document of a cost book's version. Raises UnknownVersion."""
    return await _document(pool, GET_COSTS, version)


async def cards_of(pool: Pool, card: str) -> list[StoredVersion]:
    """The versions of a card, the latest `effective_from` first."""
    return [StoredVersion(*record) for record in await pool.fetch(CARDS_OF, card)]


async def all_costs(pool: Pool) -> list[StoredVersion]:
    """The versions of the cost book, the latest `effective_from` first."""
    return [StoredVersion(*record) for record in await pool.fetch(ALL_COSTS)]


async def _document(pool: Pool, query: str, version: str) -> str:
    document = await pool.fetchval(query, version)
    if document is None:
        raise UnknownVersion(version)
    return str(document)
