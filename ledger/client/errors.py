"""What the ledger says when a call has no effect: one tree, a class for each reason.

    CreditsError
        ClientClosed
        ClientForked
        InternalFault
        JournalError
            JournalCorrupt
            JournalFull
        NotNow
            DeadlineExceeded
            Overloaded
                KeyLimit
            Unavailable
        QueueFull
        Refused
            BooksDoNotVerify
            BudgetExceeded
            CallerRefused
                ScopeRequired
                TlsFailed
                Unauthenticated
            ChargeNotFound
            ChargeNotReversible
            CustomerNotFound
            InsufficientCredits
            InvalidArgument
            NotEntitled
            OverCapture
            PlanNotFound
            PlanOverridesUnreadable
            RateCardNotFound
            RefundExceedsCharge
            RequestIdReused
            ReservationClosed
            ReservationExpired
            ReservationNotFound
            ReservationOpen
            ReversalNotExact
            ReversalTooLarge
            TooManyGrants
            TooManyRefunds
            UnpricedUsage
        UsageError

A reason is the `ErrorInfo`'s, as `docs/api.md` has it; what its metadata says are attributes of the class. A
reason that this version of the client does not know is a Refused with that `reason`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Final, Generic, NamedTuple, TypeVar

import grpc

from ledger.client.amounts import credits_of

Said = TypeVar("Said")

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class FieldViolation(NamedTuple):
    """What is wrong with one field of a request."""

    field: str
    description: str


class CreditsError(Exception):
    """Why a call had no effect, or why it is not known whether it had one."""

    reason: str = ""
    """Of the `ErrorInfo`; the name of gRPC's code where there is none; empty if nobody was asked."""

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode | None = None,
        reason: str = "",
        metadata: Mapping[str, str] = _NOTHING,
        fields: tuple[FieldViolation, ...] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = grpc.StatusCode.UNKNOWN if code is None else code
        self.reason = reason or self.reason or ("" if code is None else code.name)
        self.metadata = metadata
        """The variables of the reason, as the server wrote them."""
        self.fields = fields
        """What is wrong, field by field; of InvalidArgument."""
        self.retry_after_seconds = retry_after_seconds
        """How long the server asks to be left alone; None where it does not."""
        self.request_id = ""
        """Of the write that it is about, which may be sent again under it: it has one effect."""

    def __str__(self) -> str:
        said = "; ".join(": ".join(each) for each in self.fields) or self.message
        return f"{self.reason}: {said}" if self.reason else said


class Refused(CreditsError):
    """The request has no effect, and sent again it has none either until something else has changed."""


class NotNow(CreditsError):
    """The same request under its request id may succeed later; it may have had its effect already."""


class InternalFault(CreditsError):
    """A fault of the service; whether the request had an effect is not known."""

    reason = "INTERNAL"


class ClientClosed(CreditsError):
    """The client was closed: nothing was sent."""


class ClientForked(CreditsError):
    """The client was opened in the process that this one is forked from: nothing was sent or stored."""


class UsageError(CreditsError, ValueError):
    """Usage that cannot be counted: nothing of it was taken.

    The text says where, what is wrong and what is allowed.
    """

    def __str__(self) -> str:
        return self.message


class Variable(Generic[Said]):
    """A variable of a reason, as an attribute. Raises AttributeError where the server did not send it."""

    def __init__(self, name: str, read: Callable[[str], Said]) -> None:
        self.name, self._read = name, read

    def __get__(self, error: CreditsError, owner: type) -> Said:
        try:
            return self._read(error.metadata[self.name])
        except KeyError:
            raise AttributeError(f"{error.reason} came without {self.name}") from None


def _text(name: str) -> Variable[str]:
    return Variable(name, str)


def _number(name: str) -> Variable[int]:
    return Variable(name, int)


def _credits(name: str) -> Variable[Decimal]:
    return Variable(name, lambda said: credits_of(int(said)))


def _labels(said: str) -> Mapping[str, str]:
    return MappingProxyType(json.loads(said))


# -- what a request is refused for -----------------------------------------------------------------


class InvalidArgument(Refused, ValueError):
    """Fields are wrong: `fields` says which, and what is allowed.

    The client says so itself, and sends nothing, where a request cannot carry what was given.
    """

    reason = "INVALID_ARGUMENT"


_SHOWN_MAX: Final = 60
"""Characters that are shown of what was given."""


def invalid_argument(field: str, given: object, allowed: str) -> InvalidArgument:
    """What is raised for a field that no request can carry."""
    shown = ascii(given)
    shown = shown if len(shown) <= _SHOWN_MAX else f"{shown[:_SHOWN_MAX]}…"
    violation = FieldViolation(field, f"is {shown} (allowed: {allowed})")
    code = grpc.StatusCode.INVALID_ARGUMENT
    return InvalidArgument(": ".join(violation), code=code, fields=(violation,))


class CustomerNotFound(Refused):
    reason = "CUSTOMER_NOT_FOUND"
    customer_id = _text("customer_id")


class RequestIdReused(Refused):
    """Another request of the customer had this request id."""

    reason = "REQUEST_ID_REUSED"


class BooksDoNotVerify(Refused):
    """The customer takes no writes until its books are mended: work that is done is to be sent again."""

    reason = "BOOKS_DO_NOT_VERIFY"
    finding_id = _text("finding_id")


class RateCardNotFound(Refused):
    """The customer's rate card is not in force."""

    reason = "RATE_CARD_NOT_FOUND"
    rate_card = _text("rate_card")


class PlanNotFound(Refused):
    """The customer's plan is none that the server has."""

    reason = "PLAN_NOT_FOUND"
    plan = _text("plan")


class PlanOverridesUnreadable(Refused):
    """The server is of an older version than what it has of the customer: no work begins there."""

    reason = "PLAN_OVERRIDES_UNREADABLE"
    unreadable = _text("fields")


class ReservationNotFound(Refused):
    reason = "RESERVATION_NOT_FOUND"
    reservation_id = _text("reservation_id")


class ChargeNotFound(Refused):
    reason = "CHARGE_NOT_FOUND"
    charge_id = _text("charge_id")


class ReservationClosed(Refused):
    """It was released, reversed or finally committed."""

    reason = "RESERVATION_CLOSED"
    reservation_id = _text("reservation_id")


class ReservationExpired(Refused):
    """An expired reservation is neither extended nor released; commits are still taken."""

    reason = "RESERVATION_EXPIRED"
    reservation_id = _text("reservation_id")


class ReservationOpen(Refused):
    """Only a closed reservation is reversed."""

    reason = "RESERVATION_OPEN"
    reservation_id = _text("reservation_id")


class ChargeNotReversible(Refused):
    """It was reversed before, or is a part of a reservation, which is reversed whole."""

    reason = "CHARGE_NOT_REVERSIBLE"


class ReversalTooLarge(Refused):
    """More lines than one reversal undoes: its charges are refunded one by one."""

    reason = "REVERSAL_TOO_LARGE"
    lines_max = _number("lines_max")


class ReversalNotExact(Refused):
    """What others would cost without the charge is not known exactly any more: it is refunded."""

    reason = "REVERSAL_NOT_EXACT"


class RefundExceedsCharge(Refused):
    """More than is left of what the charge collected."""

    reason = "REFUND_EXCEEDS_CHARGE"
    left = _credits("left_micros")
    left_micros = _number("left_micros")


class TooManyRefunds(Refused):
    """The charge takes no more refunds of a part; one without an amount gives back all that is left."""

    reason = "TOO_MANY_REFUNDS"
    left = _credits("left_micros")
    left_micros = _number("left_micros")
    refunds_max = _number("refunds_max")


class TooManyGrants(Refused):
    """What would go back takes a grant of its own, and the customer has as many as it may."""

    reason = "TOO_MANY_GRANTS"
    grants_max = _number("grants_max")


class NotEntitled(Refused):
    """The customer's plan or rate card does not allow an item of the usage."""

    reason = "NOT_ENTITLED"
    item = _number("item")
    """Its index, from 0."""
    kind = _text("kind")
    name = _text("name")
    of_list = _text("list")
    """plan.allow, plan.deny, rate_card.allow or rate_card.deny."""


class UnpricedUsage(Refused):
    """An item of the usage has no price on the customer's card."""

    reason = "UNPRICED_USAGE"
    item = _number("item")
    """Its index, from 0."""
    kind = _text("kind")
    name = _text("name")


class BudgetExceeded(Refused):
    """A budget of the customer's plan leaves less in its window than this needs."""

    reason = "BUDGET_EXCEEDED"
    budget = _text("budget")
    window = _text("window")
    """HOUR, DAY, WEEK, MONTH or TOTAL."""
    labels: Variable[Mapping[str, str]] = Variable("labels", _labels)
    """Whose count it is, where the budget counts by labels."""
    limit = _credits("limit_micros")
    limit_micros = _number("limit_micros")
    used = _credits("used_micros")
    used_micros = _number("used_micros")
    left = _credits("left_micros")
    left_micros = _number("left_micros")
    required = _credits("required_micros")
    required_micros = _number("required_micros")
    window_ends_at = Variable("window_ends_at", datetime.fromisoformat)
    """Not of a budget in all."""
    values_max = _number("values_max")
    """Where the budget counts for as many combinations of labels in the window, and for no other."""


class OverCapture(Refused):
    """A commit in credits above the hold, and the customer's plan rejects that."""

    reason = "OVER_CAPTURE"
    held = _credits("held_micros")
    held_micros = _number("held_micros")
    required = _credits("required_micros")
    required_micros = _number("required_micros")


class InsufficientCredits(Refused):
    """The customer has fewer credits available than this needs."""

    reason = "INSUFFICIENT_CREDITS"
    available = _credits("available_micros")
    available_micros = _number("available_micros")
    required = _credits("required_micros")
    required_micros = _number("required_micros")
    short = _credits("short_micros")
    short_micros = _number("short_micros")


class CallerRefused(Refused):
    """The service does not let this client in, whatever it asks for: nobody has judged the request.

    Work that is done is to be sent again, with a key that may.
    """


class Unauthenticated(CallerRefused):
    """No key or token was sent, or none that may be used."""

    reason = "UNAUTHENTICATED"


class TlsFailed(CallerRefused):
    """The two sides do not agree on TLS, and no repeat mends that."""

    reason = "TLS_FAILED"


class ScopeRequired(CallerRefused):
    """The key may not do this."""

    reason = "SCOPE_REQUIRED"
    scope = _text("scope")


# -- what may succeed later ------------------------------------------------------------------------


class Unavailable(NotNow):
    """The server or its database is away; a write may have had its effect."""

    reason = "UNAVAILABLE"


class DeadlineExceeded(NotNow):
    """No answer within the time allowed; a write may have had its effect."""

    reason = "DEADLINE_EXCEEDED"


class Overloaded(NotNow):
    """The server cannot keep up: nothing was written. `retry_after_seconds` says when to come back."""

    reason = "OVERLOADED"
    limit = _text("limit")
    allowed = _text("allowed")


class KeyLimit(Overloaded):
    """The key asks for more than it may: nothing was written."""

    reason = "KEY_LIMIT"


# -- what this process cannot store ---------------------------------------------------------------


class JournalError(CreditsError):
    """The journal cannot be written or read: what was to be stored is not."""

    reason = "JOURNAL"


class JournalFull(JournalError):
    """The journal has reached its bound, or its disk is full: what was to be stored is not."""

    reason = "JOURNAL_FULL"


class JournalCorrupt(JournalError):
    """A journal is damaged: what comes after the place cannot be read."""

    reason = "JOURNAL_CORRUPT"

    def __init__(self, path: Path, offset_bytes: int) -> None:
        super().__init__(
            f"{path} is damaged at byte {offset_bytes}: what is before it can be read alone, if a copy of the"
            f" file is cut there"
        )
        self.path = path
        self.offset_bytes = offset_bytes


class QueueFull(CreditsError):
    """The session has as many items that are not committed as it may have: this usage was not taken."""

    reason = "QUEUE_FULL"
