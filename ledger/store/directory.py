"""Who is a customer, in which cell it lives, and whom the clock waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from ledger.books.model import Decision, Entry
from ledger.store.database import Pool


class CustomerKey(NamedTuple):
    customer: int
    cell: str


@dataclass(frozen=True, slots=True)
class Created:
    key: CustomerKey
    entry: Entry
    replayed: bool


class CustomerExistsError(Exception):
    """Another request has created a customer of this id."""


class RequestIdReusedError(Exception):
    """The request id has the entry of another request."""


async def find_customers(pool: Pool, ids: Iterable[str]) -> dict[str, CustomerKey]:
    """The customers of these ids that exist."""
    raise NotImplementedError


async def customer_ids(pool: Pool, customers: Iterable[int]) -> dict[int, str]:
    """The ids of these customers."""
    raise NotImplementedError


async def create_customer(
    pool: Pool, customer_id: str, cell: str, make: Callable[[int], Decision]
) -> Created:
    """Creates a customer: its directory row, wallet and first entry, in one transaction."""
    raise NotImplementedError


async def due_customers(pool: Pool, cell: str, now: datetime, limit: int) -> list[tuple[int, datetime]]:
    """Customers of the cell with something due by `now`, most overdue first."""
    raise NotImplementedError
