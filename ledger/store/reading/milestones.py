"""Where the entries of an instant stand in a customer's journal.

A customer's instants never go back: its entries in the order of `effective_at` are those in the order of
their sequence. So an index of every 64th (`entries_milestones`) is enough to find any instant, and the rest
is a walk over the primary key. An entry costs the write a 64th of what an index of all would.
"""

from __future__ import annotations

from ledger.store.statements import fill, statements_of

MILESTONE = 64
"""As the index has it."""

_SQL = statements_of(__name__, milestone=MILESTONE)


def last_before(instant: str) -> str:
    """The sequence from which to walk to the first entry that is not before `instant`; 0: from the first.

    Both of these are SQL expressions, of the customer `$1`.
    """
    return fill(_SQL["last_before"], instant=instant)


def first_after(instant: str) -> str:
    """The sequence up to which to walk to the last entry that is not after `instant`, or beyond the last."""
    return fill(_SQL["first_after"], instant=instant)
