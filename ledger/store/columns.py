"""The columns of a cell's tables, named once, in the order in which rows are built and taken apart.

The customer comes first. Exact amounts are `num/den` texts; pins and draws are arrays of arrays; labels and
lines are NULL where there are none.
"""

from __future__ import annotations

from typing import NamedTuple


class Columns(NamedTuple):
    """Columns of a table, and the composite type of the cell that carries rows of them to the write."""

    row_type: str
    names: tuple[str, ...]
    types: tuple[str, ...]

    @classmethod
    def of(cls, row_type: str, text: str) -> Columns:
        pairs = [pair.split() for pair in text.split(",")]
        return cls(row_type, tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs))

    def select(self, alias: str) -> str:
        """The columns of a table known as `alias`, for a SELECT."""
        return ", ".join(f"{alias}.{name}" for name in self.names)

    def rows(self, cell: str, parameter: int) -> str:
        """The rows that the array of texts `$parameter` holds, as a row source `x`."""
        row = f"{cell}.{self.row_type}"
        return f"unnest(ARRAY(SELECT r.text::{row} FROM unnest(${parameter}::text[]) AS r(text))) AS x"


WALLET = Columns.of(
    "wallet_row",
    """
    customer bigint, sequence bigint, display_name text, plan text, card text, zone text,
    multiplier_nanos bigint, issued bigint, pending bigint, available bigint, held bigint, consumed bigint,
    expired bigint, voided bigint, refunded bigint, debt bigint, next_due_at timestamptz,
    last_instant timestamptz, tallies json
""",
)
ENTRY = Columns.of(
    "entry_row",
    """
    customer bigint, sequence bigint, kind text, request_id text, fingerprint bytea,
    issued bigint, pending bigint, available bigint, held bigint, consumed bigint, expired bigint,
    voided bigint, refunded bigint, debt bigint,
    issued_after bigint, pending_after bigint, available_after bigint, held_after bigint,
    consumed_after bigint, expired_after bigint, voided_after bigint, refunded_after bigint,
    debt_after bigint,
    effective_at timestamptz, booked_at timestamptz, occurred_at timestamptz,
    reservation bigint, reservation_state text, reservation_held bigint, reservation_charged bigint,
    reservation_expires_at timestamptz, subject bigint, subject_n integer,
    card text, card_version integer, cost_version integer, credit_price_nanousd bigint,
    multiplier_nanos bigint, plan text, priced bigint, uncollected bigint, late boolean, final boolean,
    reason text, labels json, lines json
""",
)
MONEY = Columns.of(
    "money_row",
    """
    customer bigint, sequence bigint, receivable bigint, unbilled bigint, refund_payable bigint,
    deferred bigint, revenue bigint, breakage bigint, write_off bigint, cost bigint, provider_payable bigint,
    debt_value bigint, absorbed_failed_outcome bigint, absorbed_uncollected bigint, absorbed_unpriced bigint,
    lines json, draws json, remainders json, booked_at timestamptz
""",
)
RESERVATION = Columns.of(
    "reservation_row",
    """
    customer bigint, sequence bigint, state text, card text, card_version integer, cost_version integer,
    credit_price_nanousd bigint, multiplier_nanos bigint, created_at timestamptz, expires_at timestamptz,
    held bigint, pins json, priced bigint, charged bigint, has_outcome_rule boolean, outcome_charged boolean,
    own_run text, lapsed bigint, labels json
""",
)
RESERVATION_COSTS = Columns.of(
    "reservation_costs_row",
    """
    customer bigint, sequence bigint, cost_exact text, included_exact text, unpriced_exact text,
    posted bigint, absorbed_failed_outcome bigint, absorbed_uncollected bigint, absorbed_unpriced bigint,
    saved_exact text, own_key_exact text
""",
)
LOT = Columns.of(
    "lot_row",
    """
    customer bigint, sequence bigint, n integer, kind text, amount bigint, remaining bigint, held bigint,
    priority integer, scope text, effective_at timestamptz, expires_at timestamptz, status text
""",
)

RESERVATION_CHANGE = Columns.of(
    "reservation_change",
    """
    customer bigint, sequence bigint, state text, expires_at timestamptz, held bigint, pins json,
    priced bigint, charged bigint, has_outcome_rule boolean, outcome_charged boolean, own_run text,
    lapsed bigint
""",
)
LOT_CHANGE = Columns.of(
    "lot_change",
    "customer bigint, sequence bigint, n integer, remaining bigint, held bigint, status text",
)
LOT_VALUE = Columns.of("lot_value_row", "customer bigint, sequence bigint, n integer, value_nanousd bigint")
STATE = Columns.of(
    "state_row",
    """
    customer bigint, key text, state text, closes_at timestamptz, surplus bigint, collected bigint,
    uncollected bigint, revenue_nanousd bigint, card text, card_version integer, cost_version integer,
    credit_price_nanousd bigint, multiplier_nanos bigint
""",
)
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
    RESERVATION,
    RESERVATION_CHANGE,
    RESERVATION_COSTS,
    LOT,
    LOT_CHANGE,
    LOT_VALUE,
    STATE,
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
