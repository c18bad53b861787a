"""What memory lacks, loaded for many customers in one statement and so from one snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg

from ledger.books.model import Entry, Facts, Reservation, Wallet


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """What to load of one customer besides its wallet."""

    customer: int
    reservations: tuple[int, ...] = ()
    runs: tuple[str, ...] = ()
    request_ids: tuple[str, ...] = ()
    due_at: datetime | None = None


@dataclass(slots=True)
class Loaded:
    wallet: Wallet
    reservations: dict[int, Reservation] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    """By request id, without money."""
    due: tuple[Reservation, ...] = ()
    """Open reservations with expires_at <= due_at, the oldest 1,000, oldest first."""
    next_reservation_due_at: datetime | None = None
    """The earliest expiry of the open reservations that are not in `due`."""


async def load(
    connection: asyncpg.Connection[asyncpg.Record], cell: str, requests: Sequence[LoadRequest]
) -> dict[int, Loaded]:
    """Loads each customer once; those that do not exist are missing from the answer."""
    raise NotImplementedError


async def load_reversal(
    connection: asyncpg.Connection[asyncpg.Record],
    cell: str,
    customer: int,
    *,
    charge: int | None,
    reservation: int | None,
) -> Facts:
    """What a reversal needs: the entries to undo with their money, and the lots that they drew."""
    raise NotImplementedError


async def find_entries(
    connection: asyncpg.Connection[asyncpg.Record], cell: str, ids: Sequence[tuple[int, str]]
) -> dict[tuple[int, str], Entry]:
    """The entries of (customer, request_id) that exist, without their money."""
    raise NotImplementedError
