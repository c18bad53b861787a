"""A client belongs to the event loop that opened it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ledger.client import ClientClosed, Credits

CALLS: dict[str, Callable[[Credits], Awaitable[Any]]] = {
    "a read": lambda credits: credits.balance("acme"),
    "a write": lambda credits: credits.charge("acme", amount=1),
    "a charge that may wait": lambda credits: credits.charge(
        "acme", amount=1, already_used=True, on_outage="allow"
    ),
    "a session": lambda credits: credits.session("acme", estimate=1).__aenter__(),
    "a watch": lambda credits: anext(aiter(credits.watch_balance("acme"))),
    "opened again": lambda credits: credits.open(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_another_loop_is_told_at_once(call: Callable[[Credits], Awaitable[Any]], tmp_path: Path) -> None:
    """As where each task of a program has an asyncio.run of its own; nothing of the call is stored."""
    credits = Credits("127.0.0.1:1", journal=tmp_path)

    async def called() -> None:
        with pytest.raises(ClientClosed, match=r"opened in another event loop.*or a SyncCredits"):
            await call(credits)

    with asyncio.Runner() as own:
        own.run(credits.open())
        asyncio.run(called())
        own.run(credits.close())
    assert list(tmp_path.iterdir()) == []


def test_a_client_that_is_closed_opens_in_another_loop() -> None:
    """One for the program, opened and closed by each task, works."""
    credits = Credits("127.0.0.1:1")
    for _ in range(2):
        asyncio.run(_opened_and_closed(credits))


async def _opened_and_closed(credits: Credits) -> None:
    async with credits:
        pass
