"""Double-entry books of credits and dollars: pure decisions over frozen values.

`decide` makes an entry of a command, `due` makes entries of what is due by the clock, `create` makes a
customer. Nothing here reads a clock, draws a random number or does any input or output; nothing here
imports another part of the service.
"""

from ledger.books.burn_down import burn_order
from ledger.books.commands import (
    Charge,
    Command,
    Commit,
    ConfirmGrant,
    CreateCustomer,
    DisputeGrant,
    Extend,
    ExtendGrant,
    Fill,
    IssueGrant,
    Refund,
    RefundGrant,
    Release,
    Reserve,
    ResolveDispute,
    Reverse,
    UpdateCustomer,
    VoidGrant,
    WriteOffDebt,
    WriteOffGrant,
)
from ledger.books.customers import create
from ledger.books.decisions import decide
from ledger.books.due_entries import Closings, Due, due
from ledger.books.model.amounts import Credits, Dollars
from ledger.books.model.budgets import AtLimit, Budget, BudgetWindow
from ledger.books.model.decisions import Decision, Facts
from ledger.books.model.entries import Draw, Entry, EntryKind, EntryLine, Money, MoneyLine
from ledger.books.model.lots import GrantKind, GrantRecord, Lot, LotKey, LotStatus
from ledger.books.model.plans import OverCapture, Plan, Unpriced, UsedCredits
from ledger.books.model.priced import Effect, PoolPart, Priced, PricedLine, Rounding, State, Terms, Treatment
from ledger.books.model.refusals import Refusal, RefusalReason
from ledger.books.model.renewals import Every, RecurringGrant, Renewal, RenewalKey, Rollover
from ledger.books.model.reservations import (
    Pin,
    Reservation,
    ReservationCosts,
    ReservationImage,
    ReservationState,
)
from ledger.books.model.wallets import Wallet
from ledger.books.rounding import MAX_AMOUNT, MICROS_PER_CREDIT, BooksError, apportion, round_exact

__all__ = [
    "MAX_AMOUNT",
    "MICROS_PER_CREDIT",
    "AtLimit",
    "BooksError",
    "Budget",
    "BudgetWindow",
    "Charge",
    "Closings",
    "Command",
    "Commit",
    "ConfirmGrant",
    "CreateCustomer",
    "Credits",
    "Decision",
    "DisputeGrant",
    "Dollars",
    "Draw",
    "Due",
    "Effect",
    "Entry",
    "EntryKind",
    "EntryLine",
    "Every",
    "Extend",
    "ExtendGrant",
    "Facts",
    "Fill",
    "GrantKind",
    "GrantRecord",
    "IssueGrant",
    "Lot",
    "LotKey",
    "LotStatus",
    "Money",
    "MoneyLine",
    "OverCapture",
    "Pin",
    "Plan",
    "PoolPart",
    "Priced",
    "PricedLine",
    "RecurringGrant",
    "Refund",
    "RefundGrant",
    "Refusal",
    "RefusalReason",
    "Release",
    "Renewal",
    "RenewalKey",
    "Reservation",
    "ReservationCosts",
    "ReservationImage",
    "ReservationState",
    "Reserve",
    "ResolveDispute",
    "Reverse",
    "Rollover",
    "Rounding",
    "State",
    "Terms",
    "Treatment",
    "Unpriced",
    "UpdateCustomer",
    "UsedCredits",
    "VoidGrant",
    "Wallet",
    "WriteOffDebt",
    "WriteOffGrant",
    "apportion",
    "burn_order",
    "create",
    "decide",
    "due",
    "round_exact",
]
