"""Which calls are sent again, and when: always the same request under the same request id.

What AIP-194 allows: UNAVAILABLE, gRPC's own CANCELLED (the server had not come to the call), and overload,
after the delay that the server asks for. Delays grow exponentially, each of them random from nothing to that
("full jitter"), so that callers who failed together do not come back together. Nothing is begun after the
deadline.

`service_config.json` beside this module says the same to gRPC's own retries, for callers with plain stubs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from random import random
from typing import Final, TypeVar

import grpc

from ledger.client.errors import CreditsError, DeadlineExceeded, Refused

AGAIN: Final = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.RESOURCE_EXHAUSTED}
)
"""Codes of what may succeed later. RESOURCE_EXHAUSTED only with a delay: it is said of large messages too."""
FIRST_SECONDS: Final = 0.1
"""The most before the second attempt; it doubles with each."""
FACTOR: Final = 2
LONGEST_SECONDS: Final = 1.0
"""A server that was restarted is back in seconds: nobody is to wait for much longer than it takes."""

Answer = TypeVar("Answer")
Draw = Callable[[], float]
"""A number from 0 to below 1."""


def wait_seconds(error: CreditsError, attempt: int, seconds_left: float, draw: Draw = random) -> float | None:
    """How long to wait before another attempt after the failed one of this number, from 1; None: no more.

    A server that asks to be left alone is: never less than it asked for.
    """
    if error.code not in AGAIN or isinstance(error, Refused):
        return None
    asked = error.retry_after_seconds
    if asked is None and error.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return None
    # The exponent is bounded: 2 to the thousandth is no float.
    bound = min(LONGEST_SECONDS, FIRST_SECONDS * FACTOR ** min(attempt - 1, 30))
    wait = draw() * bound if asked is None else asked
    return wait if wait < seconds_left else None


async def with_retries(
    attempt: Callable[[], Awaitable[Answer]], deadline: float, may_go_on: Callable[[], bool] = lambda: True
) -> Answer:
    """What an attempt answers, made again while it may succeed before the deadline, by the loop's clock.

    Raises the CreditsError of the last attempt; of the one before where the deadline ended the last, for that
    says why it was made.
    """
    before: CreditsError | None = None
    for number in count(1):
        try:
            return await attempt()
        except DeadlineExceeded as error:
            raise before or error from None
        except CreditsError as error:
            now = asyncio.get_running_loop().time()
            wait = wait_seconds(error, number, deadline - now)
            if wait is None or not may_go_on():
                raise
            before = error
        await asyncio.sleep(wait)
        if not may_go_on():
            raise before
    raise AssertionError("attempts have no end but their deadline")
