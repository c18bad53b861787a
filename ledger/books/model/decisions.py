"""What a command is decided with beyond the wallet, and what a decision changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ledger.books.model.budgets import BudgetCounter
from ledger.books.model.entries import Entry
from ledger.books.model.lots import NO_RECORD, NO_RECORDS, GrantRecord, Lot, LotKey
from ledger.books.model.priced import STATELESS, State
from ledger.books.model.renewals import NO_RENEWALS, Renewal, RenewalKey
from ledger.books.model.reservations import Reservation
from ledger.books.model.wallets import Wallet


class Facts(NamedTuple):
    """What a command names beyond the wallet, as the last entry left it; what is missing does not exist."""

    reservation: Reservation | None = None
    charges: tuple[Entry, ...] = ()
    """Reverse: the entries to undo, with their money, oldest first: that of a `Charge`, or all commits of the
    reservation and the release or expiry that ended its hold. Refund: that of the `Charge` or commit."""
    refunds: tuple[Entry, ...] = ()
    """Reverse, Refund: the refunds of `charges`, with their money, oldest first."""
    later: tuple[Entry, ...] = ()
    """Reverse, Refund of what made debt: the grants, starts, reversals and refunds since it first did that
    paid debt or gave credits back, with their money, oldest first."""
    reversed: bool = False
    """Reverse, Refund: the charge has been undone before; a commit with its reservation."""
    is_beyond_limit: bool = False
    """Reverse: a reservation has more lines to undo than `LINES_UNDONE_MAX`; its `charges` are left out."""
    is_exact: bool = True
    """Reverse: what the others of a period amount to without `charges` is known exactly: `states` has it."""
    lots: tuple[Lot, ...] = ()
    """Reverse, Refund: the lots that `charges` and `later` drew. Of a grant's command: that which is named.
    Those in the wallet count as they stand there."""
    record: GrantRecord = NO_RECORD
    """Of a grant's command: what is known of the lot. For one that was not granted, but made of credits that
    came back of no lot, nothing is known to have been paid (None)."""
    records: Mapping[LotKey, GrantRecord] = NO_RECORDS
    """Reverse, Refund: what is known of `lots`."""
    claimed_nanousd: int = 0
    """Reverse, Refund, a grant's command: what was paid for all lots of the customer that were issued, less
    what was taken off that. What they are worth together is never more."""
    states: Mapping[str, State] = STATELESS
    """Reverse: the states that `charges` changed, as they are without them. Refund: as they are."""
    freed: Mapping[str, State] = STATELESS
    """Refund: the marks that are freed if it is in full."""
    counters: tuple[BudgetCounter, ...] = ()
    """Reserve, Charge: of the plan's budgets that its work counts in. Extend, Commit, Release: of the
    reservation's. Reverse: of what is undone."""


class Decision(NamedTuple):
    """An entry, and the final images of what it changed."""

    entry: Entry
    wallet: Wallet
    lots: tuple[Lot, ...] = ()
    """Born or changed by this entry; depleted ones too (they have left `wallet.lots`)."""
    reservation: Reservation | None = None
    states: Mapping[str, State] = STATELESS
    """Those that changed, by key."""
    records: Mapping[LotKey, GrantRecord] = NO_RECORDS
    """What becomes known of lots, beside what is known already."""
    renewals: Mapping[RenewalKey, Renewal] = NO_RENEWALS
    """Those that changed, by key."""
