"""The outbox: events are written once, in the transaction that moves the cursor of the cell's journal.

A step holds the cursor's row, so that of two replicas one steps. What it makes events of is read by the
reader's role, which cannot select a dollar: that none is in an event rests on the database's rights, not on
care. The step takes the transactions below the oldest that is still open, as the rollups do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import orjson

from ledger.books.model.amounts import Credits
from ledger.books.model.lots import LotKey
from ledger.events.derive import BookedFact, Event, EventType, ExpiringGrant, IssuedGrant
from ledger.store.cells.rows_in import crossing_of
from ledger.store.events.expiry_notices import OF_NO_LOT, expiring_grants, note_expiries
from ledger.store.events.plans_seen import OwnPlan
from ledger.store.events.top_up_needs import note_needs
from ledger.store.statements import statements_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import date, datetime

    import asyncpg

    from ledger.books.model.plans import Plan
    from ledger.store.events.plans_seen import PlanOf, PlansSeen
    from ledger.store.postgres.database import Database, Pool, PooledConnection

_SQL = statements_of(__name__, of_no_lot=OF_NO_LOT)

HOUSE = 0
"""The customer of events that are no customer's."""


class EventStep(NamedTuple):
    """What one step did."""

    events: int
    behind: bool
    """More can be taken at once."""
    lag_seconds: float
    """Age of the oldest entry that it met; 0: there was none."""


class BreachedFloor(NamedTuple):
    """A card whose work of a day (UTC) has left less than it is to leave."""

    day: date
    card: str
    floor_percent: str
    """Of its revenue."""


async def take_step(
    database: Database,
    cell: str,
    entries_max: int,
    plans: PlansSeen,
    derive: Callable[[BookedFact], Iterable[Event]],
) -> EventStep | None:
    """Makes events of up to some `entries_max` entries, whole transactions; None: another is at it."""
    async with database.writer.acquire() as writer, writer.transaction():
        found = await writer.fetch(_SQL["chunk"].format(cell=cell), entries_max)
        if not found:
            return None
        here = found[0]
        own = [
            OwnPlan(row["customer"], row["plan"], plans.of(row["plan"], row["plan_overrides"]))
            for row in found
            if row["customer"] is not None
        ]
        rows = await database.reader.fetch(
            _SQL["facts"].format(cell=cell),
            here["cursor"],
            here["upto"],
            *_by_plan(plans.all),
            *_by_customer(own),
        )
        first = rows[0]
        events = [each for row in rows if row["kind"] for each in derive(_fact(row))]
        if first["looked_at"]:
            await note_needs(writer, cell, here["cursor"], here["upto"], plans.all, own)
        if first["has_lots"]:
            await note_expiries(writer, cell, here["cursor"], here["upto"])
        if events:
            await write_events(writer, events)
        if first["looked_at"]:
            await writer.execute(_SQL["move"].format(cell=cell), here["upto"])
    oldest = first["oldest_booked_at"]
    lag_seconds = max((first["clock"] - oldest).total_seconds(), 0.0) if oldest else 0.0
    return EventStep(len(events), here["behind"], lag_seconds)


def _by_plan(plans: Mapping[str, Plan]) -> tuple[list[str], list[int]]:
    """The thresholds of balances: plans that have one, and theirs."""
    stated = {name: plan.low_balance_micros for name, plan in plans.items() if plan.low_balance_micros}
    return [*stated], [*stated.values()]


def _by_customer(own: Sequence[OwnPlan]) -> tuple[list[int], list[str], list[int]]:
    """The thresholds of customers that have their own fields of a plan; 0: none."""
    thresholds = [each.plan.low_balance_micros if each.plan is not None else 0 for each in own]
    return [each.customer for each in own], [each.name for each in own], thresholds


async def report_published(pool: Pool) -> int:
    """Makes events of the cards that were published since the last look; says how many."""
    newest = await pool.fetchval(_SQL["newest_generation"])
    async with pool.acquire() as connection, connection.transaction():
        reported = await connection.fetchval(_SQL["lock"])
        if reported == newest:
            return 0
        versions = await connection.fetch(_SQL["published"], reported)
        if versions:
            await _append(connection, [_publication(version) for version in versions])
        last = versions[-1]["generation"] if versions else newest
        await connection.execute(_SQL["generation_reported"], max(last, newest))
    return len(versions)


async def report_breaches(pool: Pool, breached: Sequence[BreachedFloor]) -> int:
    """Makes events of those that are none yet, of a card and a day once; says how many."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(_SQL["lock"])
        days = sorted({each.day.isoformat() for each in breached})
        reported = {tuple(row) for row in await connection.fetch(_SQL["breaches"], days)}
        new = [each for each in breached if (each.day.isoformat(), each.card) not in reported]
        if new:
            now = await connection.fetchval("SELECT now()")
            await _append(connection, [_breach(each, now) for each in new])
    return len(new)


async def report_expiring(
    pool: Pool, cell: str, plan_of: PlanOf, derive: Callable[[ExpiringGrant], Event]
) -> bool:
    """Makes events of the grants that will expire; True if there are more to look at.

    `plan_of` says how long before its expiry a grant is reported.
    """
    async with pool.acquire() as connection, connection.transaction():
        grants, is_behind = await expiring_grants(connection, cell, plan_of)
        if grants:
            await write_events(connection, [derive(grant) for grant in grants])
    return is_behind


async def write_events(connection: PooledConnection, events: Sequence[Event]) -> None:
    """Writes events in their order, in the transaction that the connection is in.

    It locks the log until that ends: whatever else the transaction locks it locks before.
    """
    await connection.execute(_SQL["lock"])
    await _append(connection, events)


async def _append(connection: PooledConnection, events: Sequence[Event]) -> None:
    """Writes events in their order, with the log locked."""
    await connection.execute(
        _SQL["write"],
        [each.customer for each in events],
        [each.customer_id for each in events],
        [str(each.type) for each in events],
        [each.at for each in events],
        [orjson.dumps(each.data).decode() for each in events],
    )


def _fact(row: asyncpg.Record) -> BookedFact:
    lot = LotKey(row["subject"], row["subject_n"]) if row["subject_n"] is not None else None
    return BookedFact(
        customer=row["customer"],
        customer_id=row["customer_id"],
        sequence=row["sequence"],
        kind=row["kind"],
        at=row["effective_at"],
        posted=Credits(*(row[account] for account in Credits._fields)),
        after=Credits(*(row[f"{account}_after"] for account in Credits._fields)),
        threshold_micros=row["threshold"],
        reservation=row["reservation"],
        reservation_charged_micros=row["reservation_charged"] or 0,
        reservation_expires_at=row["reservation_expires_at"],
        charged_micros=row["priced"] - row["uncollected"],
        uncollected_micros=row["uncollected"],
        late=row["late"],
        lot=lot,
        crossings=tuple(crossing_of(stated) for stated in row["crossings"] or ()),
        granted=IssuedGrant(
            row["lot_kind"],
            row["lot_amount"],
            row["lot_effective_at"],
            row["lot_expires_at"],
            row["lot_priority"],
            row["lot_scope"],
            row["recurring"],
        )
        if row["lot_kind"]
        else None,
    )


def _breach(breached: BreachedFloor, at: datetime) -> Event:
    data = {
        "rate_card": breached.card,
        "day": breached.day.isoformat(),
        "margin_floor_percent": breached.floor_percent,
    }
    return Event(HOUSE, "", EventType.MARGIN_FLOOR_BREACHED, at, data)


def _publication(version: asyncpg.Record) -> Event:
    data = {
        "rate_card": version["name"],
        "number": str(version["number"]),
        "revision": str(version["revision"]),
        "effective_from": version["effective_from"].isoformat(),
    }
    return Event(HOUSE, "", EventType.RATE_CARD_PUBLISHED, version["published_at"], data)
