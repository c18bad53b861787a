"""A process that is forked from one with an open client is told so, and its parent's work goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from client_world import PATIENT_SECONDS, Shop, charged_searches, files_in

from ledger.client import Credits
from tests.serving import REPOSITORY

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

SCRIPT = Path(__file__).with_name("forking_client.py")
REFUSED = (
    "balance",
    "recover",
    "session",
    "add",
    "flush",
    "leave",
    "sync balance",
    "sync add",
    "sync leave",
    "another",
)


def started(target: str, directory: Path, customer: str) -> subprocess.Popen[str]:
    """The process that forks. gRPC's own care of forks would end its child as soon as that calls."""
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), target, str(directory), customer],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "GRPC_ENABLE_FORK_SUPPORT": "false"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


async def test_a_child_is_told_and_harms_nothing(shop: Shop, customer: str, tmp_path: Path) -> None:
    """No call of it hangs, or stores anything; what its parent left is recovered while it lives."""
    with started(shop.target, tmp_path, customer) as parent:
        status = await asyncio.to_thread(parent.wait)
        async with Credits(shop.target, timeout_seconds=PATIENT_SECONDS, journal=tmp_path) as other:
            recovery = await other.recover()
        said, _ = await asyncio.to_thread(parent.communicate)
    assert (status, recovery.complete, recovery.refused) == (-signal.SIGKILL, True, ())
    assert dict(line.rsplit(maxsplit=1) for line in said.splitlines()) == {
        **dict.fromkeys(REFUSED, "ClientForked"),
        "close": "returned",
        "sync close": "returned",
    }
    assert sorted(await charged_searches(shop.target, customer)) == [1, 2, 3, 4]
    assert files_in(tmp_path) == []
    async with Credits(shop.target) as credits:
        assert (await credits.balance(customer)).held == 0
