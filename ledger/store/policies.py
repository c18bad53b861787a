"""What a customer's prices rest on, read for a quote."""

from __future__ import annotations

from typing import NamedTuple

from ledger.store.database import Pool
from ledger.store.directory import CustomerKey


class Policies(NamedTuple):
    plan: str
    card: str | None
    """The card that replaces the plan's, if the customer names one."""


async def find_policies(pool: Pool, key: CustomerKey) -> Policies:
    """The customer's plan and card now. Raises LookupError for a customer without a wallet."""
    row = await pool.fetchrow(
        f'SELECT plan, card FROM "{key.cell}".wallets WHERE customer = $1', key.customer
    )
    if row is None:
        raise LookupError(f"customer {key.customer} has no wallet")
    return Policies(row["plan"], row["card"])
