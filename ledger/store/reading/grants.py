"""Grants as they are listed: what is left of each, what became of the rest, and what is said of it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from ledger.books.model.lots import GrantRecord, Lot, LotKey
from ledger.store.cells.columns import LOT
from ledger.store.cells.rows_in import lot_of
from ledger.store.statements import statements_of

if TYPE_CHECKING:
    import asyncpg

    from ledger.store.directory import CustomerKey
    from ledger.store.postgres.database import PooledConnection

_SQL = statements_of(__name__, lot_columns=LOT.select("l"))
_OF_CUSTOMER: Final = _SQL["of_customer"]
_OF_REFERENCE: Final = _SQL["of_reference"]
EXPIRING_BEFORE: Final = _SQL["expiring_before"]


class ListedGrant(NamedTuple):
    """A lot without its value, and what is known of it but what was paid."""

    customer: int
    lot: Lot
    record: GrantRecord


class GrantFilter(NamedTuple):
    """Which grants are asked for; None: any."""

    external_reference: str | None = None
    expires_before: datetime | None = None
    """Those with credits left that will have expired by then."""


ANY_GRANT: Final = GrantFilter()


class GrantPlace(NamedTuple):
    """Where a grant stands among those of all customers."""

    customer: int
    lot: LotKey


async def of_customer(
    connection: PooledConnection, key: CustomerKey, wanted: GrantFilter, before: LotKey, limit: int
) -> list[ListedGrant]:
    """A customer's grants, the newest first."""
    text = _OF_CUSTOMER.format(cell=key.cell)
    return _listed(await connection.fetch(text, key.customer, *before, limit, *wanted))


async def of_reference(
    connection: PooledConnection,
    cell: str,
    external_reference: str,
    expires_before: datetime | None,
    before: GrantPlace,
    limit: int,
) -> list[ListedGrant]:
    """Grants of one reference in a cell, those of the newest customers first."""
    text = _OF_REFERENCE.format(cell=cell)
    place = (before.customer, *before.lot)
    return _listed(await connection.fetch(text, external_reference, *place, limit, expires_before))


async def expiring_before(
    connection: PooledConnection,
    cell: str,
    instant: datetime,
    after: tuple[datetime, GrantPlace],
    limit: int,
) -> list[ListedGrant]:
    """Grants of a cell with credits left that expire before an instant, the next to expire first.

    `after`: where the page before has ended, or an instant before all.
    """
    text = EXPIRING_BEFORE.format(cell=cell)
    expires_at, place = after
    rows = await connection.fetch(text, instant, expires_at, place.customer, *place.lot, limit)
    return _listed(rows)


def _listed(rows: list[asyncpg.Record]) -> list[ListedGrant]:
    return [
        ListedGrant(
            row["customer"],
            lot_of(row, value_nanousd=0),
            GrantRecord(
                None,
                row["external_reference"],
                row["note"],
                row["ended"],
                row["refunded"],
                rolled_over_micros=row["rolled_over"],
                recurring=row["recurring"],
            ),
        )
        for row in rows
    ]
