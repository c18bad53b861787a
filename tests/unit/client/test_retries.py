"""Which calls are sent again, and when."""

from __future__ import annotations

import asyncio
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.client import retries
from ledger.client.errors import CreditsError, DeadlineExceeded, InsufficientCredits, TlsFailed, Unavailable
from ledger.client.retries import AGAIN, FACTOR, FIRST_SECONDS, LONGEST_SECONDS, wait_seconds, with_retries
from ledger.client.statuses import error_of_status

ATTEMPTS = st.integers(1, 10_000)
DRAWN = st.floats(0, 1, exclude_max=True)
LEFT = st.floats(-10, 1_000)
PAGE = Path(__file__).parents[3] / "docs" / "api.md"
CODES = sorted(grpc.StatusCode, key=lambda code: code.value[0])


def _service_config() -> Any:
    return json.loads(files(retries.__package__).joinpath("service_config.json").read_text(encoding="utf-8"))


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
    (method,) = _service_config()["methodConfig"]
    assert [name["service"] for name in method["name"]] == [
        "ledger.v1.CreditService",
        "ledger.v1.WalletService",
    ]
    policy = method["retryPolicy"]
    assert {grpc.StatusCode[name] for name in policy["retryableStatusCodes"]} == AGAIN
    assert policy["initialBackoff"] == f"{FIRST_SECONDS:g}s"
    assert policy["maxBackoff"] == f"{LONGEST_SECONDS:g}s"
    assert policy["backoffMultiplier"] == FACTOR


def test_the_page_has_the_same_policy() -> None:
    """What a reader of the API copies is what the package has."""
    found = re.search(
        r"^```json service config\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert found is not None
    (on_page,), (own,) = json.loads(found[1])["methodConfig"], _service_config()["methodConfig"]
    assert on_page["retryPolicy"] == own["retryPolicy"]


async def test_grpc_takes_the_config() -> None:
    """A call by a plain stub is made again until it is answered: the server was away twice."""
    server, calls = grpc.aio.server(), 0

    async def answer(_: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        nonlocal calls
        calls += 1
        if calls < 3:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        return b""

    method = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("ledger.v1.WalletService", {"GetBalance": method}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    options = [("grpc.service_config", json.dumps(_service_config()))]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        assert await channel.unary_unary("/ledger.v1.WalletService/GetBalance")(b"", timeout=60) == b""
    await server.stop(None)
    assert calls == 3


@pytest.mark.parametrize(("goes_on", "attempts"), [([True, False], 1), ([True, True], 2)])
async def test_what_ended_a_call_is_what_its_caller_gets(goes_on: list[bool], attempts: int) -> None:
    """Once a client closes nothing is sent again; a deadline that ends a repeat does not hide its cause."""
    errors, answers = [unavailable(), DeadlineExceeded("late")], iter(goes_on)

    async def attempt() -> None:
        raise errors.pop(0)

    with pytest.raises(Unavailable, match="away"):
        await with_retries(attempt, asyncio.get_running_loop().time() + 60, lambda: next(answers))
    assert len(errors) == 2 - attempts


def test_the_delay_of_an_overloaded_server_is_read() -> None:
    """As the server writes it, in milliseconds at least."""
    from ledger.api.errors import overloaded_status  # noqa: PLC0415 -- of the other side

    error = error_of_status(overloaded_status("commands", 10))
    assert error.retry_after_seconds is not None
    assert wait_seconds(error, 1, 60) == error.retry_after_seconds >= 1
