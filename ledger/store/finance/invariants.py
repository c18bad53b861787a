"""What must hold of the books, each as a query for what breaks it.

A query returns (customer, description) of each break, and no row if the books hold. Where it reads the
rollups it compares them with the journal below their cursor, in the same snapshot.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from ledger.books.limits import COUNTERS_STORED
from ledger.books.model.amounts import Credits, Dollars
from ledger.books.tallies import MAX_TALLIES
from ledger.store.finance.rollups import MEMOS, OF_LINES, OF_LINES_ALONE
from ledger.store.statements import statements_of

ROLLED_UP = (*Credits._fields, *Dollars._fields, *MEMOS)
"""The columns of entries and money that have an account of that name in the rollups."""


def _each_credit(expression: str) -> str:
    """The expression for each credit account, as a list."""
    return ", ".join(expression.replace("{account}", account) for account in Credits._fields)


def _quoted(accounts: Iterable[str]) -> str:
    return ", ".join(f"'{account}'" for account in accounts)


_SQL = statements_of(
    __name__,
    balances=_each_credit("{account}"),
    balances_after=_each_credit("{account}_after"),
    balances_due=_each_credit("lag({account}_after, 1, 0::bigint) OVER w + {account}"),
    balances_replayed=_each_credit("sum({account})"),
    sums=", ".join(f"sum({account}) AS {account}" for account in ROLLED_UP),
    of_lines=_quoted((*OF_LINES, *OF_LINES_ALONE)),
    of_lines_alone=_quoted(OF_LINES_ALONE),
    tallies_max=MAX_TALLIES,
    stored_seconds=int(COUNTERS_STORED.total_seconds()),
)


class Invariant(NamedTuple):
    """A rule of the books, and the query for (customer, description) of each break of it."""

    name: str
    breaks: str


def _invariants(*names: str) -> tuple[Invariant, ...]:
    return tuple(Invariant(name, _SQL[name]) for name in names)


OF_BOOKS = _invariants(
    "postings_balance",
    "sequences_without_gaps",
    "customers_have_wallets",
    "request_ids_unique",
    "instants_never_go_back",
    "balances_follow_postings",
    "wallet_is_replay",
    "lots_are_balances",
    "lot_amounts_conserved",
    "held_is_pins",
    "deferred_is_lot_value",
    "unbilled_is_debt",
    "dollars_have_entry",
    "entry_is_lines",
    "charge_is_consumed",
    "returns_within_charge",
    "absorbed_within_cost",
    "reservation_is_entries",
    "states_are_due",
    "remainders_are_carried",
)
"""Those of a customer's own books, in the order in which they are checked: what comes first is often the
cause of what comes later."""

OF_ROLLUPS = _invariants("margins_are_sums", "lines_are_sums", "budgets_are_counts")
"""Those of what a customer's journal is rolled up to, or counted in."""

OF_NO_CUSTOMER = _invariants("accounts_are_sums")
"""Those of figures that are of no one customer."""

INVARIANTS = (*OF_BOOKS, *OF_ROLLUPS, *OF_NO_CUSTOMER)
"""All, in that order."""

_OF_CUSTOMERS = (
    "wallets",
    "debts",
    "entries",
    "money",
    "reservations",
    "lots",
    "lot_values",
    "grants",
    "states",
    "budgeted",
    "rollup_lines",
)
_TABLE = re.compile(rf"\{{cell\}}\.({'|'.join(_OF_CUSTOMERS)})\b")
_OWN = ", ".join(
    f"own_{table} AS NOT MATERIALIZED (SELECT * FROM {{cell}}.{table} WHERE customer = ANY($1::bigint[]))"
    for table in _OF_CUSTOMERS
)


def breaks_of_customers(invariant: Invariant) -> str:
    """The query for the breaks of an invariant of books or rollups, of the customers in $1 alone.

    It sees the rows of these customers under names of its own: what is proved is the invariant's own text.
    The directory it sees whole.
    """
    own = _TABLE.sub(r"own_\1", invariant.breaks)
    return f"WITH {_OWN} SELECT customer, description FROM ({own}) b WHERE customer = ANY($1::bigint[])"
