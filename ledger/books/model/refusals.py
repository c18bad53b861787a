"""Refusals: why a command has no effect."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from ledger.books.model.labels import NOTHING


class RefusalReason(StrEnum):
    """Why a command has no effect, in order of precedence; `docs/api.md` tells each to callers."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    CUSTOMER_NOT_FOUND = "CUSTOMER_NOT_FOUND"
    CUSTOMER_EXISTS = "CUSTOMER_EXISTS"
    """Another request created a customer of this id."""
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    BOOKS_DO_NOT_VERIFY = "BOOKS_DO_NOT_VERIFY"
    """What is stored of the customer breaks a rule of the books: nothing is booked upon it."""
    RATE_CARD_NOT_FOUND = "RATE_CARD_NOT_FOUND"
    PLAN_NOT_FOUND = "PLAN_NOT_FOUND"
    PLAN_OVERRIDES_UNREADABLE = "PLAN_OVERRIDES_UNREADABLE"
    """A newer version wrote the customer's own fields of its plan: what they allow is not known here."""
    RATE_VERSION_NOT_FOUND = "RATE_VERSION_NOT_FOUND"
    RATE_REVISION_TAKEN = "RATE_REVISION_TAKEN"
    """The latest version has the same revision, with other content."""
    RATE_REVISION_PASSED = "RATE_REVISION_PASSED"
    """A higher revision is published."""
    MARGIN_BELOW_FLOOR = "MARGIN_BELOW_FLOOR"
    """A card would leave less than it says it must."""
    PLANS_IN_USE = "PLANS_IN_USE"
    """Plans would leave customers without one, or without a card."""
    KEY_NOT_FOUND = "KEY_NOT_FOUND"
    KEY_ENDED = "KEY_ENDED"
    """Revoked, expired, or rotated before."""
    WEBHOOK_NOT_FOUND = "WEBHOOK_NOT_FOUND"
    TOO_MANY_WEBHOOKS = "TOO_MANY_WEBHOOKS"
    RESERVATION_NOT_FOUND = "RESERVATION_NOT_FOUND"
    CHARGE_NOT_FOUND = "CHARGE_NOT_FOUND"
    GRANT_NOT_FOUND = "GRANT_NOT_FOUND"
    RESERVATION_CLOSED = "RESERVATION_CLOSED"
    RESERVATION_EXPIRED = "RESERVATION_EXPIRED"
    RESERVATION_OPEN = "RESERVATION_OPEN"
    """A reversal takes a closed reservation."""
    CHARGE_NOT_REVERSIBLE = "CHARGE_NOT_REVERSIBLE"
    """Undone before, or a part of a reservation, which is reversed whole."""
    REVERSAL_TOO_LARGE = "REVERSAL_TOO_LARGE"
    """The parts of the reservation, and their refunds, have more lines than are undone at once."""
    REVERSAL_NOT_EXACT = "REVERSAL_NOT_EXACT"
    """What the others of its period amount to without it is not known to the micro-credit any more."""
    REFUND_EXCEEDS_CHARGE = "REFUND_EXCEEDS_CHARGE"
    """More than is left of the charge; or nothing is left of it."""
    TOO_MANY_REFUNDS = "TOO_MANY_REFUNDS"
    """The charge takes no more refunds of a part; what is left may still go back in one."""
    GRANT_CLOSED = "GRANT_CLOSED"
    """It has expired, was voided, or has nothing left that could be taken back."""
    GRANT_NOT_PENDING_PAYMENT = "GRANT_NOT_PENDING_PAYMENT"
    """There is no payment to confirm."""
    GRANT_NOT_DISPUTED = "GRANT_NOT_DISPUTED"
    """There is no dispute to resolve."""
    REFUND_EXCEEDS_GRANT = "REFUND_EXCEEDS_GRANT"
    """More credits than nobody holds of it, or more money than is left of what was paid for it."""
    WRITE_OFF_EXCEEDS_CLAIM = "WRITE_OFF_EXCEEDS_CLAIM"
    """More than is owed; or nothing is."""
    TOO_MANY_GRANTS = "TOO_MANY_GRANTS"
    """The customer has credits left of as many grants as it may have at a time."""
    NOT_ENTITLED = "NOT_ENTITLED"
    UNPRICED_USAGE = "UNPRICED_USAGE"
    BUDGET_EXCEEDED = "BUDGET_EXCEEDED"
    """A budget leaves less than this needs."""
    OVER_CAPTURE = "OVER_CAPTURE"
    INSUFFICIENT_CREDITS = "INSUFFICIENT_CREDITS"


class Refusal(NamedTuple):
    """A command that had no effect, and why. Values, not exceptions: exceptions are faults."""

    reason: RefusalReason
    detail: Mapping[str, str] = NOTHING
    """The variables of the reason, e.g. available_micros, required_micros, field, description."""
