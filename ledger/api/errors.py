"""What callers read when a request has no effect: one table, from reasons to gRPC's codes.

Each error is a `google.rpc.Status` with one `ErrorInfo` (reason, domain, variables), as AIP-193 has it;
bad fields come as `BadRequest`, overload with a `RetryInfo`. Only UNAVAILABLE (and overload, after its
delay) is worth an automatic retry, as AIP-194 has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from random import random
from secrets import token_hex
from typing import Final, NamedTuple

import asyncpg
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from grpc import StatusCode

from ledger.access.allowances import IN_FLIGHT, RATE, KeyLimitError
from ledger.access.caller import ScopeRequiredError
from ledger.access.table import KeysOutdatedError, UnauthenticatedError
from ledger.api.messages import limits
from ledger.api.messages.validation import InvalidArgumentError
from ledger.api.model_names import expected_form
from ledger.books.model.refusals import Refusal, RefusalReason
from ledger.engine.command import OverloadedError, UnavailableError
from ledger.errors import RequestError
from ledger.store.reading.reads import BooksBehindError, CustomerNotFoundError
from ledger.store.reading.shares import TooManyReportsError

DOMAIN: Final = "acu-ledger"
METADATA_KEY: Final = "grpc-status-details-bin"
"""Where gRPC carries a `google.rpc.Status`."""

PUSHBACK_KEY: Final = "grpc-retry-pushback-ms"
"""Where clients of gRPC that retry by themselves look for the delay."""

RETRY_SECONDS: Final = 1.0
"""How long an overloaded server asks to be left alone: several batches' time. Each caller is asked for up to
as much again, at random, so that they do not all come back at once."""

OVERLOADED: Final = "OVERLOADED"
KEY_LIMIT: Final = "KEY_LIMIT"
UNAVAILABLE: Final = "UNAVAILABLE"
UNAUTHENTICATED: Final = "UNAUTHENTICATED"
SCOPE_REQUIRED: Final = "SCOPE_REQUIRED"
INTERNAL: Final = "INTERNAL"

_AWAY_OR_UNKNOWN: Final = "The ledger cannot answer now. A retry with the same request_id is safe."
_NO_KEY: Final = "A key that may be used is required, as metadata authorization: Bearer <key>."
_KEYS_OUTDATED: Final = "Keys cannot be looked up now. Retry in a moment."
_BEHIND: Final = "The books are still being brought up to as_of. Retry in a moment."

_AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    # It takes no connections, or is not there: it is being moved or restored.
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.InvalidCatalogNameError,
)

_OF_KEY: Final = {RATE: "so many calls a second", IN_FLIGHT: "so many calls in flight"}

_log = structlog.get_logger(__name__)


class Wording(NamedTuple):
    """How a reason is reported."""

    code: StatusCode
    message: str


TABLE: Final[Mapping[RefusalReason, Wording]] = {
    RefusalReason.INVALID_ARGUMENT: Wording(StatusCode.INVALID_ARGUMENT, "The request has invalid fields."),
    RefusalReason.CUSTOMER_NOT_FOUND: Wording(StatusCode.NOT_FOUND, "There is no such customer."),
    RefusalReason.CUSTOMER_EXISTS: Wording(
        StatusCode.ALREADY_EXISTS, "Another request created a customer of this id."
    ),
    RefusalReason.REQUEST_ID_REUSED: Wording(
        StatusCode.ALREADY_EXISTS, "Another request had this request_id."
    ),
    RefusalReason.BOOKS_DO_NOT_VERIFY: Wording(
        StatusCode.FAILED_PRECONDITION,
        "The customer takes no writes until its books verify again; keep what has to be booked.",
    ),
    RefusalReason.RATE_CARD_NOT_FOUND: Wording(StatusCode.NOT_FOUND, "There is no such rate card in force."),
    RefusalReason.PLAN_NOT_FOUND: Wording(StatusCode.NOT_FOUND, "There is no such plan."),
    RefusalReason.PLAN_OVERRIDES_UNREADABLE: Wording(
        StatusCode.FAILED_PRECONDITION,
        "This server is of a version that cannot read the customer's own fields of its plan.",
    ),
    RefusalReason.RATE_VERSION_NOT_FOUND: Wording(
        StatusCode.NOT_FOUND, "There is no such version of the card, of the cost book or of the plans."
    ),
    RefusalReason.RATE_REVISION_TAKEN: Wording(
        StatusCode.ALREADY_EXISTS, "This revision is published with other content; write a higher one."
    ),
    RefusalReason.RATE_REVISION_PASSED: Wording(
        StatusCode.FAILED_PRECONDITION, "A higher revision is published; write one above it."
    ),
    RefusalReason.MARGIN_BELOW_FLOOR: Wording(
        StatusCode.FAILED_PRECONDITION,
        "The card's simulated margin is under its margin_floor; it is published only if that is forced.",
    ),
    RefusalReason.PLANS_IN_USE: Wording(
        StatusCode.FAILED_PRECONDITION,
        "Customers would be left without their plan, card or own terms; it is published only if forced.",
    ),
    RefusalReason.KEY_NOT_FOUND: Wording(StatusCode.NOT_FOUND, "There is no such key."),
    RefusalReason.KEY_ENDED: Wording(
        StatusCode.FAILED_PRECONDITION, "The key was revoked, has expired, or was rotated before."
    ),
    RefusalReason.WEBHOOK_NOT_FOUND: Wording(StatusCode.NOT_FOUND, "There is no such endpoint of webhooks."),
    RefusalReason.TOO_MANY_WEBHOOKS: Wording(
        StatusCode.FAILED_PRECONDITION, "There are as many endpoints of webhooks as may be; delete one."
    ),
    RefusalReason.RESERVATION_NOT_FOUND: Wording(
        StatusCode.NOT_FOUND, "The customer has no such reservation."
    ),
    RefusalReason.CHARGE_NOT_FOUND: Wording(StatusCode.NOT_FOUND, "The customer has no such charge."),
    RefusalReason.GRANT_NOT_FOUND: Wording(StatusCode.NOT_FOUND, "The customer has no such grant."),
    RefusalReason.RESERVATION_CLOSED: Wording(
        StatusCode.FAILED_PRECONDITION, "The reservation was released, reversed or finally committed."
    ),
    RefusalReason.RESERVATION_EXPIRED: Wording(
        StatusCode.FAILED_PRECONDITION, "The reservation has expired; only commits are still taken."
    ),
    RefusalReason.RESERVATION_OPEN: Wording(
        StatusCode.FAILED_PRECONDITION,
        "The reservation is still open; commit its last part or release it first.",
    ),
    RefusalReason.CHARGE_NOT_REVERSIBLE: Wording(
        StatusCode.FAILED_PRECONDITION,
        "The charge was reversed before, or is a part of a reservation, which is reversed whole.",
    ),
    RefusalReason.REVERSAL_TOO_LARGE: Wording(
        StatusCode.FAILED_PRECONDITION,
        "The reservation has booked more lines than one reversal undoes; refund its charges one by one.",
    ),
    RefusalReason.REVERSAL_NOT_EXACT: Wording(
        StatusCode.FAILED_PRECONDITION,
        "What others of the period would cost without the charge is not known exactly any more; refund it.",
    ),
    RefusalReason.REFUND_EXCEEDS_CHARGE: Wording(
        StatusCode.FAILED_PRECONDITION,
        "The refund is more than refunds and reversals have left of what the charge collected.",
    ),
    RefusalReason.TOO_MANY_REFUNDS: Wording(
        StatusCode.FAILED_PRECONDITION,
        "The charge takes no more refunds of a part; one without an amount gives back all that is left.",
    ),
    RefusalReason.GRANT_CLOSED: Wording(
        StatusCode.FAILED_PRECONDITION,
        "The grant has expired, was voided, or has nothing left that could be taken back.",
    ),
    RefusalReason.GRANT_NOT_PENDING_PAYMENT: Wording(
        StatusCode.FAILED_PRECONDITION,
        "The grant is not pending payment: there is none to confirm or to give up.",
    ),
    RefusalReason.GRANT_NOT_DISPUTED: Wording(
        StatusCode.FAILED_PRECONDITION, "The grant is not disputed: there is nothing to resolve."
    ),
    RefusalReason.REFUND_EXCEEDS_GRANT: Wording(
        StatusCode.FAILED_PRECONDITION,
        "The refund is more than nobody holds of the grant, or more than is left of what was paid for it.",
    ),
    RefusalReason.WRITE_OFF_EXCEEDS_CLAIM: Wording(
        StatusCode.FAILED_PRECONDITION, "More is to be written off than is owed."
    ),
    RefusalReason.TOO_MANY_GRANTS: Wording(
        StatusCode.FAILED_PRECONDITION,
        "The customer has credits left of as many grants as it may have at a time.",
    ),
    RefusalReason.NOT_ENTITLED: Wording(
        StatusCode.FAILED_PRECONDITION, "The customer's plan or rate card does not allow this usage."
    ),
    RefusalReason.UNPRICED_USAGE: Wording(StatusCode.FAILED_PRECONDITION, "The usage cannot be priced."),
    RefusalReason.BUDGET_EXCEEDED: Wording(
        StatusCode.FAILED_PRECONDITION, "A budget leaves fewer credits in its window than this needs."
    ),
    RefusalReason.OVER_CAPTURE: Wording(
        StatusCode.FAILED_PRECONDITION, "The commit is above the hold, and the customer's plan rejects that."
    ),
    RefusalReason.INSUFFICIENT_CREDITS: Wording(
        StatusCode.FAILED_PRECONDITION, "The customer has fewer credits available than this needs."
    ),
}
"""Every reason for which a command has no effect."""

_OF_A_SUBJECT: Final = frozenset(
    {
        RefusalReason.RESERVATION_NOT_FOUND,
        RefusalReason.RESERVATION_CLOSED,
        RefusalReason.RESERVATION_EXPIRED,
        RefusalReason.RESERVATION_OPEN,
        RefusalReason.CHARGE_NOT_FOUND,
        RefusalReason.GRANT_NOT_FOUND,
        RefusalReason.GRANT_CLOSED,
        RefusalReason.GRANT_NOT_PENDING_PAYMENT,
        RefusalReason.GRANT_NOT_DISPUTED,
        RefusalReason.REFUND_EXCEEDS_GRANT,
        RefusalReason.WRITE_OFF_EXCEEDS_CLAIM,
        RefusalReason.CHARGE_NOT_REVERSIBLE,
        RefusalReason.REVERSAL_TOO_LARGE,
        RefusalReason.REVERSAL_NOT_EXACT,
        RefusalReason.REFUND_EXCEEDS_CHARGE,
        RefusalReason.TOO_MANY_REFUNDS,
        RefusalReason.OVER_CAPTURE,
    }
)
"""Reasons that are about the reservation, the charge or the grant that a request names."""

_CODES: Final = {code.value[0]: code for code in StatusCode}


class StatusError(RequestError):
    """A request that ends with a status."""

    def __init__(self, status: Status) -> None:
        self.status = status
        super().__init__(status.message)


def code_of(status: Status) -> StatusCode:
    """The gRPC code of a status."""
    return _CODES[status.code]


def refusal_status(refusal: Refusal, subject: tuple[str, str] | None = None) -> Status:
    """How a refusal is reported; its variables are the `ErrorInfo`'s metadata.

    `subject` is the field by which the request names a reservation, a charge or a grant, and the id as it is
    written there: a refusal that is about that thing says which.
    """
    wording = TABLE[refusal.reason]
    detail = dict(refusal.detail)
    if subject is not None and refusal.reason in _OF_A_SUBJECT:
        detail = dict([subject]) | detail
    if refusal.reason is RefusalReason.UNPRICED_USAGE and detail.get("kind") == "tokens":
        name = detail["name"]
        detail |= {} if "/" in name else {"expected": expected_form(name)}
    if refusal.reason is RefusalReason.INVALID_ARGUMENT:
        return invalid([(detail.get("field", ""), detail.get("description", ""))])
    variables = ", ".join(f"{name}: {value}" for name, value in detail.items() if value)
    message = f"{wording.message[:-1]} ({variables})." if variables else wording.message
    return _status(wording.code, message, refusal.reason, detail)


def refused(reason: RefusalReason, **detail: str) -> StatusError:
    """The error of a read, or of a check before a write, that ends in a refusal."""
    return StatusError(refusal_status(Refusal(reason, detail)))


def invalid(violations: Sequence[tuple[str, str]]) -> Status:
    """The status of bad fields, as (field, description): the first of them, and how many more there are."""
    found: list[BadRequest.FieldViolation] = []
    room = limits.VIOLATIONS_BYTES_MAX
    for path, text in violations[: limits.VIOLATIONS_MAX]:
        violation = BadRequest.FieldViolation(field=path, description=_cut(text))
        room -= violation.ByteSize()
        if found and room < 0:
            break
        found.append(violation)
    wording = TABLE[RefusalReason.INVALID_ARGUMENT]
    more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    return _status(
        wording.code,
        f"{wording.message} {found[0].field}: {found[0].description}{more}",
        RefusalReason.INVALID_ARGUMENT,
        {},
        BadRequest(field_violations=found),
    )


def _cut(text: str) -> str:
    encoded = text.encode()
    if len(encoded) <= limits.VIOLATION_BYTES_MAX:
        return text
    return encoded[: limits.VIOLATION_BYTES_MAX].decode(errors="ignore") + "…"


def some_of(names: Iterable[str]) -> str:
    """What there is, for whoever asked for what there is not."""
    ordered = sorted(names)
    more = ["…"] if len(ordered) > limits.NAMES_TOLD_MAX else []
    return ", ".join([*ordered[: limits.NAMES_TOLD_MAX], *more])


def overloaded_status(limit: str, bound: float) -> Status:
    """Nothing was written; ask again after the delay."""
    message = "Too many requests are waiting; nothing was written. Retry after the delay."
    return _exhausted_status(OVERLOADED, message, limit, bound, _some_time())


def _key_limit_status(error: KeyLimitError) -> Status:
    message = f"This key may have {_OF_KEY[error.limit]}: {error.bound}. Retry after the delay."
    delay = _some_time() if error.retry_seconds is None else error.retry_seconds
    return _exhausted_status(KEY_LIMIT, message, error.limit, error.bound, delay)


def _exhausted_status(reason: str, message: str, limit: str, bound: float, delay_seconds: float) -> Status:
    """Which limit it is, what it is, and when to come back."""
    delay = RetryInfo(retry_delay=Duration(nanos=0))
    delay.retry_delay.FromMilliseconds(ceil(delay_seconds * 1_000))
    metadata = {"limit": limit, "allowed": f"{bound:g}"}
    return _status(StatusCode.RESOURCE_EXHAUSTED, message, reason, metadata, delay)


def _some_time() -> float:
    return RETRY_SECONDS * (1 + random())  # noqa: S311 -- spreads callers, hides nothing


def trailing_metadata(status: Status) -> tuple[tuple[str, str | bytes], ...]:
    """What a call that ends with a status carries: the status, and when to come back if it says so."""
    details = (METADATA_KEY, status.SerializeToString())
    delay = RetryInfo()
    if any(detail.Unpack(delay) for detail in status.details):
        return details, (PUSHBACK_KEY, str(delay.retry_delay.ToMilliseconds()))
    return (details,)


def unavailable_status(message: str = _AWAY_OR_UNKNOWN) -> Status:
    """There is no answer now: by default, the database is away or the outcome of the write is unknown."""
    return _status(StatusCode.UNAVAILABLE, message, UNAVAILABLE, {})


def unauthenticated_status() -> Status:
    """No key, or none that may be used: which of these it is, is not said."""
    return _status(StatusCode.UNAUTHENTICATED, _NO_KEY, UNAUTHENTICATED, {})


def scope_required_status(scope: str) -> Status:
    """The key is known, and may not do this."""
    message = f"The key lacks the scope that this needs (scope: {scope})."
    return _status(StatusCode.PERMISSION_DENIED, message, SCOPE_REQUIRED, {"scope": scope})


def internal_status(error_id: str) -> Status:
    """A fault of the service: an id that the log has, and nothing else."""
    return _status(StatusCode.INTERNAL, f"Internal error {error_id}.", INTERNAL, {"error_id": error_id})


def _status(
    code: StatusCode, message: str, reason: str, metadata: Mapping[str, str], *details: Message
) -> Status:
    info = ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata)
    packed = []
    for detail in (info, *details):
        any_message = AnyMessage()
        any_message.Pack(detail)
        packed.append(any_message)
    return Status(code=code.value[0], message=message, details=packed)


def status_of(error: Exception, where: str) -> Status:
    """What a caller reads of an exception. A fault goes to the log, under an id that the caller gets."""
    known = _known_status(error)
    if known is not None:
        return known
    if is_away(error):
        _log.warning("database.away", where=where, error=repr(error))
        return unavailable_status()
    error_id = token_hex(8)
    _log.error("rpc.fault", where=where, error_id=error_id, exc_info=error)
    return internal_status(error_id)


def _known_status(error: Exception) -> Status | None:
    match error:
        case StatusError():
            return error.status
        case InvalidArgumentError():
            return invalid(error.violations)
        case CustomerNotFoundError():
            detail = {"customer_id": error.customer_id}
            return refusal_status(Refusal(RefusalReason.CUSTOMER_NOT_FOUND, detail))
        case UnavailableError() | BooksBehindError():
            return unavailable_status(_BEHIND if isinstance(error, BooksBehindError) else _AWAY_OR_UNKNOWN)
        case _:
            return _status_of_limit(error)


def _status_of_limit(error: Exception) -> Status | None:
    """What whoever asks for too much reads."""
    match error:
        case OverloadedError():
            return overloaded_status(error.limit, error.bound)
        case TooManyReportsError():
            return overloaded_status("reports", error.bound)
        case KeyLimitError():
            return _key_limit_status(error)
        case _:
            return _status_at_door(error)


def _status_at_door(error: Exception) -> Status | None:
    """What whoever is not let in reads."""
    match error:
        case UnauthenticatedError():
            return unauthenticated_status()
        case ScopeRequiredError():
            return scope_required_status(error.scope)
        case KeysOutdatedError():
            return unavailable_status(_KEYS_OUTDATED)
        case _:
            return None


def is_away(error: Exception) -> bool:
    """Whether the database could not be reached, or ended the session: no fault of the request's."""
    return isinstance(error, _AWAY) and not isinstance(error, asyncpg.DataError | asyncpg.InternalClientError)
