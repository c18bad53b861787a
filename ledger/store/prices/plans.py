"""Who is on a plan, and what customers have their own of."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from ledger.store.statements import statements_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from ledger.store.postgres.database import Pool

_SQL = statements_of(__name__)
AFFECTED: Final = _SQL["affected"]
OVERRIDES: Final = _SQL["overrides"]


async def customers_affected(
    pool: Pool, cells: Iterable[str], dropped: Collection[str], without_card: Collection[str]
) -> Mapping[str, int]:
    """By plan, how many customers are on one that is dropped; or, with no card of their own, on one without.

    It reads each wallet: for what is done by hand.
    """
    found: Counter[str] = Counter()
    for cell in cells:
        for row in await pool.fetch(AFFECTED.format(cell=cell), list(dropped), list(without_card)):
            found[row["plan"]] += row["customers"]
    return found


async def overrides_of(pool: Pool, cells: Iterable[str], customer_ids: Collection[str]) -> Mapping[str, str]:
    """The fields of their plans that customers have their own of (JSON), by id; of those that have any."""
    found: dict[str, str] = {}
    for cell in cells:
        rows = await pool.fetch(_SQL["own"].format(cell=cell), list(customer_ids))
        found |= {row["customer_id"]: row["plan_overrides"] for row in rows}
    return found


async def customers_with(pool: Pool, cells: Iterable[str], overrides: str, limit: int) -> list[str]:
    """The ids of customers that have these fields of their own; of each cell so many at most."""
    rows = [
        row for cell in cells for row in await pool.fetch(_SQL["having"].format(cell=cell), overrides, limit)
    ]
    return [row["customer_id"] for row in rows]


async def overrides_in_use(pool: Pool, cells: Iterable[str]) -> Mapping[tuple[str, str], int]:
    """By plan and the fields that customers have their own of (JSON), how many customers have them."""
    found: Counter[tuple[str, str]] = Counter()
    for cell in cells:
        for row in await pool.fetch(OVERRIDES.format(cell=cell)):
            found[row["plan"], row["plan_overrides"]] += row["customers"]
    return found
