"""Which grants are reported before they expire: each once for an expiry.

They are noted with the cursor of the journal's events, so that no grant is passed over, and found again when
it is time to look at them: a million grants cost nothing until then.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from ledger.books.model.entries import EntryKind
from ledger.books.model.lots import LotKey
from ledger.events.derive import ExpiringGrant
from ledger.store.statements import statements_of

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg

    from ledger.books.model.plans import Plan
    from ledger.store.events.plans_seen import PlanOf
    from ledger.store.postgres.database import PooledConnection

NOTICE_MAX: Final = timedelta(days=30)
"""No plan asks for more: earlier no grant is looked at. The migration that notes the first ones says so."""

LOOK_EVERY: Final = timedelta(days=1)
"""So often a grant is looked at whose expiry may come to be reported: plans change."""

UNREADABLE_AGAIN: Final = timedelta(minutes=1)
"""After so long a server that can read the customer's own fields is to have looked."""

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
    connection: PooledConnection, cell: str, plan_of: PlanOf
) -> tuple[list[ExpiringGrant], bool]:
    """The grants that are to be reported now, and whether more are to be looked at.

    They are taken to be reported by the transaction that the connection is in. `plan_of` says how long before
    its expiry a grant is. Processes do not meet: each grant is looked at by one of them.
    """
    rows = await connection.fetch(DUE.format(cell=cell), DUE_MAX)
    gone = [_key(row) for row in rows if not row["stands"]]
    looks = [_look(row, plan_of(row["plan"], row["plan_overrides"])) for row in rows if row["stands"]]
    if gone:
        await connection.execute(_SQL["forget"].format(cell=cell), *zip(*gone, strict=True))
    if looks:
        moved = [(*_key(each.row), each.reported, each.again_at) for each in looks]
        await connection.execute(_SQL["move"].format(cell=cell), *zip(*moved, strict=True))
    return [_grant(each.row) for each in looks if each.is_new], len(rows) == DUE_MAX


class _Look(NamedTuple):
    """What a look at a grant has found."""

    row: asyncpg.Record
    reported: datetime | None
    """The expiry that is reported by then."""
    again_at: datetime

    @property
    def is_new(self) -> bool:
        """Whether the expiry is to be reported now."""
        return self.reported is not None and self.reported != self.row["reported"]


def _look(row: asyncpg.Record, plan: Plan | None) -> _Look:
    now, expires_at, reported = row["clock"], row["expires_at"], row["reported"]
    if plan is not None and plan.unreadable:
        return _Look(row, reported, now + UNREADABLE_AGAIN)
    report_at = expires_at
    if plan is not None and plan.expiring_notice is not None:
        report_at = expires_at - plan.expiring_notice
        if report_at <= now:
            return _Look(row, expires_at, expires_at)
    return _Look(row, reported, min(report_at, max(expires_at - NOTICE_MAX, now + LOOK_EVERY)))


def _key(row: asyncpg.Record) -> tuple[int, int, int]:
    return row["customer"], row["sequence"], row["n"]


def _grant(row: asyncpg.Record) -> ExpiringGrant:
    return ExpiringGrant(
        customer=row["customer"],
        customer_id=row["customer_id"],
        lot=LotKey(row["sequence"], row["n"]),
        remaining_micros=row["remaining"],
        held_micros=row["held"],
        expires_at=row["expires_at"],
        at=row["clock"],
    )
