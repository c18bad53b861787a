"""The one batched write: what a cell decided, in one statement and one round trip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg

from ledger.books.model import Entry, Lot, LotKey, Reservation, Wallet


@dataclass(slots=True)
class Batch:
    """What has been decided: one final image per row, by key."""

    decided_at: datetime
    """The instant of the first decision of the batch, on the database's clock."""
    before: dict[int, int] = field(default_factory=dict)
    """The sequence that each customer's part was decided upon; customers with refusals only too."""
    wallets: dict[int, Wallet] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    lots: dict[tuple[int, LotKey], tuple[Lot, bool]] = field(default_factory=dict)
    """With whether it is born in this batch, as for reservations."""
    reservations: dict[tuple[int, int], tuple[Reservation, bool]] = field(default_factory=dict)
    runs: dict[tuple[int, str], str] = field(default_factory=dict)
    debts: dict[int, int] = field(default_factory=dict)
    """Nano-dollars unbilled, of the customers for whom it changed."""


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a batch."""

    customers: frozenset[int]
    """Those still at the sequence decided upon: written whole. The others: not at all."""
    clock: datetime
    """The database's clock when the statement had its locks."""
    stale: bool = False
    """The batch was decided too far off that clock, and nothing was written."""


class WriteError(Exception):
    """A statement that did not succeed; the driver's error is the cause."""


class RepeatedRequest(WriteError):
    """One of the batch's request ids has an entry already. Nothing was written."""


class WriteRefused(WriteError):
    """The database refused the statement (a broken rule, a bug). Nothing was written."""


class UnknownOutcome(WriteError):
    """The statement may or may not take effect, now or later."""


async def write(connection: asyncpg.Connection[asyncpg.Record], cell: str, batch: Batch) -> Written:
    """Writes the batch's customers that are still at their `before`, each whole."""
    raise NotImplementedError


async def check(
    connection: asyncpg.Connection[asyncpg.Record], cell: str, before: Mapping[int, int]
) -> Written:
    """Tells which customers are still at their `before`: a batch of refusals only."""
    raise NotImplementedError
