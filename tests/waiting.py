"""Waiting for what comes without a word."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

PAUSE_SECONDS: Final = 0.05
"""Between two questions: what is waited for needs the processors too."""


async def until(holds: Callable[[], Awaitable[object]]) -> None:
    """Asks again and again, until the answer is true; the test's own limit ends what never comes."""
    while not await holds():  # noqa: ASYNC110 -- nothing here is told of it
        await asyncio.sleep(PAUSE_SECONDS)
