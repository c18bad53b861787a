"""Killed at every step: what was added is charged, and nothing twice."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest
from client_world import PATIENT_SECONDS, Shop, charged_searches, files_in
from dying_client import JOURNAL, NOTES

from ledger.client import Credits
from tests.faults.servers import Server
from tests.serving import REPOSITORY
from tests.waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]

SCRIPT = Path(__file__).with_name("dying_client.py")
SCRIPT_OF_BOTH = Path(__file__).with_name("dying_pair.py")
LIVES = 200
GRANTED = 1_000_000
A_SEARCH = Decimal("0.01")

AFTER = 1_000_000
"""A step that never comes."""
BOTH = (
    # Policy, the client's last step, the server's, and whether the next life begins while it is away.
    ("allow", 3, 3, False),
    ("refuse", 12, 12, True),
    ("allow", 30, 30, False),
    ("allow", 9, 5, True),
    ("refuse", 27, 24, False),
    ("allow", 60, 40, False),
    ("allow", 100, 41, True),
    ("allow", 4, AFTER, False),
    ("refuse", 21, AFTER, True),
    ("allow", 50, AFTER, False),
)


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


async def all_is_charged_once(target: str, directory: Path) -> None:
    """Recovers what was left; what the notes say was added is then what was charged, and no file is left."""
    notes = (directory / NOTES).read_text(encoding="utf-8")
    async with Credits(target, timeout_seconds=PATIENT_SECONDS, journal=directory / JOURNAL) as credits:

        async def is_complete() -> bool:
            return (await credits.recover()).complete

        await until(is_complete)
        for customer, quantities in expected(notes).items():
            assert Counter(await charged_searches(target, customer)) == Counter(quantities)
            balance = await credits.balance(customer)
            assert balance.available + balance.held == GRANTED - A_SEARCH * sum(quantities)
    assert files_in(directory / JOURNAL) == []


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
    await all_is_charged_once(shop.target, tmp_path)


async def test_both_are_killed(server: Server, tmp_path: Path) -> None:
    """The server at the same step as its client, some steps before it, or after it; then both begin again."""
    shop = Shop(server.public, server.back_office)
    customers = [await shop.new_customer(credits=GRANTED) for _ in range(2)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(SCRIPT_OF_BOTH),
        server.public,
        str(tmp_path),
        cwd=REPOSITORY,
        env={"PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "error"},
        stdin=PIPE,
        stdout=PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    starting = asyncio.create_task(asyncio.sleep(0))
    for life, (policy, last, server_step, is_away) in enumerate(BOTH):
        line = f"{life} {policy} {last} {server.pid} {server_step} {customers[life % 2]}\n"
        process.stdin.write(line.encode())
        assert int(await process.stdout.readline()) == signal.SIGKILL
        await server.kill()
        # It was killed when it served, or before.
        await asyncio.gather(starting, return_exceptions=True)
        starting = asyncio.create_task(server.start(same_ports=True))
        # Its process is there at once, and serves later.
        await asyncio.sleep(0)
        if not is_away:
            await starting
    process.stdin.close()
    assert await process.wait() == 0
    await starting
    await all_is_charged_once(server.public, tmp_path)
