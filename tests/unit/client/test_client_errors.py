"""What the server reports, and the class that a caller catches."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import grpc
import pytest
from google.rpc.status_pb2 import Status

from ledger.api import errors as server
from ledger.books.model.refusals import Refusal, RefusalReason
from ledger.client import errors
from ledger.client.errors import CreditsError, InternalFault, Refused, Unavailable
from ledger.client.statuses import OF_REASON, error_of_status

BACK_OFFICE = {
    RefusalReason.CUSTOMER_EXISTS,
    RefusalReason.GRANT_CLOSED,
    RefusalReason.GRANT_NOT_FOUND,
    RefusalReason.GRANT_NOT_PENDING_PAYMENT,
    RefusalReason.KEY_ENDED,
    RefusalReason.WEBHOOK_NOT_FOUND,
    RefusalReason.TOO_MANY_WEBHOOKS,
    RefusalReason.KEY_NOT_FOUND,
    RefusalReason.MARGIN_BELOW_FLOOR,
    RefusalReason.PLANS_IN_USE,
    RefusalReason.RATE_REVISION_PASSED,
    RefusalReason.RATE_REVISION_TAKEN,
    RefusalReason.RATE_VERSION_NOT_FOUND,
    RefusalReason.GRANT_NOT_DISPUTED,
    RefusalReason.REFUND_EXCEEDS_GRANT,
    RefusalReason.WRITE_OFF_EXCEEDS_CLAIM,
}
"""What only the back office's methods answer."""
OTHERS = {
    server.INTERNAL,
    server.KEY_LIMIT,
    server.OVERLOADED,
    server.SCOPE_REQUIRED,
    server.UNAUTHENTICATED,
    server.UNAVAILABLE,
}
"""Reasons that are no refusal of the books."""
OWN = {"DEADLINE_EXCEEDED", "TLS_FAILED"}
"""What no server says."""
PAGE = Path(__file__).parents[3] / "docs" / "api.md"


def test_every_reason_of_the_public_api_has_a_class() -> None:
    """None is forgotten, and none is there that nobody answers."""
    public = {str(reason) for reason in server.TABLE if reason not in BACK_OFFICE}
    assert set(OF_REASON) == public | OTHERS | OWN


@pytest.mark.parametrize("reason", sorted(set(server.TABLE) - BACK_OFFICE))
def test_a_refusal_is_its_class(reason: RefusalReason) -> None:
    """With the server's code, message and variables."""
    detail = {"description": "wrong", "field": "amount"} if reason == "INVALID_ARGUMENT" else {"a": "b"}
    status = server.refusal_status(Refusal(reason, detail))
    error = error_of_status(status)
    assert type(error) is OF_REASON[str(reason)]
    assert isinstance(error, Refused)
    assert (error.code.value[0], error.message, error.reason) == (status.code, status.message, str(reason))
    assert error.fields == ((("amount", "wrong"),) if reason == "INVALID_ARGUMENT" else ())


def test_variables_are_attributes_of_their_type() -> None:
    """Credits exact, in both units; what a server did not send is reported so, and is no silent zero."""
    detail = {"available_micros": "1", "required_micros": "2500001", "short_micros": "2500000"}
    error = error_of_status(server.refusal_status(Refusal(RefusalReason.INSUFFICIENT_CREDITS, detail)))
    assert isinstance(error, errors.InsufficientCredits)
    assert (error.short_micros, error.short, error.available) == (2_500_000, Decimal("2.5"), Decimal("1E-6"))
    with pytest.raises(AttributeError, match="INSUFFICIENT_CREDITS came without short_micros"):
        _ = errors.InsufficientCredits("short").short_micros


@pytest.mark.parametrize("reason", sorted(set(OF_REASON) - OWN))
def test_attributes_are_the_variables_that_are_documented(reason: str) -> None:
    """Each is named in the row of its reason."""
    row = re.search(rf"^\| `{reason}` \|.*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert row is not None
    said = set(re.findall(r"`([a-z_]+)`", row.group()))
    for found in vars(OF_REASON[reason]).values():
        if isinstance(found, errors.Variable):
            assert found.name in said


def test_a_reason_of_a_newer_server_is_a_refusal() -> None:
    """It says which by its reason: a client is older than what it talks to."""
    status = server.refusal_status(Refusal(RefusalReason.KEY_ENDED, {"key_id": "k"}))
    error = error_of_status(status)
    assert type(error) is Refused
    assert (error.reason, dict(error.metadata)) == ("KEY_ENDED", {"key_id": "k"})


@pytest.mark.parametrize(
    ("code", "family"),
    [
        (grpc.StatusCode.UNAVAILABLE, Unavailable),
        (grpc.StatusCode.CANCELLED, Unavailable),
        (grpc.StatusCode.INTERNAL, InternalFault),
        (grpc.StatusCode.UNIMPLEMENTED, Refused),
    ],
)
def test_what_comes_without_a_reason_goes_by_its_code(
    code: grpc.StatusCode, family: type[CreditsError]
) -> None:
    """A proxy on the way may have answered, or gRPC itself."""
    assert type(error_of_status(Status(code=code.value[0], message="by a proxy"))) is family


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (errors.ClientClosed("the client is closed"), "the client is closed"),
        (CreditsError("the call failed"), "the call failed"),
        (error_of_status(Status(code=12, message="not here")), "UNIMPLEMENTED: not here"),
        (error_of_status(Status(code=1, message="gone")), "CANCELLED: gone"),
        (error_of_status(Status(code=2, message="strange")), "UNKNOWN: strange"),
        (error_of_status(Status(code=13, message="broken")), "INTERNAL: broken"),
    ],
)
def test_the_text_begins_with_what_was_reported(error: CreditsError, text: str) -> None:
    """The reason, or the name of the status without one; where nobody reported anything, with neither."""
    assert str(error) == text
    assert error.code.name == (error.reason or "UNKNOWN")
