"""One attempt of a recorded write, and what it came to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
from google.rpc.error_details_pb2 import ErrorInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from ledger.v1.credit_service_pb2 import BatchItem, BatchRequest
from tests.faults.journal import Answered, Journal, Outcome, Record, Refused, Unknown
from tests.stubs import Stubs

CALL_SECONDS = 20.0
"""Longer than a server retries inside."""
DETAILS_KEY = "grpc-status-details-bin"
BATCH_FIELDS = {
    "Reserve": "reserve",
    "ExtendReservation": "extend",
    "CommitReservation": "commit",
    "ReleaseReservation": "release",
    "Charge": "charge",
    "ReverseCharge": "reverse",
    "Refund": "refund",
}
_ADMIN = ("CreateCustomer", "IssueGrant")
UNANSWERED = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
    }
)
"""Whoever is answered so sends the same again."""
_UNKNOWN_NUMBERS = {code.value[0]: code for code in UNANSWERED}


async def attempt(
    ledger: Stubs, journal: Journal, record: Record, timeout_seconds: float = CALL_SECONDS
) -> Outcome:
    """Sends a write once, and enters what it came to; a cancelled one is entered as unknown."""
    services: Any = ledger.admin if record.method in _ADMIN else ledger.credits
    outcome: Outcome = Unknown("CANCELLED", "the caller went away")
    try:
        reply = await getattr(services, record.method)(record.request, timeout=timeout_seconds)
        outcome = Answered(reply)
    except grpc.aio.AioRpcError as error:
        outcome = _outcome_of_error(error)
    finally:
        journal.note(record, outcome)
    return outcome


async def attempt_batch(
    ledger: Stubs, journal: Journal, records: Sequence[Record], timeout_seconds: float = CALL_SECONDS
) -> None:
    """Sends writes in one call, and enters what each came to."""
    items = [BatchItem(**{BATCH_FIELDS[record.method]: record.request}) for record in records]
    outcomes: Sequence[Outcome] = [Unknown("CANCELLED", "the caller went away")] * len(records)
    try:
        answer = await ledger.credits.Batch(BatchRequest(items=items), timeout=timeout_seconds)
        outcomes = [
            _outcome_of_status(result.error)
            if result.HasField("error")
            else Answered(getattr(result, BATCH_FIELDS[record.method]))
            for record, result in zip(records, answer.results, strict=True)
        ]
    except grpc.aio.AioRpcError as error:
        failed = _outcome_of_error(error)
        # What refuses a whole call has carried out none of it, but an earlier attempt may have.
        outcomes = [failed] * len(records)
    finally:
        for record, outcome in zip(records, outcomes, strict=True):
            journal.note(record, outcome)


async def attempt_and_forget(ledger: Stubs, journal: Journal, record: Record) -> None:
    """`attempt` for a task that may be cancelled, which is then no error."""
    try:
        await attempt(ledger, journal, record)
    except asyncio.CancelledError:
        return


def _outcome_of_error(error: grpc.aio.AioRpcError) -> Outcome:
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            return _outcome_of_status(Status.FromString(value))
    if error.code() in UNANSWERED:
        return Unknown(error.code().name, error.details() or "")
    return Refused(error.code().name)


def _outcome_of_status(status: Status) -> Outcome:
    info = ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            break
    if status.code in _UNKNOWN_NUMBERS:
        return Unknown(_UNKNOWN_NUMBERS[status.code].name, status.message, info.metadata.get("error_id"))
    return Refused(info.reason)
