"""How fast what is due by the clock is written, for customers whom no command wakes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import monotonic

from tests.benchmarks.postgres import CELL, Books, connected
from tests.benchmarks.stage import service

_LOOK_SECONDS = 0.1
_EXPIRE = f"UPDATE {CELL}.lots SET expires_at = now() WHERE expires_at IS NOT NULL"
_DUE = f"UPDATE {CELL}.wallets SET next_due_at = now()"
_LEFT = f"SELECT EXISTS (SELECT FROM {CELL}.wallets WHERE next_due_at <= now())"


async def grants_per_second(books: Books, log: Path) -> float:
    """One grant of each customer expires at the same instant: how many of them a server writes a second."""
    async with service(books.environment, log), connected(books.owner) as owner:
        async with owner.transaction():
            await owner.execute(_EXPIRE)
            await owner.execute(_DUE)
        began = monotonic()
        while await owner.fetchval(_LEFT):  # noqa: ASYNC110 -- nothing here is told of it
            await asyncio.sleep(_LOOK_SECONDS)
        return books.customers / (monotonic() - began)
