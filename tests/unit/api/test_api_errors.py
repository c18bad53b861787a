"""Reasons, and how they are reported."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import asyncpg
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc import StatusCode

from ledger.access.allowances import KeyLimitError
from ledger.api import errors
from ledger.api.messages.validation import InvalidArgumentError
from ledger.books.model.refusals import Refusal, RefusalReason
from ledger.engine.command import FaultError, OverloadedError, UnavailableError
from ledger.store.reading.reads import BooksBehindError, CustomerNotFoundError

DOCUMENT = Path(__file__).parents[3] / "docs" / "api.md"


def details(status):
    found = {}
    for packed in status.details:
        for kind in (ErrorInfo, BadRequest, RetryInfo):
            message = kind()
            if isinstance(packed, AnyMessage) and packed.Is(kind.DESCRIPTOR):
                packed.Unpack(message)
                found[kind] = message
    return found


@pytest.mark.parametrize("reason", RefusalReason)
def test_every_reason_is_in_the_table(reason):
    """A refusal is reported by its reason, under a code, with its variables as metadata."""
    status = errors.refusal_status(Refusal(reason, {"available_micros": "5"}))
    info = details(status)[ErrorInfo]
    assert errors.code_of(status) is errors.TABLE[reason].code
    assert (info.reason, info.domain) == (reason, "acu-ledger")
    if reason is not RefusalReason.INVALID_ARGUMENT:
        assert dict(info.metadata) == {"available_micros": "5"}
        assert "available_micros: 5" in status.message


REASONS = ("UNAUTHENTICATED", "SCOPE_REQUIRED", "OVERLOADED", "KEY_LIMIT", "UNAVAILABLE", "INTERNAL")


@pytest.mark.parametrize("reason", [*RefusalReason, *REASONS])
def test_every_reason_is_documented(reason):
    """Whoever gets a reason finds it in docs/api.md, beside its code."""
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith(f"| `{reason}`")]
    assert len(rows) == 1
    codes = {
        "UNAUTHENTICATED": StatusCode.UNAUTHENTICATED,
        "SCOPE_REQUIRED": StatusCode.PERMISSION_DENIED,
        "OVERLOADED": StatusCode.RESOURCE_EXHAUSTED,
        "KEY_LIMIT": StatusCode.RESOURCE_EXHAUSTED,
        "UNAVAILABLE": StatusCode.UNAVAILABLE,
        "INTERNAL": StatusCode.INTERNAL,
    }
    code = codes.get(reason) or errors.TABLE[reason].code
    assert f"| {code.name} |" in rows[0]


@pytest.mark.parametrize("reason", RefusalReason)
@pytest.mark.parametrize("field", ["reservation_id", "charge_id", "grant_id"])
def test_a_refusal_says_what_it_is_about(reason, field):
    """Reasons that are about a reservation, a charge or a grant carry its id, as docs/api.md says."""
    status = errors.refusal_status(Refusal(reason), (field, "the id"))
    info = details(status)[ErrorInfo]
    [row] = [line for line in DOCUMENT.read_text().splitlines() if line.startswith(f"| `{reason}`")]
    about = {named for named in ("reservation_id", "charge_id", "grant_id") if f"`{named}`" in row}
    assert dict(info.metadata) == ({field: "the id"} if about else {})


def test_bad_fields():
    """Bad fields come as BadRequest: each, what is wrong, what is allowed."""
    status = errors.status_of(InvalidArgumentError([("a", "is bad"), ("b", "is worse")]), "here")
    found = details(status)
    assert found[ErrorInfo].reason == "INVALID_ARGUMENT"
    assert [(each.field, each.description) for each in found[BadRequest].field_violations] == [
        ("a", "is bad"),
        ("b", "is worse"),
    ]
    refused = errors.refusal_status(
        Refusal(RefusalReason.INVALID_ARGUMENT, {"field": "ttl", "description": "too long"})
    )
    assert [each.field for each in details(refused)[BadRequest].field_violations] == ["ttl"]


@pytest.mark.parametrize(("wrong", "reported"), [(15, 15), (17, 15), (5_000, 15)])
def test_errors_fit_into_metadata(wrong, reported):
    """An error is trailing metadata, of which clients take 8 KiB: what fits is reported, and the number."""
    path = f'labels.other["{chr(0x1F600) * 63}"]'
    status = errors.invalid([(path, "is " + "x" * 60)] * wrong)
    assert len(details(status)[BadRequest].field_violations) == reported
    assert f"and {wrong - 1} more" in status.message
    assert len(b64encode(status.SerializeToString())) < 8_192


@pytest.mark.parametrize("quoted", ["x" * 10_000, chr(0x1F600) * 5_000])
def test_long_descriptions_fit_into_metadata(quoted):
    """A description that quotes what was sent is cut, and as many are reported as there is room for."""
    status = errors.invalid([("document", f"{quoted} is no name")] * 100)
    reported = details(status)[BadRequest].field_violations
    assert len(reported) == 16
    assert all(
        each.description.endswith("…") and quoted.startswith(each.description[:-1]) for each in reported
    )
    assert len(b64encode(status.SerializeToString())) < 8_192
    status = errors.invalid([(chr(0x1F600) * 63, quoted)] * 100)
    assert 1 < len(details(status)[BadRequest].field_violations) < 16
    assert "and 99 more" in status.message
    assert len(b64encode(status.SerializeToString())) < 8_192


def test_what_there_is_fits_too():
    """Of many plans or cards the first 20 are reported."""
    assert errors.some_of(f"card{n:02}" for n in range(20)).endswith("card19")
    assert errors.some_of(f"card{n:02}" for n in range(21)).endswith("card19, …")


def test_overload_asks_for_a_delay():
    """An overloaded server says which limit it is and when to come back: not the same instant to all."""
    statuses = [errors.status_of(OverloadedError("oldest_seconds", 1.25), "here") for _ in range(50)]
    assert {errors.code_of(status) for status in statuses} == {StatusCode.RESOURCE_EXHAUSTED}
    info = details(statuses[0])[ErrorInfo]
    assert (info.reason, dict(info.metadata)) == (
        "OVERLOADED",
        {"limit": "oldest_seconds", "allowed": "1.25"},
    )
    delays = [details(status)[RetryInfo].retry_delay.ToMilliseconds() for status in statuses]
    assert 1_000 <= min(delays) < max(delays) <= 2_000


def test_a_limit_of_a_key_says_which_and_when():
    """The delay is what the rate leaves, in whole milliseconds, rounded up."""
    status = errors.status_of(KeyLimitError("calls_per_second_of_key", 50, 0.0201), "here")
    info = details(status)[ErrorInfo]
    assert (info.reason, dict(info.metadata)) == (
        "KEY_LIMIT",
        {"limit": "calls_per_second_of_key", "allowed": "50"},
    )
    assert details(status)[RetryInfo].retry_delay.ToMilliseconds() == 21
    assert dict(errors.trailing_metadata(status))["grpc-retry-pushback-ms"] == "21"


def test_only_what_asks_for_a_delay_pushes_back():
    """A refusal that no delay changes has none in its trailing metadata."""
    status = errors.status_of(UnavailableError(), "here")
    assert [key for key, _ in errors.trailing_metadata(status)] == ["grpc-status-details-bin"]


@pytest.mark.parametrize(
    "error",
    [
        UnavailableError(),
        BooksBehindError("cus_9"),
        ConnectionRefusedError(),
        TimeoutError(),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.ConnectionDoesNotExistError(),
        asyncpg.AdminShutdownError(),
        asyncpg.CannotConnectNowError(),
        asyncpg.ObjectNotInPrerequisiteStateError(),
        asyncpg.InvalidCatalogNameError(),
        asyncpg.TooManyConnectionsError(),
        asyncpg.QueryCanceledError(),
    ],
)
def test_a_database_that_is_away_is_worth_a_retry(error):
    """UNAVAILABLE, and only it, is what clients retry by themselves."""
    assert errors.code_of(errors.status_of(error, "here")) is StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    "error", [RuntimeError("secret cost"), FaultError("secret"), asyncpg.DataError("secret")]
)
def test_a_fault_tells_an_id_and_nothing_else(error):
    """What went wrong inside is in the log, under the id that the caller has."""
    status = errors.status_of(error, "here")
    info = details(status)[ErrorInfo]
    assert errors.code_of(status) is StatusCode.INTERNAL
    assert dict(info.metadata).keys() == {"error_id"}
    assert status.message == f"Internal error {info.metadata['error_id']}."
    assert b"secret" not in status.SerializeToString()


def test_unknown_customer_of_a_read():
    """A read of an unknown customer is refused like a write to it."""
    info = details(errors.status_of(CustomerNotFoundError("cus_9"), "here"))[ErrorInfo]
    assert (info.reason, dict(info.metadata)) == ("CUSTOMER_NOT_FOUND", {"customer_id": "cus_9"})
