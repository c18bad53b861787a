"""Which calls are sent again, and when."""

from __future__ import annotations

import json
from importlib.resources import files

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.client import retries
from ledger.client.errors import (
    CreditsError,
    InsufficientCredits,
    TlsFailed,
    Unavailable,
    error_of_status,
)
from ledger.client.retries import AGAIN, FACTOR, FIRST_SECONDS, LONGEST_SECONDS, wait_seconds

ATTEMPTS = st.integers(1, 10_000)
DRAWN = st.floats(0, 1, exclude_max=True)
LEFT = st.floats(-10, 1_000)
CODES = sorted(grpc.StatusCode, key=lambda code: code.value[0])


def unavailable(
    asked: float | None = None, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
) -> CreditsError:
    return Unavailable("away", code=code, retry_after_seconds=asked)


@given(ATTEMPTS, DRAWN, LEFT)
def test_delays_are_jittered_bounded_and_end_before_the_deadline(
    attempt: int, drawn: float, left: float
) -> None:
    """Anything from nothing to a bound that grows by a factor up to the longest; never past the deadline."""
    wait = wait_seconds(unavailable(), attempt, left, lambda: drawn)
    bound = min(LONGEST_SECONDS, FIRST_SECONDS * FACTOR ** min(attempt - 1, 20))
    if wait is None:
        assert drawn * bound >= left
    else:
        assert 0 <= wait <= bound
        assert wait < left


@given(ATTEMPTS, DRAWN, LEFT, st.floats(0, 100), st.sampled_from(sorted(AGAIN, key=str)))
def test_a_server_is_left_alone_for_as_long_as_it_asks(
    attempt: int, drawn: float, left: float, asked: float, code: grpc.StatusCode
) -> None:
    """The delay that came with the answer is waited, whatever the attempt; or none is made."""
    wait = wait_seconds(unavailable(asked, code), attempt, left, lambda: drawn)
    assert wait == (asked if asked < left else None)


@pytest.mark.parametrize("code", CODES)
def test_what_may_be_repeated(code: grpc.StatusCode) -> None:
    """UNAVAILABLE and gRPC's own CANCELLED; RESOURCE_EXHAUSTED only as the server says when."""
    blind = wait_seconds(unavailable(None, code), 1, 60, lambda: 0.5) is not None
    assert blind == (code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})
    told = wait_seconds(unavailable(1.0, code), 1, 60, lambda: 0.5) is not None
    assert told == (code in AGAIN)


@pytest.mark.parametrize("refused", [InsufficientCredits, TlsFailed])
def test_refusals_are_final(refused: type[CreditsError]) -> None:
    """What has no effect has none the second time, whatever code it came under."""
    assert wait_seconds(refused("no", code=grpc.StatusCode.UNAVAILABLE), 1, 60) is None


def test_grpc_s_own_retries_are_the_same() -> None:
    """The service config for plain stubs says what the client does, and covers both public services."""
    config = json.loads(files(retries.__package__).joinpath("service_config.json").read_text())
    (method,) = config["methodConfig"]
    assert [name["service"] for name in method["name"]] == [
        "ledger.v1.CreditService",
        "ledger.v1.WalletService",
    ]
    policy = method["retryPolicy"]
    assert {grpc.StatusCode[name] for name in policy["retryableStatusCodes"]} == AGAIN
    assert policy["initialBackoff"] == f"{FIRST_SECONDS:g}s"
    assert policy["maxBackoff"] == f"{LONGEST_SECONDS:g}s"
    assert policy["backoffMultiplier"] == FACTOR


def test_the_delay_of_an_overloaded_server_is_read() -> None:
    """As the server writes it, in milliseconds at least."""
    from ledger.api.errors import overloaded_status  # noqa: PLC0415 -- of the other side

    error = error_of_status(overloaded_status("commands", 10))
    assert error.retry_after_seconds is not None
    assert wait_seconds(error, 1, 60) == error.retry_after_seconds >= 1
