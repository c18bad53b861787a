"""The SQL of the batched write: one statement that locks, checks, writes and tells, whatever a batch holds.

It is put together from parts, one per kind of row; a part whose rows a batch lacks is left out. The rows of
a part come as an array of texts, each the literal of the cell's composite type for them.

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

from ledger.store import columns
from ledger.store.acts import CUSTOMERS
from ledger.store.columns import Columns

FRESH_SECONDS = 5
"""Nothing is written that was decided further than this off the database's clock."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Rows of one kind, and what is done with them: `sql` reads them as `x`."""

    name: str
    columns: Columns
    sql: str
    counted: bool = False
    """Each row must find the row that it updates."""


WALLETS = Part(
    "wallets",
    columns.WALLET,
    """
    UPDATE {cell}.wallets w SET
        sequence = x.sequence, display_name = x.display_name, plan = x.plan, card = x.card, zone = x.zone,
        multiplier_nanos = x.multiplier_nanos,
        issued = x.issued, pending = x.pending, available = x.available, held = x.held,
        consumed = x.consumed, expired = x.expired, voided = x.voided, refunded = x.refunded, debt = x.debt,
        next_due_at = x.next_due_at, last_instant = x.last_instant, tallies = x.tallies,
        token = (SELECT fresh.token FROM fresh)
    FROM {rows} WHERE w.customer = x.customer AND {applies} RETURNING 1
    """,
    counted=True,
)
_INSERT = """
    INSERT INTO {{cell}}.{table} ({{columns}})
    SELECT {{values}} FROM {{rows}} WHERE {{applies}}
    """
ENTRIES = Part("entries", columns.ENTRY, _INSERT.format(table="entries"))
DOLLARS = Part("money", columns.MONEY, _INSERT.format(table="money"))
RESERVATIONS_BORN = Part("reservations_born", columns.RESERVATION, _INSERT.format(table="reservations"))
RESERVATIONS_CHANGED = Part(
    "reservations_changed",
    columns.RESERVATION_CHANGE,
    """
    UPDATE {cell}.reservations r SET
        state = x.state, expires_at = x.expires_at, held = x.held, pins = x.pins,
        priced = x.priced, charged = x.charged,
        has_outcome_rule = x.has_outcome_rule, outcome_charged = x.outcome_charged, own_run = x.own_run,
        lapsed = x.lapsed
    FROM {rows}
    WHERE r.customer = x.customer AND r.sequence = x.sequence AND {applies} RETURNING 1
    """,
    counted=True,
)
COSTS = Part(
    "reservation_costs",
    columns.RESERVATION_COSTS,
    _INSERT.format(table="reservation_costs")
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
LOTS_BORN = Part("lots_born", columns.LOT, _INSERT.format(table="lots"))
# What a grant is does not change; what is left of it does.
LOTS_CHANGED = Part(
    "lots_changed",
    columns.LOT_CHANGE,
    """
    UPDATE {cell}.lots t SET remaining = x.remaining, held = x.held, status = x.status
    FROM {rows}
    WHERE t.customer = x.customer AND t.sequence = x.sequence AND t.n = x.n AND {applies} RETURNING 1
    """,
    counted=True,
)
VALUES_BORN = Part("values_born", columns.LOT_VALUE, _INSERT.format(table="lot_values"))
# A hold takes no value: most rows stay as they are, so their number tells nothing. The lot itself is
# counted, and its value is born with it.
VALUES_CHANGED = Part(
    "values_changed",
    columns.LOT_VALUE,
    """
    UPDATE {cell}.lot_values v SET value_nanousd = x.value_nanousd
    FROM {rows}
    WHERE v.customer = x.customer AND v.sequence = x.sequence AND v.n = x.n
      AND v.value_nanousd <> x.value_nanousd AND {applies}
    """,
)
STATES = Part(
    "states",
    columns.STATE,
    _INSERT.format(table="states")
    + """
    ON CONFLICT (customer, key) DO UPDATE SET
        state = excluded.state, closes_at = excluded.closes_at, surplus = excluded.surplus,
        collected = excluded.collected, uncollected = excluded.uncollected,
        revenue_nanousd = excluded.revenue_nanousd, card = excluded.card,
        card_version = excluded.card_version, cost_version = excluded.cost_version,
        credit_price_nanousd = excluded.credit_price_nanousd, multiplier_nanos = excluded.multiplier_nanos
    """,
)
DEBTS = Part(
    "debts",
    columns.DEBT,
    _INSERT.format(table="debts")
    + "ON CONFLICT (customer) DO UPDATE SET unbilled_nanousd = excluded.unbilled_nanousd",
)
# The directory keeps a customer for ever: without its id there is no row, and then no batch.
AUDIT = Part(
    "audit",
    columns.AUDIT,
    f"""
    INSERT INTO ledger.audit ({{columns}}, resource)
    SELECT {{values}},
           (SELECT '{CUSTOMERS}' || c.customer_id FROM ledger.customers c WHERE c.customer = x.customer)
    FROM {{rows}} WHERE {{applies}}
    """,
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
    STATES,
    DEBTS,
    AUDIT,
)
"""In this order the statement takes their rows, after the parameters of the verdict."""

HEAD_PARAMETERS = 7
"""Customers, their sequences and tokens before, the rows to update of each; the oldest and the newest
decision; the token that the wallets get."""

_HEAD = """
WITH locked AS MATERIALIZED (
    SELECT w.customer, x.updates
    FROM {cell}.wallets w,
         unnest($1::text::bigint[], $2::text::bigint[], $3::text::bigint[], $4::text::integer[])
             AS x(customer, before, token, updates)
    WHERE w.customer = x.customer AND w.sequence = x.before AND w.token = x.token
    ORDER BY w.customer FOR UPDATE OF w
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
    SELECT DISTINCT e.customer
    FROM {entries} JOIN {cell}.entries e ON e.customer = x.customer AND e.request_id = x.request_id
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
_APPLIES = "(x.customer IN (SELECT l.customer FROM l)) IS TRUE"
_LIMIT = f"interval '{FRESH_SECONDS} seconds'"

CHECK = """
SELECT array_agg(w.customer) AS customers, clock_timestamp() AS clock
FROM unnest($1::text::bigint[], $2::text::bigint[], $3::text::bigint[]) AS x(customer, before, token)
JOIN {cell}.wallets w ON w.customer = x.customer AND w.sequence = x.before AND w.token = x.token
"""
"""The verdict for a batch of refusals only: nothing to write, nothing to lock."""


@lru_cache(maxsize=1024)
def write_statement(cell: str, parts: tuple[Part, ...], *, probe: bool) -> str:
    """The statement for a batch that has rows of these parts, in the order of `PARTS`.

    With `probe` it leaves out the customers who have one of the batch's request ids already.
    """
    rows = {part: part.columns.rows(cell, number) for number, part in enumerate(parts, HEAD_PARAMETERS + 1)}
    probe = probe and ENTRIES in rows
    head = _PROBING_HEAD if probe else _HEAD
    texts = [head.format(cell=cell, limit=_LIMIT, entries=rows.get(ENTRIES))]
    for part in parts:
        sql = part.sql.format(
            cell=cell,
            rows=rows[part],
            applies=_APPLIES,
            columns=", ".join(part.columns.names),
            values=part.columns.select("x"),
        )
        texts.append(f", {part.name} AS ({sql})")
    updated = " + ".join(f"(SELECT count(*) FROM {part.name})" for part in parts if part.counted)
    repeated = "(SELECT array_agg(known.customer) FROM known)" if probe else "NULL::bigint[]"
    texts.append(_TAIL.format(repeated=repeated, updated=updated or "0"))
    return "".join(texts)
