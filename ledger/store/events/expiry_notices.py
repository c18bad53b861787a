"""Which grants are reported before they expire: each once for an expiry.

They are noted with the cursor of the journal's events, so that no grant is passed over, and found again when
it is time to look at them: a million grants cost nothing until then.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from ledger.books.model.entries import EntryKind
from ledger.books.model.lots import LotKey
from ledger.events.derive import ExpiringGrant
from ledger.store.statements import statements_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ledger.store.postgres.database import PooledConnection

NOTICE_MAX: Final = timedelta(days=30)
"""No plan asks for more: earlier no grant is looked at. The migration that notes the first ones says so."""

DUE_MAX: Final = 1_000
"""Grants that a step looks at: some tens of milliseconds."""

OF_NO_LOT: Final = ", ".join(
    f"'{kind}'"
    for kind in (
        EntryKind.RESERVE,
        EntryKind.EXTEND,
        EntryKind.COMMIT,
        EntryKind.RELEASE,
        EntryKind.RESERVATION_EXPIRED,
        EntryKind.CHARGE,
    )
)
"""Kinds of entries that make no lot, nor change when one expires: most are of these."""

_SQL: Final = statements_of(__name__, of_no_lot=OF_NO_LOT)
DUE: Final = _SQL["due"]


async def note_expiries(connection: PooledConnection, cell: str, cursor: str, upto: str) -> None:
    """Notes the grants of a chunk of the journal that will expire; those of another plan are due."""
    await connection.execute(_SQL["note"].format(cell=cell), cursor, upto, NOTICE_MAX)
    await connection.execute(_SQL["wake"].format(cell=cell), cursor, upto)


async def expiring_grants(
    connection: PooledConnection, cell: str, notices: Mapping[str, timedelta]
) -> tuple[list[ExpiringGrant], bool]:
    """The grants that are to be reported now, and whether more are to be looked at.

    They are taken to be reported by the transaction that the connection is in. `notices`: how long before its
    expiry a grant is, by plan. Processes do not meet: each grant is looked at by one of them.
    """
    rows = await connection.fetch(DUE.format(cell=cell), [*notices], [*notices.values()], DUE_MAX, NOTICE_MAX)
    found = [
        ExpiringGrant(
            customer=row["customer"],
            customer_id=row["customer_id"],
            lot=LotKey(row["sequence"], row["n"]),
            remaining_micros=row["remaining"],
            held_micros=row["held"],
            expires_at=row["expires_at"],
            at=row["clock"],
        )
        for row in rows
        if row["is_new"]
    ]
    return found, len(rows) == DUE_MAX
