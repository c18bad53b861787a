"""What memory lacks, loaded for many customers in one statement, and so from one snapshot.

Two statements could see two moments, and a reservation that one of them still finds open may be closed in
the other. So all kinds of rows come out of one: each is a ROW() beside the name of its kind.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ledger.books.burn_down import burn_order
from ledger.books.due_entries import NO_CLOSINGS, Closings
from ledger.books.limits import LINES_UNDONE_MAX
from ledger.books.model.budgets import EntryBudgets
from ledger.books.model.decisions import Facts
from ledger.books.model.lots import GrantRecord, LotKey
from ledger.store.cells import rows_in
from ledger.store.cells.columns import (
    ENTRY,
    LOT,
    MONEY,
    RENEWAL,
    RESERVATION,
    RESERVATION_COSTS,
    STATE,
    WALLET,
)
from ledger.store.postgres.outcomes import as_write_errors
from ledger.store.statements import statements_of
from ledger.turns import LINES_AT_ONCE, Turns

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from ledger.books.model.entries import Entry
    from ledger.books.model.lots import Lot
    from ledger.books.model.priced import State
    from ledger.books.model.renewals import Renewal, RenewalKey
    from ledger.books.model.reservations import Reservation
    from ledger.books.model.wallets import Wallet
    from ledger.store.cells.rows_in import Fields
    from ledger.store.postgres.database import Connection, PooledConnection

DUE_MAX = 200
"""Expired holds of a customer in one load, and as many periods: they are booked without a pause. The next
come with the next load."""


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """What to load of one customer besides its wallet."""

    customer: int
    reservations: tuple[int, ...] = ()
    states: tuple[str, ...] = ()
    request_ids: tuple[str, ...] = ()
    due_at: datetime | None = None
    """The open reservations that have expired by then; none if it is None."""


@dataclass(slots=True)
class Loaded:
    wallet: Wallet
    token: int
    """Of the write that left the wallet so: no other has it."""
    reservations: dict[int, Reservation] = field(default_factory=dict)
    """Those asked for that exist."""
    states: dict[str, State] = field(default_factory=dict)
    """Those asked for that exist, by key."""
    entries: dict[str, Entry] = field(default_factory=dict)
    """By request id, without money."""
    due: tuple[Reservation, ...] = ()
    """Open reservations with expires_at <= due_at, at most 200, oldest first."""
    next_reservation_due_at: datetime | None = None
    """The earliest expiry of the open reservations that are not in `due`."""
    closings: Closings = NO_CLOSINGS
    """States with a surplus and closes_at <= due_at, at most 200; when the next of the others closes.

    What was paid for the customer's lots `load_claimed` says."""
    renewals: dict[RenewalKey, Renewal] = field(default_factory=dict)
    """All that recur: few, for a plan names few."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """A customer that takes no writes: nothing of it is loaded but the entries asked for."""

    finding: str
    entries: dict[str, Entry]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A customer whose rows are not such as are ever written."""

    error: Exception


Found = Loaded | Stopped | Unreadable


PAYMENTS_MAX = 1_000
"""Entries that drew on lots since a charge made debt, the newest: where it goes back, its lots are theirs."""

# What follows a table's columns in a row is of another.
_WALLET_WIDTH, _ENTRY_WIDTH = WALLET.width, ENTRY.width
_RESERVATION_WIDTH, _LOT_WIDTH = RESERVATION.width, LOT.width

_SQL = statements_of(
    __name__,
    wallet_columns=WALLET.select("w"),
    lot_columns=LOT.select("t"),
    reservation_columns=RESERVATION.select("r"),
    reservation_costs_columns=RESERVATION_COSTS.select("c"),
    renewal_columns=RENEWAL.select("n"),
    state_columns=STATE.select("u"),
    entry_columns=ENTRY.select("e"),
    entry_without_lines=ENTRY.select("e", without="lines"),
    money_columns=MONEY.select("m"),
    money_without_lines=MONEY.select("m", without="lines"),
    due_max=DUE_MAX,
    lines_undone_max=LINES_UNDONE_MAX,
    payments_max=PAYMENTS_MAX,
)
LOAD = _SQL["load"]
LOAD_REVERSAL = _SQL["load_reversal"]
LOAD_GRANT = _SQL["load_grant"]
LOAD_CLAIMED = _SQL["load_claimed"]
LOAD_STATES = _SQL["load_states"]
LOCK_WALLETS = _SQL["lock_wallets"]
FIND_ENTRIES = _SQL["find_entries"]


async def load(connection: Connection, cell: str, requests: Sequence[LoadRequest]) -> dict[int, Found]:
    """Loads customers, each named once; those that do not exist are missing from the answer.

    What is wrong with the rows of one holds up no other. Raises WriteRefusedError and UnknownOutcomeError
    where the database does not answer.
    """
    reservations = [(r.customer, sequence) for r in requests for sequence in r.reservations]
    states = [(r.customer, key) for r in requests for key in r.states]
    request_ids = [(r.customer, request_id) for r in requests for request_id in r.request_ids]
    with as_write_errors(connection):
        records = await connection.fetch(
            LOAD.format(cell=cell),
            [r.customer for r in requests],
            [r.due_at for r in requests],
            *_pair(reservations),
            *_pair(states),
            *_pair(request_ids),
        )
    rows: defaultdict[str, defaultdict[int, list[Fields]]] = defaultdict(lambda: defaultdict(list))
    for kind, fields in records:
        rows[kind][fields[0]].append(fields)
    return {
        customer: _found({kind: found[customer] for kind, found in rows.items() if customer in found})
        for customer in {**rows["wallet"], **rows["stopped"]}
    }


async def load_states(
    connection: Connection, cell: str, keys: Iterable[tuple[int, str]]
) -> dict[tuple[int, str], State]:
    """The states of (customer, key) that exist. Errors as in `load`."""
    with as_write_errors(connection):
        records = await connection.fetch(LOAD_STATES.format(cell=cell), *_pair(keys))
    return {(record[0], record[1]): rows_in.state_of(record) for record in records}


async def lock_wallets(connection: Connection, cell: str, customers: Sequence[int]) -> None:
    """Locks wallets, in order of customer, until the transaction ends. Errors as in `load`."""
    with as_write_errors(connection):
        await connection.fetch(LOCK_WALLETS.format(cell=cell), customers)


async def load_reversal(
    connection: Connection,
    cell: str,
    customer: int,
    *,
    charge: int | None,
    reservation: int | None,
) -> Facts:
    """What a reversal of a charge or of a reservation needs, or a refund of a charge: exactly one is given.

    `charges` are the entries to undo with their money, oldest first; of a reservation also the entry that
    closed it without a charge. A charge that does not exist leaves them empty, as does a reservation that is
    too large to be undone, or has been. A `Charge` has the budgets' counters that it counts in. `later` are
    the newest 1,000 entries that drew on lots since then, if the charges made debt. Errors as in `load`.
    """
    with as_write_errors(connection):
        records = await connection.fetch(LOAD_REVERSAL.format(cell=cell), customer, charge, reservation)
    rows: defaultdict[str, list[Fields]] = defaultdict(list)
    for kind, fields in records:
        rows[kind].append(fields)
    found = [_reservation_of(row) for row in rows["reservation"]]
    charges = await _with_money(rows["charge"])
    if charges and rows["counted"]:
        [counters] = rows["counted"][0]
        charges = (charges[0]._replace(budgets=EntryBudgets(tuple(counters))), *charges[1:])
    return Facts(
        reservation=found[0] if found else None,
        charges=charges,
        refunds=await _with_money(rows["refund"]),
        later=await _with_money(rows["later"]),
        reversed=bool(rows["reversed"]),
        is_beyond_limit=bool(rows["beyond"]),
        lots=_lots_of(rows["lot"]),
        records={LotKey(*row[1:3]): _record_of(row[_LOT_WIDTH + 1 :]) for row in rows["lot"]},
        claimed_nanousd=int(rows["claimed"][0][0]) if rows["claimed"] else 0,
    )


async def load_grant(connection: Connection, cell: str, customer: int, key: LotKey) -> Facts:
    """A lot, whatever has become of it, and what is known of its payment and its end. Errors as in `load`."""
    with as_write_errors(connection):
        row = await connection.fetchrow(LOAD_GRANT.format(cell=cell), customer, *key)
    if row is None:
        return Facts()
    lot = rows_in.lot_of(row, _value_of(row["value_nanousd"]))
    record = _record_of([row[name] for name in _RECORD])
    return Facts(lots=(lot,), record=record, claimed_nanousd=int(row["claimed_nanousd"]))


async def load_claimed(connection: Connection, cell: str, customers: Sequence[int]) -> dict[int, int]:
    """What was paid for all lots of each customer that has any, as `Facts` has it. Errors as in `load`."""
    with as_write_errors(connection):
        rows = await connection.fetch(LOAD_CLAIMED.format(cell=cell), customers)
    return {row["customer"]: int(row["claimed_nanousd"]) for row in rows}


async def find_entries(
    connection: Connection | PooledConnection, cell: str, ids: Sequence[tuple[int, str]]
) -> dict[tuple[int, str], Entry]:
    """The entries of (customer, request id) that exist, without their money. Errors as in `load`."""
    with as_write_errors(connection):
        records = await connection.fetch(FIND_ENTRIES.format(cell=cell), *_pair(ids))
    entries = [rows_in.entry_of(record) for record in records]
    return {(entry.customer, entry.request_id): entry for entry in entries if entry.request_id is not None}


async def _with_money(rows: Iterable[Fields]) -> tuple[Entry, ...]:
    """Entries with their dollars, oldest first; they may be thousands, and are read in turns."""
    turns = Turns(LINES_AT_ONCE)
    entries: list[Entry] = []
    for row in rows:
        entry = rows_in.entry_of(row, rows_in.money_of(row[_ENTRY_WIDTH:]))
        entries.append(entry)
        await turns.after(1 + len(entry.lines))
    return tuple(sorted(entries, key=lambda entry: entry.sequence))


def _found(rows: dict[str, list[Fields]]) -> Found:
    try:
        if "stopped" in rows:
            return Stopped(rows["stopped"][0][1], _entries(rows))
        return _loaded(rows)
    except Exception as error:  # noqa: BLE001 -- whatever it is, the others of the same load are to go on
        return Unreadable(error)


def _entries(rows: dict[str, list[Fields]]) -> dict[str, Entry]:
    entries = [rows_in.entry_of(row) for row in rows.get("entry", ())]
    return {entry.request_id: entry for entry in entries if entry.request_id is not None}


def _loaded(rows: dict[str, list[Fields]]) -> Loaded:
    wallet = rows["wallet"][0]
    due = [_reservation_of(row) for row in rows.get("due", ())]
    due.sort(key=lambda reservation: (reservation.expires_at, reservation.sequence))
    following = [row[1] for row in rows.get("next", ())]
    if len(due) > DUE_MAX:
        following = [due[DUE_MAX].expires_at]
    return Loaded(
        wallet=rows_in.wallet_of(wallet, wallet[_WALLET_WIDTH], _lots_of(rows.get("lot", ()))),
        token=wallet[_WALLET_WIDTH + 1],
        reservations={row[1]: _reservation_of(row) for row in rows.get("reservation", ())},
        states={row[1]: rows_in.state_of(row) for row in rows.get("state", ())},
        entries=_entries(rows),
        due=tuple(due[:DUE_MAX]),
        next_reservation_due_at=following[0] if following else None,
        closings=_closings(rows),
        renewals=dict(rows_in.renewal_of(row) for row in rows.get("renewal", ())),
    )


def _closings(rows: dict[str, list[Fields]]) -> Closings:
    due = sorted(
        ((row[1], rows_in.state_of(row)) for row in rows.get("closing", ())),
        key=lambda closing: (closing[1].closes_at, closing[0]),
    )
    following = [row[1] for row in rows.get("closes", ())]
    if len(due) > DUE_MAX:
        following = [due[DUE_MAX][1].closes_at]
    return Closings(dict(due[:DUE_MAX]), following[0] if following else None)


def _reservation_of(row: Fields) -> Reservation:
    return rows_in.reservation_of(row, row[_RESERVATION_WIDTH:-1], row[-1])


def _lots_of(rows: Iterable[Fields]) -> tuple[Lot, ...]:
    """Lots in burn order."""
    return tuple(sorted((rows_in.lot_of(row, _value_of(row[_LOT_WIDTH])) for row in rows), key=burn_order))


_RECORD = ("paid_nanousd", "ended", "refunded", "taken_off_nanousd", "given_up")
"""What is read of a lot's record, in the order of `record_columns`."""


def _record_of(row: Fields) -> GrantRecord:
    paid_nanousd, ended, refunded, taken_off_nanousd, given_up = row
    return GrantRecord(
        paid_nanousd,
        ended_micros=ended,
        refunded_micros=refunded,
        taken_off_nanousd=taken_off_nanousd,
        given_up_micros=given_up,
    )


def _value_of(value_nanousd: int | None) -> int:
    if value_nanousd is None:
        raise ValueError("a lot has no row of its value")
    return value_nanousd


def _pair(pairs: Iterable[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    """Pairs as two arrays."""
    listed = list(pairs)
    return [first for first, _ in listed], [second for _, second in listed]
