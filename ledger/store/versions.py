"""Versions of rate cards and cost books: content-addressed and immutable."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ledger.store.database import Pool


@dataclass(frozen=True, slots=True)
class StoredCard:
    version: str
    card: str
    revision: int
    effective_from: datetime
    document: str


@dataclass(frozen=True, slots=True)
class StoredCosts:
    version: str
    revision: int
    effective_from: datetime
    document: str


@dataclass(frozen=True, slots=True)
class CostsHeader:
    version: str
    revision: int
    effective_from: datetime


async def store_card(
    pool: Pool, version: str, card: str, revision: int, effective_from: datetime, document: str
) -> None:
    """Stores a version of a card; one that is there already stays as it is."""
    raise NotImplementedError


async def store_costs(
    pool: Pool, version: str, revision: int, effective_from: datetime, document: str
) -> None:
    """Stores a version of the cost book; one that is there already stays as it is."""
    raise NotImplementedError


async def get_card(pool: Pool, version: str) -> StoredCard | None:
    raise NotImplementedError


async def get_costs(pool: Pool, version: str) -> StoredCosts | None:
    raise NotImplementedError


async def cards_of(pool: Pool, card: str) -> list[StoredCard]:
    """The versions of a card, newest `effective_from` first."""
    raise NotImplementedError


async def all_costs(pool: Pool) -> list[CostsHeader]:
    """The versions of the cost book without their documents, newest `effective_from` first."""
    raise NotImplementedError
