"""The columns of a cell's tables, named once, in the order in which rows are built; they are read by name.

The customer comes first. Exact amounts are `num/den` texts; pins and draws are arrays of arrays; labels and
lines are NULL where there are none.

What many rows of a write have alike is sent once: an instant, or terms, stand in a row as a number, the
place in the arrays that go along with the rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_INSTANT: Final = "instant"
_TERMS: Final = "terms"
_TERMS_COLUMNS: Final = {
    "card": "text",
    "card_version": "integer",
    "cost_version": "integer",
    "credit_price_nanousd": "bigint",
    "multiplier_nanos": "bigint",
}
SHARED_PARAMETERS: Final = 1 + len(_TERMS_COLUMNS)
"""The array of the instants, and one for each column of the terms."""

BETWEEN_ROWS: Final = "\x1e"
"""What parts rows of one kind: ASCII's record separator. JSON escapes it, and no text of a caller has it; to
look for one character takes PostgreSQL half of what it takes for three."""


def instant_of(row: str, name: str, shared: int) -> str:
    """The instant whose number is `name` of `row`; the instants are the parameter `$shared`."""
    return f"(${shared}::timestamptz[])[{row}.{name}]"


def terms_of(row: str, name: str, shared: int) -> str:
    """The columns of the terms whose number is `name` of `row`."""
    return ", ".join(
        f"(${number}::{kind}[])[{row}.{name}]"
        for number, kind in enumerate(_TERMS_COLUMNS.values(), shared + 1)
    )


def shared_types(shared: int) -> str:
    """The shared arrays with their types, from the parameter `$shared` on, for a SELECT."""
    types = ["timestamptz", *_TERMS_COLUMNS.values()]
    return ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(types, shared))


class Columns(NamedTuple):
    """Columns of a table, and the composite type of the cell that carries rows of them to the write."""

    row_type: str
    """Empty: rows of another make it."""
    fields: tuple[tuple[str, str], ...]
    """Names and types; `instant` and `terms` are numbers in a row, and in the table what they stand for."""

    @classmethod
    def of(cls, row_type: str, text: str, after: Columns | None = None) -> Columns:
        """Of a text like "a bigint, b terms", after the fields of another."""
        fields = tuple((name, kind) for name, kind in (pair.split() for pair in text.split(",")))
        return cls(row_type, fields if after is None else after.fields + fields)

    @property
    def names(self) -> tuple[str, ...]:
        """The table's columns."""
        return tuple(
            column for name, kind in self.fields for column in (_TERMS_COLUMNS if kind == _TERMS else (name,))
        )

    @property
    def row(self) -> tuple[tuple[str, str], ...]:
        """The attributes of the composite type."""
        return tuple((name, "integer" if kind in {_INSTANT, _TERMS} else kind) for name, kind in self.fields)

    def select(self, alias: str, *, without: str = "") -> str:
        """The columns of a table known as `alias`, for a SELECT; NULL for a document that is left out."""
        return ", ".join("NULL::json" if name == without else f"{alias}.{name}" for name in self.names)

    @property
    def width(self) -> int:
        """How many columns the table has."""
        return len(self.names)

    def reader(self) -> Callable[[Any], Any]:
        """What gives a row its columns' names; what follows them in the row is left to others."""
        width, kinds = self.width, [(name, Any) for name in self.names]
        named = NamedTuple(self.row_type or "row", kinds)._make
        return lambda row: named(row[:width])

    def values(self, shared: int, **instead: str) -> str:
        """The columns' values of a row `x`, or what stands `instead` of one of them.

        The shared arrays begin at the parameter `$shared`.
        """
        values = []
        for name, kind in self.fields:
            if name in instead:
                values.append(instead[name])
            elif kind == _INSTANT:
                values.append(instant_of("x", name, shared))
            elif kind == _TERMS:
                values.append(terms_of("x", name, shared))
            else:
                values.append(f"x.{name}")
        return ", ".join(values)

    def rows(self, cell: str, parameter: int) -> str:
        """The rows that the text `$parameter` holds, one after the other, as a row source `x`."""
        row = f"{cell}.{self.row_type}"
        texts = f"string_to_table(${parameter}::text, chr({ord(BETWEEN_ROWS)})) AS r(text)"
        return f"unnest(ARRAY(SELECT r.text::{row} FROM {texts})) AS x"


WALLET = Columns.of(
    "wallet_overridden_sent",
    """
    customer bigint, sequence bigint, display_name text, plan text, card text, zone text,
    multiplier_nanos bigint, plan_overrides text, issued bigint, pending bigint, available bigint,
    held bigint, consumed bigint, expired bigint, voided bigint, refunded bigint, debt bigint,
    next_due_at instant, last_instant instant, tallies json
""",
)
ENTRY = Columns.of(
    "entry_sent",
    """
    customer bigint, sequence bigint, kind text, request_id text, fingerprint bytea,
    issued bigint, pending bigint, available bigint, held bigint, consumed bigint, expired bigint,
    voided bigint, refunded bigint, debt bigint,
    issued_after bigint, pending_after bigint, available_after bigint, held_after bigint,
    consumed_after bigint, expired_after bigint, voided_after bigint, refunded_after bigint,
    debt_after bigint,
    effective_at instant, booked_at instant, occurred_at instant,
    reservation bigint, reservation_state text, reservation_held bigint, reservation_charged bigint,
    reservation_expires_at instant, subject bigint, subject_n integer,
    terms terms, plan text, priced bigint, uncollected bigint, late boolean, final boolean,
    reason text, labels json, lines json
""",
)
MONEY = Columns.of(
    "money_sent",
    """
    customer bigint, sequence bigint, receivable bigint, unbilled bigint, refund_payable bigint,
    deferred bigint, revenue bigint, breakage bigint, write_off bigint, cost bigint, provider_payable bigint,
    debt_value bigint, absorbed_failed_outcome bigint, absorbed_uncollected bigint, absorbed_unpriced bigint,
    lines json, draws json, remainders json, booked_at instant
""",
)
RESERVATION = Columns.of(
    "",
    """
    customer bigint, sequence bigint, state text, terms terms, created_at instant, expires_at instant,
    held bigint, pins json, priced bigint, charged bigint, has_outcome_rule boolean, outcome_charged boolean,
    own_run text, lapsed bigint, labels json
""",
)
RESERVATION_CHANGE = Columns.of(
    "reservation_change_sent",
    """
    customer bigint, sequence bigint, state text, expires_at instant, held bigint, pins json,
    priced bigint, charged bigint, has_outcome_rule boolean, outcome_charged boolean, own_run text,
    lapsed bigint
""",
)
HOLD = Columns.of(
    "hold_sent",
    """
    hold_state text, hold_expires_at instant, hold_held bigint, hold_pins json, hold_priced bigint,
    hold_charged bigint, has_outcome_rule boolean, outcome_charged boolean, own_run text, lapsed bigint
""",
    after=ENTRY,
)
"""An entry that reserves, and the reservation that it makes as the batch leaves that: key, terms, labels and
instant are theirs alike. It has no table of its own."""
RESERVATION_COSTS = Columns.of(
    "reservation_costs_row",
    """
    customer bigint, sequence bigint, cost_exact text, included_exact text, unpriced_exact text,
    posted bigint, absorbed_failed_outcome bigint, absorbed_uncollected bigint, absorbed_unpriced bigint,
    saved_exact text, own_key_exact text
""",
)
LOT = Columns.of(
    "lot_sent",
    """
    customer bigint, sequence bigint, n integer, kind text, amount bigint, remaining bigint, held bigint,
    priority integer, scope text, effective_at instant, expires_at instant, status text
""",
)
LOT_CHANGE = Columns.of(
    "lot_change",
    "customer bigint, sequence bigint, n integer, remaining bigint, held bigint, status text",
)
LOT_EXTENDED = Columns.of(
    "lot_extended_sent",
    """
    customer bigint, sequence bigint, n integer, remaining bigint, held bigint, priority integer,
    expires_at instant, status text
""",
)
LOT_VALUE = Columns.of("lot_value_row", "customer bigint, sequence bigint, n integer, value_nanousd bigint")
GRANT = Columns.of(
    "grant_given_up_sent",
    """
    customer bigint, sequence bigint, n integer, paid_nanousd bigint, external_reference text, note text,
    ended bigint, refunded bigint, taken_off_nanousd bigint, given_up bigint, rolled_over bigint,
    recurring text
""",
)
RENEWAL = Columns.of(
    "renewal_sent",
    """
    customer bigint, plan text, recurring text, next_at instant, every text, anchor date, lots json
""",
)
STATE = Columns.of(
    "state_sent",
    """
    customer bigint, key text, state text, closes_at instant, surplus bigint, collected bigint,
    uncollected bigint, revenue_nanousd bigint, terms terms
""",
)
BUDGETED = Columns.of("budgeted_sent", "customer bigint, sequence bigint, counters json, crossings json")
DEBT = Columns.of("debt_row", "customer bigint, unbilled_nanousd bigint")
AUDIT = Columns.of(
    "audit_row",
    """
    customer bigint, sequence bigint, key_id text, name text, method text, request_id text,
    before json, after json
""",
)
ROW_TYPES = (
    WALLET,
    ENTRY,
    MONEY,
    HOLD,
    RESERVATION_CHANGE,
    RESERVATION_COSTS,
    LOT,
    LOT_CHANGE,
    LOT_EXTENDED,
    LOT_VALUE,
    GRANT,
    RENEWAL,
    STATE,
    BUDGETED,
    DEBT,
    AUDIT,
)

ENTRY_LINE_OWN = frozenset({"treatment", "credits_micros", "pool", "pool_micros"})
MONEY_LINE_OWN = frozenset(
    {
        "kind",
        "treatment",
        "credits_micros",
        "revenue_nanousd",
        "cost_nanousd",
        "memory",
        "saved_nanousd",
        "own_key_nanousd",
        "pool",
        "pool_micros",
    }
)
"""What the books say of a line themselves; the rest is pricing's."""
