"""A plan: a customer's policies, as the configuration states them."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

from ledger.books.model.budgets import Budget
from ledger.books.model.renewals import RecurringGrant
from ledger.books.top_up_rules import TopUpRules


class OverCapture(StrEnum):
    """What a commit does with a charge that its hold does not cover."""

    CAP = "CAP"
    REJECT = "REJECT"
    ALLOW_IF_AVAILABLE = "ALLOW_IF_AVAILABLE"
    ALLOW_WITH_OVERDRAFT = "ALLOW_WITH_OVERDRAFT"


class UsedCredits(StrEnum):
    """What becomes of the used credits of a grant that is voided."""

    STAY_PAID = "STAY_PAID"
    """They stay consumed, and paid for: the customer loses what is left alone."""
    BECOME_DEBT = "BECOME_DEBT"
    """Their payment was taken back (a chargeback): the customer owes them, at what was paid for them."""


class Unpriced(StrEnum):
    """What work that is done is charged, if it has no price. It is flagged in any case."""

    BOOK = "BOOK"
    """Nothing."""
    CHARGE_HOLD = "CHARGE_HOLD"
    """What is left of the hold."""
    FALLBACK = "FALLBACK"
    """What a rule amounts to that the card names for it."""


class PlanEntitlements(NamedTuple):
    """Which usage a plan lets its customers begin: pricing says what that means."""

    allow: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Names or globs by kind of usage."""
    deny: tuple[tuple[str, tuple[str, ...]], ...] = ()


class Plan(NamedTuple):
    """A customer's policies, as the configuration states them."""

    name: str
    card: str | None
    over_capture: OverCapture = OverCapture.ALLOW_IF_AVAILABLE
    overdraft_limit_micros: int = 0
    default_ttl: timedelta = timedelta(minutes=5)
    max_ttl: timedelta = timedelta(hours=24)
    unpriced: Unpriced = Unpriced.BOOK
    low_balance_micros: int = 0
    """Where fewer credits than these are left the balance is low, which is an event; 0: never."""
    entitlements: PlanEntitlements | None = None
    """None: whatever the customer's card lets it begin."""
    top_up: TopUpRules | None = None
    """When credits are bought anew; None: never by itself."""
    budgets: tuple[Budget, ...] = ()
    expiring_notice: timedelta | None = None
    """How long before it expires a grant is reported, which is an event; None: never."""
    grants: tuple[RecurringGrant, ...] = ()
    """What recurs."""
    used_when_voided: UsedCredits = UsedCredits.STAY_PAID
    """Of a grant that is voided, where whoever voids it does not say."""
    unreadable: tuple[str, ...] = ()
    """The customer's own fields of it that this version cannot read: what they are to say is not known."""
