"""The SQL of the batched write: one statement that locks, checks, writes and tells, whatever a batch holds.

It is put together from parts, one per kind of row; a part whose rows a batch lacks is left out. The rows of
a part come as one text, of literals of the cell's composite type for them. Instants and terms stand in the
rows as numbers: their places in arrays that are parameters of their own.

- `locked` locks the wallets in order of customer, where the sequence is still the one decided upon, and was
  written by the batch that this process knows: the plan of a join would lock in any order, and two processes
  would deadlock.
- `clock` looks at the clock once, when all locks are held: all of the batch is too old, or none of it.
- `known`, in the text that probes, holds the customers who have an entry already under one of the batch's
  request ids: a repeat. Probing costs every batch, so it is done only where a repeat was met.
- `l` is the verdict: every other part applies to its customers only, and it is what the statement returns.
  `(… IN (SELECT customer FROM l)) IS TRUE` is a hashed subplan, one look-up per row.
- An update that does not find its row would be lost silently: the rows updated are counted and compared with
  what each customer's part is to update, and a difference divides by zero. It is a fault of the program,
  never a conflict.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ledger.store.audit import CUSTOMERS
from ledger.store.cells import columns
from ledger.store.cells.columns import Columns, instant_of

FRESH_SECONDS = 5
"""Nothing is written that was decided further than this off the database's clock."""


@dataclass(frozen=True, slots=True, eq=False)
class StatementPart:
    """Rows of one kind, and what is done with them: `sql` reads them as `x`.

    It may go on with further queries of the statement, each with a name of its own.
    """

    name: str
    columns: Columns
    sql: str
    counted: bool = False
    """Each row must find the row that it updates."""


HEAD_PARAMETERS = 7
"""Customers, their sequences and tokens before, the rows to update of each; the oldest and the newest
decision; the token that the wallets get."""
SHARED = HEAD_PARAMETERS + 1
"""The first of the arrays that rows refer to by number."""


def _at(name: str) -> str:
    return instant_of("x", name, SHARED)


# Name and policies are sent only where they may have changed: no plan, no change.
WALLETS = StatementPart(
    "wallets",
    columns.WALLET,
    f"""
    UPDATE {{cell}}.wallets w SET
        sequence = x.sequence,
        display_name = coalesce(x.display_name, w.display_name), plan = coalesce(x.plan, w.plan),
        card = CASE WHEN x.plan IS NULL THEN w.card ELSE x.card END, zone = coalesce(x.zone, w.zone),
        multiplier_nanos = coalesce(x.multiplier_nanos, w.multiplier_nanos),
        issued = x.issued, pending = x.pending, available = x.available, held = x.held,
        consumed = x.consumed, expired = x.expired, voided = x.voided, refunded = x.refunded, debt = x.debt,
        next_due_at = {_at("next_due_at")}, last_instant = {_at("last_instant")}, tallies = x.tallies,
        token = (SELECT fresh.token FROM fresh)
    FROM {{rows}} WHERE w.customer = x.customer AND {{applies}} RETURNING 1
    """,
    counted=True,
)


def _insert(table: str, kind: Columns, values: str = "", rows: str = "{rows} WHERE {applies}") -> str:
    return f"""
    INSERT INTO {{cell}}.{table} ({", ".join(kind.names)})
    SELECT {values or kind.values(SHARED)} FROM {rows}
    """


# Without labels of its own a reservation's entry has those of the reservation, which was there before.
_LABELS = """coalesce(x.labels, (
        SELECT r.labels FROM {cell}.reservations r
        WHERE r.customer = x.customer AND r.sequence = x.reservation))"""
ENTRIES = StatementPart(
    "entries",
    columns.ENTRY,
    _insert("entries", columns.ENTRY, columns.ENTRY.values(SHARED).replace("x.labels", _LABELS)),
)
DOLLARS = StatementPart("money", columns.MONEY, _insert("money", columns.MONEY))
_HELD = f"""
    x.customer, x.sequence, x.hold_state, {columns.terms_of("x", "terms", SHARED)}, {_at("effective_at")},
    {_at("hold_expires_at")}, x.hold_held, x.hold_pins, x.hold_priced, x.hold_charged, x.has_outcome_rule,
    x.outcome_charged, x.own_run, x.lapsed, x.labels
"""
HOLDS = StatementPart(
    "holds",
    columns.HOLD,
    f"""
    SELECT x.* FROM {{rows}} WHERE {{applies}}
), holds_entries AS ({_insert("entries", columns.ENTRY, rows="holds x")}
), holds_reservations AS ({_insert("reservations", columns.RESERVATION, _HELD, "holds x")}
""",
)
RESERVATIONS_CHANGED = StatementPart(
    "reservations_changed",
    columns.RESERVATION_CHANGE,
    f"""
    UPDATE {{cell}}.reservations r SET
        state = x.state, expires_at = {_at("expires_at")}, held = x.held, pins = x.pins,
        priced = x.priced, charged = x.charged,
        has_outcome_rule = x.has_outcome_rule, outcome_charged = x.outcome_charged, own_run = x.own_run,
        lapsed = x.lapsed
    FROM {{rows}}
    WHERE r.customer = x.customer AND r.sequence = x.sequence AND {{applies}} RETURNING 1
    """,
    counted=True,
)
COSTS = StatementPart(
    "reservation_costs",
    columns.RESERVATION_COSTS,
    _insert("reservation_costs", columns.RESERVATION_COSTS)
    + """
    ON CONFLICT (customer, sequence) DO UPDATE SET
        cost_exact = excluded.cost_exact, included_exact = excluded.included_exact,
        unpriced_exact = excluded.unpriced_exact, posted = excluded.posted,
        absorbed_failed_outcome = excluded.absorbed_failed_outcome,
        absorbed_uncollected = excluded.absorbed_uncollected,
        absorbed_unpriced = excluded.absorbed_unpriced,
        saved_exact = excluded.saved_exact, own_key_exact = excluded.own_key_exact
    """,
)
LOTS_BORN = StatementPart("lots_born", columns.LOT, _insert("lots", columns.LOT))
# What a grant is does not change; what is left of it does.
LOTS_CHANGED = StatementPart(
    "lots_changed",
    columns.LOT_CHANGE,
    """
    UPDATE {cell}.lots t SET remaining = x.remaining, held = x.held, status = x.status
    FROM {rows}
    WHERE t.customer = x.customer AND t.sequence = x.sequence AND t.n = x.n AND {applies} RETURNING 1
    """,
    counted=True,
)
VALUES_BORN = StatementPart("values_born", columns.LOT_VALUE, _insert("lot_values", columns.LOT_VALUE))
# A hold takes no value: most rows stay as they are, so their number tells nothing. The lot itself is
# counted, and its value is born with it.
VALUES_CHANGED = StatementPart(
    "values_changed",
    columns.LOT_VALUE,
    """
    UPDATE {cell}.lot_values v SET value_nanousd = x.value_nanousd
    FROM {rows}
    WHERE v.customer = x.customer AND v.sequence = x.sequence AND v.n = x.n
      AND v.value_nanousd <> x.value_nanousd AND {applies}
    """,
)
STATES = StatementPart(
    "states",
    columns.STATE,
    _insert("states", columns.STATE)
    + """
    ON CONFLICT (customer, key) DO UPDATE SET
        state = excluded.state, closes_at = excluded.closes_at, surplus = excluded.surplus,
        collected = excluded.collected, uncollected = excluded.uncollected,
        revenue_nanousd = excluded.revenue_nanousd, card = excluded.card,
        card_version = excluded.card_version, cost_version = excluded.cost_version,
        credit_price_nanousd = excluded.credit_price_nanousd, multiplier_nanos = excluded.multiplier_nanos
    """,
)
DEBTS = StatementPart(
    "debts",
    columns.DEBT,
    _insert("debts", columns.DEBT)
    + "ON CONFLICT (customer) DO UPDATE SET unbilled_nanousd = excluded.unbilled_nanousd",
)
# The directory keeps a customer for ever: without its id there is no row, and then no batch.
AUDIT = StatementPart(
    "audit",
    columns.AUDIT,
    f"""
    INSERT INTO ledger.audit ({", ".join(columns.AUDIT.names)}, resource)
    SELECT {columns.AUDIT.select("x")},
           (SELECT '{CUSTOMERS}' || c.customer_id FROM ledger.customers c WHERE c.customer = x.customer)
    FROM {{rows}} WHERE {{applies}}
    """,
)
PARTS = (
    WALLETS,
    ENTRIES,
    DOLLARS,
    HOLDS,
    RESERVATIONS_CHANGED,
    COSTS,
    LOTS_BORN,
    LOTS_CHANGED,
    VALUES_BORN,
    VALUES_CHANGED,
    STATES,
    DEBTS,
    AUDIT,
)
"""In this order the statement takes their rows, after the parameters of the verdict and what rows share."""

REQUESTS = (ENTRIES, HOLDS)
"""Those whose rows have request ids."""

_HEAD = """
WITH locked AS MATERIALIZED (
    SELECT w.customer, x.updates
    FROM {cell}.wallets w,
         unnest($1::text::bigint[], $2::text::bigint[], $3::text::bigint[], $4::text::integer[])
             AS x(customer, before, token, updates)
    WHERE w.customer = x.customer AND w.sequence = x.before AND w.token = x.token
    ORDER BY w.customer FOR UPDATE OF w
), shared AS (
    SELECT {shared}
), clock AS MATERIALIZED (
    SELECT clock_timestamp() AS at, count(*) AS locks FROM locked
), fresh AS MATERIALIZED (
    SELECT c.at, $5::timestamptz >= c.at - {limit} AND $6::timestamptz <= c.at + {limit} AS yes,
           $7::bigint AS token
    FROM clock c
), l AS MATERIALIZED (
    SELECT locked.customer, locked.updates FROM locked, fresh WHERE fresh.yes
)"""
_PROBING_HEAD = _HEAD.replace(
    """, l AS""",
    """, known AS MATERIALIZED (
    {repeats}
), l AS""",
).replace(
    "WHERE fresh.yes",
    "WHERE fresh.yes AND (locked.customer IN (SELECT known.customer FROM known)) IS NOT TRUE",
)
_TAIL = """
SELECT (SELECT array_agg(l.customer) FROM l) AS customers, fresh.at AS clock, NOT fresh.yes AS stale,
       {repeated} AS repeated, 1 / (({updated}) = (SELECT coalesce(sum(l.updates), 0) FROM l))::int AS whole
FROM fresh
"""
_REPEATS = """SELECT e.customer
    FROM {rows} JOIN {cell}.entries e ON e.customer = x.customer AND e.request_id = x.request_id"""
_APPLIES = "(x.customer IN (SELECT l.customer FROM l)) IS TRUE"
_LIMIT = f"interval '{FRESH_SECONDS} seconds'"

CHECK = """
SELECT array_agg(w.customer) AS customers, clock_timestamp() AS clock
FROM unnest($1::text::bigint[], $2::text::bigint[], $3::text::bigint[]) AS x(customer, before, token)
JOIN {cell}.wallets w ON w.customer = x.customer AND w.sequence = x.before AND w.token = x.token
"""
"""The verdict for a batch of refusals only: nothing to write, nothing to lock."""


@lru_cache(maxsize=1024)
def write_statement(cell: str, parts: tuple[StatementPart, ...], *, probe: bool) -> str:
    """The statement for a batch that has rows of these parts, in the order of `PARTS`.

    With `probe` it leaves out the customers who have one of the batch's request ids already.
    """
    first = SHARED + columns.SHARED_PARAMETERS
    rows = {part: part.columns.rows(cell, number) for number, part in enumerate(parts, first)}
    repeats = [_REPEATS.format(cell=cell, rows=rows[part]) for part in REQUESTS if part in rows]
    probe = probe and bool(repeats)
    head = _PROBING_HEAD if probe else _HEAD
    shared = columns.shared_types(SHARED)
    texts = [head.format(cell=cell, limit=_LIMIT, shared=shared, repeats=" UNION ".join(repeats))]
    texts += [
        f", {part.name} AS ({part.sql.format(cell=cell, rows=rows[part], applies=_APPLIES)})"
        for part in parts
    ]
    updated = " + ".join(f"(SELECT count(*) FROM {part.name})" for part in parts if part.counted)
    repeated = "(SELECT array_agg(known.customer) FROM known)" if probe else "NULL::bigint[]"
    texts.append(_TAIL.format(repeated=repeated, updated=updated or "0"))
    return "".join(texts)
