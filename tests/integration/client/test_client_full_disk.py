"""The disk of the journal is full, for real: what cannot be stored is refused, and all else charged once."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from client_world import PATIENT_SECONDS, Shop, charged_searches, files_in

from ledger.client import Credits
from tests.serving import REPOSITORY

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

SCRIPT = Path(__file__).with_name("full_disk_client.py")
DISK_KIB = 128


@contextmanager
def small_disk(directory: Path) -> Iterator[str]:
    """A small file system where one can be mounted, which takes root; else a quota stands for it."""
    directory.mkdir()
    size = f"size={DISK_KIB}k,mode=0755"
    command = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(directory)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        yield "quota"
        return
    try:
        yield "disk"
    finally:
        subprocess.run(["umount", str(directory)], check=True, capture_output=True)


async def is_charged_once(shop: Shop, customer: str, directory: Path, kind: str) -> None:
    """What a process added that dies after its disk was full is charged, and what was refused is not."""
    notes = directory.with_suffix(".notes")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *(str(SCRIPT), shop.target, str(directory), str(notes), customer, kind),
        cwd=REPOSITORY,
        env={"PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "error"},
    )
    assert await process.wait() == -signal.SIGKILL
    async with Credits(shop.target, timeout_seconds=PATIENT_SECONDS, journal=directory) as credits:
        assert (await credits.recover()).complete
        assert (await credits.balance(customer)).held == 0
    added = [int(line) for line in notes.read_text(encoding="utf-8").split()]
    assert sorted(await charged_searches(shop.target, customer)) == added
    assert files_in(directory) == []


async def test_no_file_may_grow(shop: Shop, tmp_path: Path) -> None:
    """A record is cut where the quota ends, and the next is whole once there is room."""
    await is_charged_once(shop, await shop.new_customer(credits=1_000), tmp_path / "journal", "quota")


async def test_no_block_is_left(shop: Shop, tmp_path: Path) -> None:
    """The same of a file system that something else fills."""
    directory = tmp_path / "disk"
    with small_disk(directory) as kind:
        await is_charged_once(shop, await shop.new_customer(credits=10_000), directory, kind)
