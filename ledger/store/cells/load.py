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
from ledger.books.model import Facts
from ledger.store.cells import rows_in
from ledger.store.cells.columns import ENTRY, LOT, MONEY, RESERVATION, RESERVATION_COSTS, STATE, WALLET
from ledger.store.postgres.outcomes import told_outcomes
from ledger.turns import LINES_AT_ONCE, Turns

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from ledger.books.model import Entry, Lot, Reservation, State, Wallet
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
    """States with a surplus and closes_at <= due_at, at most 200; when the next of the others closes."""


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


_RESERVATION_ROW = f"ROW({RESERVATION.select('r')}, {RESERVATION_COSTS.select('c')})"
# What a closed reservation's parts cost stands in its entries.
_COSTS_OF_R = """LEFT JOIN {cell}.reservation_costs c
    ON c.customer = r.customer AND c.sequence = r.sequence AND r.state IN ('OPEN', 'EXPIRED')"""

# $1 customers, $2 their instants (due_at); pairs: $3, $4 reservations; $5, $6 states; $7, $8 request ids.
LOAD = f"""
SELECT 'stopped' AS kind, ROW(f.customer, f.finding) AS fields
FROM unnest($1::bigint[]) AS x(customer)
JOIN {{cell}}.findings f ON f.customer = x.customer AND f.stops AND f.ended_at IS NULL
UNION ALL
SELECT 'wallet', ROW({WALLET.select("w")}, coalesce(d.unbilled_nanousd, 0), w.token)
FROM unnest($1::bigint[]) AS x(customer)
JOIN {{cell}}.wallets w ON w.customer = x.customer
LEFT JOIN {{cell}}.debts d ON d.customer = x.customer
UNION ALL
SELECT 'lot', ROW({LOT.select("t")}, v.value_nanousd)
FROM unnest($1::bigint[]) AS x(customer)
JOIN {{cell}}.lots t ON t.customer = x.customer AND t.live
LEFT JOIN {{cell}}.lot_values v ON v.customer = t.customer AND v.sequence = t.sequence AND v.n = t.n
UNION ALL
SELECT 'reservation', {_RESERVATION_ROW}
FROM unnest($3::bigint[], $4::bigint[]) AS x(customer, sequence)
JOIN {{cell}}.reservations r ON r.customer = x.customer AND r.sequence = x.sequence
{_COSTS_OF_R}
UNION ALL
SELECT 'state', ROW({STATE.select("u")})
FROM unnest($5::bigint[], $6::text[]) AS x(customer, key)
JOIN {{cell}}.states u ON u.customer = x.customer AND u.key = x.key
UNION ALL
SELECT 'entry', ROW({ENTRY.select("e")})
FROM unnest($7::bigint[], $8::text[]) AS x(customer, request_id)
JOIN {{cell}}.entries e ON e.customer = x.customer AND e.request_id = x.request_id
UNION ALL
SELECT 'due', {_RESERVATION_ROW}
FROM unnest($1::bigint[], $2::timestamptz[]) AS x(customer, due_at)
CROSS JOIN LATERAL (
    SELECT o.* FROM {{cell}}.reservations o
    WHERE o.customer = x.customer AND o.state = 'OPEN' AND o.expires_at <= x.due_at
    ORDER BY o.expires_at, o.sequence LIMIT {DUE_MAX + 1}) AS r
{_COSTS_OF_R}
UNION ALL
SELECT 'next', ROW(x.customer, r.expires_at)
FROM unnest($1::bigint[], $2::timestamptz[]) AS x(customer, due_at)
CROSS JOIN LATERAL (
    SELECT o.expires_at FROM {{cell}}.reservations o
    WHERE o.customer = x.customer AND o.state = 'OPEN'
      AND o.expires_at > coalesce(x.due_at, '-infinity'::timestamptz)
    ORDER BY o.expires_at LIMIT 1) AS r
UNION ALL
SELECT 'closing', ROW({STATE.select("u")})
FROM unnest($1::bigint[], $2::timestamptz[]) AS x(customer, due_at)
CROSS JOIN LATERAL (
    SELECT o.* FROM {{cell}}.states o
    WHERE o.customer = x.customer AND o.surplus <> 0 AND o.closes_at <= x.due_at
    ORDER BY o.closes_at, o.key LIMIT {DUE_MAX + 1}) AS u
UNION ALL
SELECT 'closes', ROW(x.customer, u.closes_at)
FROM unnest($1::bigint[], $2::timestamptz[]) AS x(customer, due_at)
CROSS JOIN LATERAL (
    SELECT o.closes_at FROM {{cell}}.states o
    WHERE o.customer = x.customer AND o.surplus <> 0
      AND o.closes_at > coalesce(x.due_at, '-infinity'::timestamptz)
    ORDER BY o.closes_at LIMIT 1) AS u
"""

PAYMENTS_MAX = 1_000
"""Entries that drew on lots since a charge made debt, the newest: where it goes back, its lots are theirs."""

# $1 customer; $2 the charge's sequence or $3 the reservation's, the other is NULL. A reservation's last
# entry comes too where it is no commit: it may carry what was absorbed. Where the charges made debt, what
# may have paid it since comes as well: grants and their starts, and what gives credits back; of these only
# the draws count. `size` adds the lines of a reservation up until there are too many, and reads no further:
# then none of them is loaded, nor is any of a reservation that has been reversed.
#
# As the customer is a constant here, a plan that was made for empty tables would join by looking through all
# that the customer has. LATERAL with OFFSET 0 looks up row by row.
_SUBJECT = """
    SELECT e.* FROM {cell}.entries e
    WHERE e.customer = $1 AND e.sequence = $2::bigint AND e.kind IN ('COMMIT', 'CHARGE')
    UNION ALL
    SELECT e.* FROM {cell}.entries e
    WHERE e.customer = $1 AND e.reservation = $3::bigint
      AND e.kind IN ('COMMIT', 'RELEASE', 'RESERVATION_EXPIRED')
"""
_REFUNDS_OF_C = """CROSS JOIN LATERAL (
        SELECT r.* FROM {cell}.entries r
        WHERE r.customer = $1 AND r.subject = c.sequence AND r.kind = 'REFUND' OFFSET 0
    ) e"""
_MONEY_OF_E = """LATERAL (
        SELECT d.* FROM {cell}.money d
        WHERE d.customer = $1 AND d.sequence = e.sequence AND d.house_sequence = 0 OFFSET 0
    ) m ON true"""
_WITH_MONEY = f"ROW({ENTRY.select('e')}, {MONEY.select('m')}) AS fields, m.draws"
_DRAWS_ALONE = _WITH_MONEY.replace("e.lines", "NULL::json").replace("m.lines", "NULL::json")

LOAD_REVERSAL = f"""
WITH undone AS MATERIALIZED (
    SELECT e.sequence FROM {{cell}}.entries e
    WHERE e.customer = $1 AND e.kind = 'REVERSAL' AND e.subject IN (
        $2::bigint, $3::bigint,
        (SELECT c.reservation FROM {{cell}}.entries c WHERE c.customer = $1 AND c.sequence = $2::bigint))
), size AS MATERIALIZED (
    SELECT $3::bigint IS NOT NULL AND EXISTS (
        SELECT FROM (
            SELECT sum(greatest(1, json_array_length(b.lines))) OVER (ROWS UNBOUNDED PRECEDING) AS lines
            FROM (
                SELECT c.lines FROM ({_SUBJECT}) c
                UNION ALL
                SELECT e.lines FROM ({_SUBJECT}) c {_REFUNDS_OF_C}
            ) b
        ) s WHERE s.lines > {LINES_UNDONE_MAX}
    ) AS is_beyond
), charges AS MATERIALIZED (
    SELECT e.sequence, e.debt, {_WITH_MONEY}
    FROM ({_SUBJECT}) e LEFT JOIN {_MONEY_OF_E}
    WHERE NOT (SELECT s.is_beyond FROM size s) AND ($3::bigint IS NULL OR NOT EXISTS (SELECT FROM undone))
), refunds AS MATERIALIZED (
    SELECT {_WITH_MONEY} FROM charges c {_REFUNDS_OF_C} LEFT JOIN {_MONEY_OF_E}
), later AS MATERIALIZED (
    SELECT {_DRAWS_ALONE}
    FROM (SELECT min(c.sequence) AS sequence FROM charges c WHERE c.debt < 0 OFFSET 0) AS first
    CROSS JOIN LATERAL (
        SELECT p.* FROM {{cell}}.entries p
        WHERE p.customer = $1 AND p.sequence > first.sequence
          AND p.kind IN ('GRANT', 'GRANT_STARTED', 'REVERSAL', 'REFUND')
        ORDER BY p.sequence DESC OFFSET 0
    ) e JOIN {_MONEY_OF_E}
    WHERE m.draws IS NOT NULL
    ORDER BY e.sequence DESC LIMIT {PAYMENTS_MAX}
), drawn AS MATERIALIZED (
    SELECT DISTINCT (d.draw ->> 0)::bigint AS sequence, (d.draw ->> 1)::integer AS n
    FROM (
        SELECT draws FROM charges UNION ALL SELECT draws FROM later UNION ALL SELECT draws FROM refunds
    ) AS m CROSS JOIN LATERAL json_array_elements(m.draws) AS d(draw)
)
SELECT 'charge' AS kind, c.fields FROM charges c
UNION ALL
SELECT 'refund', r.fields FROM refunds r
UNION ALL
SELECT 'later', l.fields FROM later l
UNION ALL
SELECT 'lot', ROW({LOT.select("t")}, v.value_nanousd)
FROM drawn x
CROSS JOIN LATERAL (
    SELECT o.* FROM {{cell}}.lots o WHERE o.customer = $1 AND o.sequence = x.sequence AND o.n = x.n OFFSET 0
) t
LEFT JOIN {{cell}}.lot_values v ON v.customer = t.customer AND v.sequence = t.sequence AND v.n = t.n
UNION ALL
SELECT 'reservation', {_RESERVATION_ROW}
FROM {{cell}}.reservations r {_COSTS_OF_R}
WHERE r.customer = $1 AND r.sequence = $3::bigint
UNION ALL
SELECT 'reversed', ROW(u.sequence) FROM undone u
UNION ALL
SELECT 'beyond', ROW(s.is_beyond) FROM size s WHERE s.is_beyond
"""

LOAD_STATES = f"""
SELECT {STATE.select("u")}
FROM unnest($1::bigint[], $2::text[]) AS x(customer, key)
JOIN {{cell}}.states u ON u.customer = x.customer AND u.key = x.key
"""

LOCK_WALLETS = """
SELECT w.customer FROM {cell}.wallets w WHERE w.customer = ANY($1::bigint[])
ORDER BY w.customer FOR UPDATE
"""

FIND_ENTRIES = f"""
SELECT {ENTRY.select("e")}
FROM unnest($1::bigint[], $2::text[]) AS x(customer, request_id)
JOIN {{cell}}.entries e ON e.customer = x.customer AND e.request_id = x.request_id
"""


async def load(connection: Connection, cell: str, requests: Sequence[LoadRequest]) -> dict[int, Found]:
    """Loads customers, each named once; those that do not exist are missing from the answer.

    What is wrong with the rows of one holds up no other. Raises WriteRefusedError and UnknownOutcomeError
    where the database does not answer.
    """
    reservations = [(r.customer, sequence) for r in requests for sequence in r.reservations]
    states = [(r.customer, key) for r in requests for key in r.states]
    request_ids = [(r.customer, request_id) for r in requests for request_id in r.request_ids]
    with told_outcomes(connection):
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
    with told_outcomes(connection):
        records = await connection.fetch(LOAD_STATES.format(cell=cell), *_pair(keys))
    return {(record[0], record[1]): rows_in.state_of(record) for record in records}


async def lock_wallets(connection: Connection, cell: str, customers: Sequence[int]) -> None:
    """Locks wallets, in order of customer, until the transaction ends. Errors as in `load`."""
    with told_outcomes(connection):
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
    too large to be undone, or has been. `later` are the newest 1,000 entries that drew on lots since then, if
    the charges made debt. Errors as in `load`.
    """
    with told_outcomes(connection):
        records = await connection.fetch(LOAD_REVERSAL.format(cell=cell), customer, charge, reservation)
    rows: defaultdict[str, list[Fields]] = defaultdict(list)
    for kind, fields in records:
        rows[kind].append(fields)
    found = [_reservation_of(row) for row in rows["reservation"]]
    return Facts(
        reservation=found[0] if found else None,
        charges=await _with_money(rows["charge"]),
        refunds=await _with_money(rows["refund"]),
        later=await _with_money(rows["later"]),
        reversed=bool(rows["reversed"]),
        is_beyond_limit=bool(rows["beyond"]),
        lots=_lots_of(rows["lot"]),
    )


async def find_entries(
    connection: Connection | PooledConnection, cell: str, ids: Sequence[tuple[int, str]]
) -> dict[tuple[int, str], Entry]:
    """The entries of (customer, request id) that exist, without their money. Errors as in `load`."""
    with told_outcomes(connection):
        records = await connection.fetch(FIND_ENTRIES.format(cell=cell), *_pair(ids))
    entries = [rows_in.entry_of(record) for record in records]
    return {(entry.customer, entry.request_id): entry for entry in entries if entry.request_id is not None}


async def _with_money(rows: Iterable[Fields]) -> tuple[Entry, ...]:
    """Entries with their dollars, oldest first; they may be thousands, and are read in turns."""
    width, turns = len(ENTRY.names), Turns(LINES_AT_ONCE)
    entries: list[Entry] = []
    for row in rows:
        entry = rows_in.entry_of(row, rows_in.money_of(row[width:]))
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
    width, wallet = len(WALLET.names), rows["wallet"][0]
    due = [_reservation_of(row) for row in rows.get("due", ())]
    due.sort(key=lambda reservation: (reservation.expires_at, reservation.sequence))
    following = [row[1] for row in rows.get("next", ())]
    if len(due) > DUE_MAX:
        following = [due[DUE_MAX].expires_at]
    return Loaded(
        wallet=rows_in.wallet_of(wallet, wallet[width], _lots_of(rows.get("lot", ()))),
        token=wallet[width + 1],
        reservations={row[1]: _reservation_of(row) for row in rows.get("reservation", ())},
        states={row[1]: rows_in.state_of(row) for row in rows.get("state", ())},
        entries=_entries(rows),
        due=tuple(due[:DUE_MAX]),
        next_reservation_due_at=following[0] if following else None,
        closings=_closings(rows),
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
    width = len(RESERVATION.names)
    return rows_in.reservation_of(row, row[width:])


def _lots_of(rows: Iterable[Fields]) -> tuple[Lot, ...]:
    """Lots in burn order."""
    width = len(LOT.names)
    return tuple(sorted((rows_in.lot_of(row, _value_of(row[width])) for row in rows), key=burn_order))


def _value_of(value_nanousd: int | None) -> int:
    if value_nanousd is None:
        raise ValueError("a lot has no row of its value")
    return value_nanousd


def _pair(pairs: Iterable[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    """Pairs as two arrays."""
    listed = list(pairs)
    return [first for first, _ in listed], [second for _, second in listed]
