"""Long work in turns: the loop that serves all calls is not to be held by one of them."""

from __future__ import annotations

import asyncio
from typing import Final

ITEMS_AT_ONCE: Final = 50
"""Of a batch: some milliseconds. With fewer, calls that come at the same time get in each other's way."""


async def turn_after(number: int) -> None:
    """Called after each item, counted from 1: whatever else is ready has its turn after every so many."""
    if number % ITEMS_AT_ONCE == 0:
        await asyncio.sleep(0)
