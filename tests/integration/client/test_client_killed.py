"""Killed at every step: what was added is charged, and nothing twice."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest
from client_world import PATIENT_SECONDS, Shop, charged_searches, files_in
from dying_client import JOURNAL, NOTES

from ledger.client import Credits
from tests.serving import REPOSITORY

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]

SCRIPT = Path(__file__).with_name("dying_client.py")
LIVES = 200
GRANTED = 1_000_000
A_SEARCH = Decimal("0.01")


def expected(notes: str) -> dict[str, list[int]]:
    """What each customer is to be charged: all that was added, and what was stored when its process ended."""
    added: dict[str, list[int]] = {}
    adding: tuple[str, int] | None = None
    for line in notes.splitlines():
        verb, *rest = line.split()
        if verb == "adds":
            adding = rest[0], int(rest[1])
        elif adding is not None and (verb == "added" or line == "killed after append"):
            added.setdefault(adding[0], []).append(adding[1])
            adding = None
        else:
            adding = None
    return added


async def test_killed_at_each_of_its_steps(shop: Shop, tmp_path: Path) -> None:
    """A process that dies a step later each time, within a write too, in sessions and in recovery."""
    customers = [await shop.new_customer(credits=GRANTED) for _ in range(8)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(SCRIPT),
        shop.target,
        str(tmp_path),
        str(LIVES),
        *customers,
        cwd=REPOSITORY,
        env={"PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "error"},
    )
    assert await process.wait() == 0
    notes = (tmp_path / NOTES).read_text(encoding="utf-8")
    assert notes.count("killed") == LIVES
    async with Credits(shop.target, timeout_seconds=PATIENT_SECONDS, journal=tmp_path / JOURNAL) as credits:
        await credits.recover()
        for customer, quantities in expected(notes).items():
            assert Counter(await charged_searches(shop.target, customer)) == Counter(quantities)
            balance = await credits.balance(customer)
            assert balance.available + balance.held == GRANTED - A_SEARCH * sum(quantities)
    assert files_in(tmp_path / JOURNAL) == []
