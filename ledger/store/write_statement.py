"""The SQL of the batched write: one statement that locks, checks, writes and tells, whatever a batch holds.

It is put together from parts, one per kind of row; a part whose rows a batch lacks is left out. The same
parts serve two texts: for many entries the rows are arrays over `unnest`, for a batch of exactly one entry
its rows are scalar parameters, which is faster. Lots and what else may be several in one entry stay arrays.

- `locked` locks the wallets in order of customer, where the sequence is still the one decided upon: the plan
  of a join would lock in any order, and two processes would deadlock.
- `clock` looks at the clock once, when all locks are held: all of the batch is too old, or none of it.
- `known`, in the text that probes, holds the customers who have an entry already under one of the batch's
  request ids: a repeat. The text costs some 12 % more, so it is used only where a repeat was met.
- `l` is the verdict: every other part applies to its customers only, and it is what the statement returns.
  `(… IN (SELECT customer FROM l)) IS TRUE` is a hashed subplan, one look-up per row.
- An update that does not find its row would be lost silently: the rows updated are counted and compared, and
  a difference divides by zero. It is a fault of the program, never a conflict.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ledger.store.codec import ENTRY, LOT, MONEY, RESERVATION, RESERVATION_COSTS, WALLET, Columns

FRESH_SECONDS = 5
"""Nothing is written that was decided further than this off the database's clock."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Rows of one kind, and what is done with them: `sql` reads them as `x`."""

    name: str
    columns: Columns
    sql: str
    scalar: bool = False
    """A batch of one entry has at most one such row."""
    counted: bool = False
    """Each row must find the row that it updates."""


BEFORE = Columns.of("customer bigint, before bigint")

WALLETS = Part(
    "wallets",
    WALLET,
    """
    UPDATE {cell}.wallets w SET
        sequence = x.sequence, display_name = x.display_name, plan = x.plan, card = x.card, zone = x.zone,
        issued = x.issued, pending = x.pending, available = x.available, held = x.held,
        consumed = x.consumed, expired = x.expired, voided = x.voided, refunded = x.refunded, debt = x.debt,
        next_due_at = x.next_due_at, last_instant = x.last_instant
    FROM {rows} WHERE w.customer = x.customer AND {applies} RETURNING 1
    """,
    scalar=True,
    counted=True,
)
ENTRIES = Part(
    "entries",
    ENTRY,
    """
    INSERT INTO {cell}.entries ({columns})
    SELECT {values} FROM {rows} WHERE {applies}
    """,
    scalar=True,
)
DOLLARS = Part(
    "money",
    MONEY,
    """
    INSERT INTO {cell}.money ({columns})
    SELECT {values} FROM {rows} WHERE {applies}
    """,
    scalar=True,
)
RESERVATIONS_BORN = Part(
    "reservations_born",
    RESERVATION,
    """
    INSERT INTO {cell}.reservations ({columns})
    SELECT {values} FROM {rows} WHERE {applies}
    """,
    scalar=True,
)
# Terms, labels and the instant of its birth are pinned for a reservation's life.
RESERVATIONS_CHANGED = Part(
    "reservations_changed",
    RESERVATION,
    """
    UPDATE {cell}.reservations r SET
        state = x.state, expires_at = x.expires_at, held = x.held, pins = x.pins::jsonb,
        exact_micros = x.exact_micros, priced = x.priced, charged = x.charged,
        has_outcome_rule = x.has_outcome_rule, outcome_charged = x.outcome_charged, own_run = x.own_run
    FROM {rows}
    WHERE r.customer = x.customer AND r.sequence = x.sequence AND {applies} RETURNING 1
    """,
    scalar=True,
    counted=True,
)
COSTS = Part(
    "reservation_costs",
    RESERVATION_COSTS,
    """
    INSERT INTO {cell}.reservation_costs ({columns})
    SELECT {values} FROM {rows} WHERE {applies}
    ON CONFLICT (customer, sequence) DO UPDATE SET
        cost_exact = excluded.cost_exact, included_exact = excluded.included_exact,
        unpriced_exact = excluded.unpriced_exact, posted = excluded.posted,
        absorbed_failed_outcome = excluded.absorbed_failed_outcome,
        absorbed_uncollected = excluded.absorbed_uncollected,
        absorbed_unpriced = excluded.absorbed_unpriced
    """,
    scalar=True,
)
LOTS_BORN = Part(
    "lots_born",
    LOT,
    """
    INSERT INTO {cell}.lots ({columns})
    SELECT {values} FROM {rows} WHERE {applies}
    """,
)
# What a grant is does not change; what is left of it does.
LOTS_CHANGED = Part(
    "lots_changed",
    Columns.of("customer bigint, sequence bigint, n integer, remaining bigint, held bigint, status text"),
    """
    UPDATE {cell}.lots t SET remaining = x.remaining, held = x.held, status = x.status
    FROM {rows}
    WHERE t.customer = x.customer AND t.sequence = x.sequence AND t.n = x.n AND {applies} RETURNING 1
    """,
    counted=True,
)
_VALUES = Columns.of("customer bigint, sequence bigint, n integer, value_nanousd bigint")
VALUES_BORN = Part(
    "values_born",
    _VALUES,
    """
    INSERT INTO {cell}.lot_values ({columns})
    SELECT {values} FROM {rows} WHERE {applies}
    """,
)
# A hold takes no value: most rows stay as they are, so their number tells nothing. The lot itself is
# counted, and its value is born with it.
VALUES_CHANGED = Part(
    "values_changed",
    _VALUES,
    """
    UPDATE {cell}.lot_values v SET value_nanousd = x.value_nanousd
    FROM {rows}
    WHERE v.customer = x.customer AND v.sequence = x.sequence AND v.n = x.n
      AND v.value_nanousd <> x.value_nanousd AND {applies}
    """,
)
RUNS = Part(
    "runs",
    Columns.of("customer bigint, run_id text, state text"),
    """
    INSERT INTO {cell}.runs ({columns})
    SELECT {values} FROM {rows} WHERE {applies}
    ON CONFLICT (customer, run_id) DO UPDATE SET state = excluded.state
    """,
)
DEBTS = Part(
    "debts",
    Columns.of("customer bigint, unbilled_nanousd bigint"),
    """
    INSERT INTO {cell}.debts ({columns})
    SELECT {values} FROM {rows} WHERE {applies}
    ON CONFLICT (customer) DO UPDATE SET unbilled_nanousd = excluded.unbilled_nanousd
    """,
    scalar=True,
)
PARTS = (
    WALLETS,
    ENTRIES,
    DOLLARS,
    RESERVATIONS_BORN,
    RESERVATIONS_CHANGED,
    COSTS,
    LOTS_BORN,
    LOTS_CHANGED,
    VALUES_BORN,
    VALUES_CHANGED,
    RUNS,
    DEBTS,
)
"""In this order the statement takes their rows as parameters, after those of `HEAD_PARAMETERS`."""

HEAD_PARAMETERS = 4
"""customer and before (arrays, or scalars in the scalar text); the oldest and the newest decision."""

_HEAD = """
WITH locked AS MATERIALIZED (
    SELECT w.customer
    FROM {cell}.wallets w, {rows}
    WHERE w.customer = x.customer AND w.sequence = x.before
    ORDER BY w.customer FOR UPDATE OF w
), clock AS MATERIALIZED (
    SELECT clock_timestamp() AS at, count(*) AS locks FROM locked
), fresh AS MATERIALIZED (
    SELECT c.at, $3::timestamptz >= c.at - {limit} AND $4::timestamptz <= c.at + {limit} AS yes FROM clock c
), l AS MATERIALIZED (
    SELECT locked.customer FROM locked, fresh WHERE fresh.yes
)"""
_PROBING_HEAD = _HEAD.replace(
    """, l AS""",
    """, known AS MATERIALIZED (
    SELECT DISTINCT e.customer
    FROM {entries} JOIN {cell}.entries e ON e.customer = x.customer AND e.request_id = x.request_id
), l AS""",
).replace(
    "WHERE fresh.yes",
    "WHERE fresh.yes AND (locked.customer IN (SELECT known.customer FROM known)) IS NOT TRUE",
)
_TAIL = """
SELECT (SELECT array_agg(l.customer) FROM l) AS customers, fresh.at AS clock, NOT fresh.yes AS stale,
       {repeated} AS repeated, {whole} AS whole
FROM fresh
"""
_APPLIES = "(x.customer IN (SELECT l.customer FROM l)) IS TRUE"

CHECK = """
SELECT array_agg(w.customer) AS customers, clock_timestamp() AS clock
FROM unnest($1::bigint[], $2::bigint[]) AS x(customer, before)
JOIN {cell}.wallets w ON w.customer = x.customer AND w.sequence = x.before
"""
"""The verdict for a batch of refusals only: nothing to write, nothing to lock."""


@lru_cache(maxsize=1024)
def write_statement(cell: str, parts: tuple[Part, ...], *, scalar: bool, probe: bool) -> str:
    """The statement for a batch that has rows of these parts, in the order of `PARTS`.

    With `probe` it leaves out the customers who have one of the batch's request ids already.
    """
    probe = probe and ENTRIES in parts
    texts = [_head(cell, parts, scalar=scalar, probe=probe)]
    counts = []
    first = HEAD_PARAMETERS + 1
    for part in parts:
        is_scalar = scalar and part.scalar
        rows = _rows(part.columns, first, scalar=is_scalar)
        sql = part.sql.format(
            cell=cell,
            rows=rows,
            applies=_APPLIES,
            columns=", ".join(part.columns.names),
            values=_values(part.columns),
        )
        texts.append(f", {part.name} AS ({sql})")
        if part.counted:
            due = "SELECT count(*) FROM l" if is_scalar else f"SELECT count(*) FROM {rows} WHERE {_APPLIES}"
            counts.append(f"(SELECT count(*) FROM {part.name}) = ({due})")
        first += len(part.columns.names)
    repeated = "(SELECT array_agg(known.customer) FROM known)" if probe else "NULL::bigint[]"
    whole = f"1 / ({' AND '.join(counts) or 'true'})::int"
    texts.append(_TAIL.format(repeated=repeated, whole=whole))
    return "".join(texts)


def _head(cell: str, parts: tuple[Part, ...], *, scalar: bool, probe: bool) -> str:
    rows = _rows(BEFORE, 1, scalar=scalar)
    if not probe:
        return _HEAD.format(cell=cell, rows=rows, limit=_LIMIT)
    before = parts[: parts.index(ENTRIES)]
    first = HEAD_PARAMETERS + 1 + sum(len(part.columns.names) for part in before)
    entries = _rows(ENTRY, first, scalar=scalar)
    return _PROBING_HEAD.format(cell=cell, rows=rows, limit=_LIMIT, entries=entries)


_LIMIT = f"interval '{FRESH_SECONDS} seconds'"


def _rows(columns: Columns, first: int, *, scalar: bool) -> str:
    """The parameters from `$first` on as a row source `x` of these columns."""
    bound = [
        (f"${number}::{_bound_type(column_type)}", name)
        for number, (name, column_type) in enumerate(zip(columns.names, columns.types, strict=True), first)
    ]
    if scalar:
        return f"(SELECT {', '.join(f'{value} AS {name}' for value, name in bound)}) AS x"
    arrays = ", ".join(f"{value}[]" for value, _ in bound)
    return f"unnest({arrays}) AS x({', '.join(columns.names)})"


def _bound_type(column_type: str) -> str:
    return "text" if column_type == "jsonb" else column_type


def _values(columns: Columns) -> str:
    return ", ".join(
        f"x.{name}::jsonb" if column_type == "jsonb" else f"x.{name}"
        for name, column_type in zip(columns.names, columns.types, strict=True)
    )
