"""Customers of tests that have no service: created by the store, one at a time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from ledger.books.model.decisions import Decision
from ledger.store.audit import Act
from ledger.store.directory import Created, NewCustomer, create_customers
from ledger.store.postgres.database import Pool


async def create_customer(
    pool: Pool, customer_id: str, cell: str, make: Callable[[int, datetime], Decision], by: Act
) -> Created:
    """A customer as `make` decides its first entry. Raises what it is refused for."""
    [outcome] = await create_customers(pool, cell, [NewCustomer(customer_id, make)], by)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
