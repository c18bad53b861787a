"""The SQL of the batched write: one statement that locks, checks, writes and tells, whatever a batch holds.

It is put together from parts, one per kind of row; a part whose rows a batch lacks is left out. The rows of
a part come as one text, of literals of the cell's composite type for them. Instants and terms stand in the
rows as numbers: their places in arrays that are parameters of their own.

- `locked` locks the wallets in order of customer, where the sequence is still the one decided upon, and was
  written by the batch that this process knows: the plan of a join would lock in any order, and two processes
  would deadlock. A wallet that somebody else has locked counts as changed: whoever holds it, and for however
  long, the others of the batch do not wait for that.
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
from ledger.store.statements import fill, statements_of

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


_SQL = statements_of(
    __name__,
    shared=columns.shared_types(SHARED),
    fresh_seconds=FRESH_SECONDS,
    terms=columns.terms_of("x", "terms", SHARED),
    audit_columns=", ".join(columns.AUDIT.names),
    audit_values=columns.AUDIT.select("x"),
    customers=CUSTOMERS,
    **{
        name: _at(name)
        for name in ("next_due_at", "last_instant", "effective_at", "expires_at", "hold_expires_at")
    },
)
CHECK = _SQL["check"]


def _insert(table: str, kind: Columns, *, values: str = "", source: str = _SQL["applied"]) -> str:
    return fill(
        _SQL["insert"],
        table=table,
        columns=", ".join(kind.names),
        values=values or kind.values(SHARED),
        source=source,
    )


WALLETS = StatementPart("wallets", columns.WALLET, _SQL["wallets"], counted=True)
ENTRIES = StatementPart(
    "entries",
    columns.ENTRY,
    _insert("entries", columns.ENTRY, values=columns.ENTRY.values(SHARED, labels=_SQL["labels"])),
)
DOLLARS = StatementPart("money", columns.MONEY, _insert("money", columns.MONEY))
HOLDS = StatementPart(
    "holds",
    columns.HOLD,
    fill(
        _SQL["holds"],
        holds_entries=_insert("entries", columns.ENTRY, source="holds x"),
        holds_reservations=_insert(
            "reservations", columns.RESERVATION, values=_SQL["held"], source="holds x"
        ),
    ),
)
RESERVATIONS_CHANGED = StatementPart(
    "reservations_changed", columns.RESERVATION_CHANGE, _SQL["reservations_changed"], counted=True
)
COSTS = StatementPart(
    "reservation_costs",
    columns.RESERVATION_COSTS,
    f"{_insert('reservation_costs', columns.RESERVATION_COSTS)} {_SQL['costs_stand']}",
)
LOTS_BORN = StatementPart("lots_born", columns.LOT, _insert("lots", columns.LOT))
LOTS_CHANGED = StatementPart("lots_changed", columns.LOT_CHANGE, _SQL["lots_changed"], counted=True)
LOTS_EXTENDED = StatementPart("lots_extended", columns.LOT_EXTENDED, _SQL["lots_extended"], counted=True)
VALUES_BORN = StatementPart("values_born", columns.LOT_VALUE, _insert("lot_values", columns.LOT_VALUE))
VALUES_CHANGED = StatementPart("values_changed", columns.LOT_VALUE, _SQL["values_changed"])
GRANTS = StatementPart("grants", columns.GRANT, f"{_insert('grants', columns.GRANT)} {_SQL['grant_stands']}")
RENEWALS = StatementPart(
    "renewals", columns.RENEWAL, f"{_insert('renewals', columns.RENEWAL)} {_SQL['renewal_stands']}"
)
STATES = StatementPart("states", columns.STATE, f"{_insert('states', columns.STATE)} {_SQL['state_stands']}")
BUDGETED = StatementPart("budgeted", columns.BUDGETED, _insert("budgeted", columns.BUDGETED))
DEBTS = StatementPart("debts", columns.DEBT, f"{_insert('debts', columns.DEBT)} {_SQL['debt_stands']}")
AUDIT = StatementPart("audit", columns.AUDIT, _SQL["audit"])
PARTS = (
    WALLETS,
    ENTRIES,
    DOLLARS,
    HOLDS,
    RESERVATIONS_CHANGED,
    COSTS,
    LOTS_BORN,
    LOTS_CHANGED,
    LOTS_EXTENDED,
    VALUES_BORN,
    VALUES_CHANGED,
    GRANTS,
    RENEWALS,
    STATES,
    BUDGETED,
    DEBTS,
    AUDIT,
)
"""In this order the statement takes their rows, after the parameters of the verdict and what rows share."""

REQUESTS = (ENTRIES, HOLDS)
"""Those whose rows have request ids."""


@lru_cache(maxsize=1024)
def write_statement(cell: str, parts: tuple[StatementPart, ...], *, probe: bool) -> str:
    """The statement for a batch that has rows of these parts, in the order of `PARTS`.

    With `probe` it leaves out the customers who have one of the batch's request ids already.
    """
    first = SHARED + columns.SHARED_PARAMETERS
    rows = {part: part.columns.rows(cell, number) for number, part in enumerate(parts, first)}
    repeats = " UNION ".join(fill(_SQL["repeats"], rows=rows[part]) for part in REQUESTS if part in rows)
    probes = probe and repeats
    texts = [
        fill(
            _SQL["head"],
            repeated_first=fill(_SQL["known"], of_parts=repeats) if probes else "",
            and_unrepeated=f" {_SQL['unrepeated']}" if probes else "",
        )
    ]
    texts += [fill(_SQL["part"], name=part.name, sql=part.sql, rows=rows[part]) for part in parts]
    updated = " + ".join(f"(SELECT count(*) FROM {part.name})" for part in parts if part.counted)
    repeated = "(SELECT array_agg(known.customer) FROM known)" if probes else "NULL::bigint[]"
    texts.append(fill(_SQL["tail"], repeated=repeated, updated=updated or "0"))
    return fill("\n".join(texts), cell=cell)
