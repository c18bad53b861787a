"""Who needs a top-up: noted with the cursor of the journal's events, so that no entry is passed over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ledger.store.statements import statements_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ledger.books.model.plans import Plan
    from ledger.store.events.plans_seen import OwnPlan
    from ledger.store.postgres.database import Pool, PooledConnection

DUE_MAX: Final = 100
"""Customers that are looked at one after the other before others are asked for."""

_SQL: Final = statements_of(__name__)


async def note_needs(
    connection: PooledConnection,
    cell: str,
    cursor: str,
    upto: str,
    plans: Mapping[str, Plan],
    own: Sequence[OwnPlan],
) -> None:
    """Notes who needs a top-up by a chunk of the journal, and who is to be looked at again.

    `own`: the customers of the chunk that have their own fields of their plans.
    """
    below = {name: plan.top_up.below_micros for name, plan in plans.items() if plan.top_up is not None}
    own_below = [_below(each.plan) for each in own]
    if below or any(own_below):
        await connection.execute(
            _SQL["note"].format(cell=cell),
            cursor,
            upto,
            [*below],
            [*below.values()],
            [each.customer for each in own],
            [each.name for each in own],
            own_below,
        )
    # Whatever the plans say: some may be on their way that began by others.
    await connection.execute(_SQL["wake"].format(cell=cell), cursor, upto)


def _below(plan: Plan | None) -> int | None:
    """Under how many micro-credits left a top-up is needed; None: never."""
    return plan.top_up.below_micros if plan is not None and plan.top_up is not None else None


async def due_needs(pool: Pool, cell: str) -> list[int]:
    """Customers that are to be looked at now, those that have waited for longest first."""
    return [row["customer"] for row in await pool.fetch(_SQL["due"].format(cell=cell), DUE_MAX)]
