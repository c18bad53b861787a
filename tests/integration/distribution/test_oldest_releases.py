"""A client's side on the oldest releases that `pyproject.toml` allows, against the server of today."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from packages import REPOSITORY, Environment
from shop import Shop

LOCK = REPOSITORY / "requirements-oldest.lock"
NEWEST_PYTHON = (3, 13)
"""That they were built for."""
PROGRAM = """
import asyncio, sys
from decimal import Decimal
from ledger.client import Credits, InsufficientCredits, SyncCredits, convert

target, customer_id = sys.argv[1:]
record = {"id": "1", "model": "gpt-5", "usage": {"prompt_tokens": 9000, "completion_tokens": 600}}
usage = convert(openai=record).items

async def work():
    async with Credits(target) as credits:
        held = await credits.reserve(customer_id, usage=usage)
        committed = await credits.commit(customer_id, held.reservation_id, usage, final=True)
        print(held.held_micros, committed.charged_micros)
        async with credits.session(customer_id, estimate=usage) as session:
            session.add(openai=record)
        print(session.charged)
        try:
            await credits.reserve(customer_id, amount=Decimal(10))
        except InsufficientCredits as error:
            print(error.short)

asyncio.run(work())
with SyncCredits(target) as credits:
    print(credits.balance(customer_id).available)
"""


def test_the_lock_has_the_lower_bounds() -> None:
    """What is tested is what a client may have at the least: each bound of the project is pinned as it is."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = dict(line.split(">=") for line in project["dependencies"])
    pinned = dict(re.findall(r"^([a-z-]+)==(\d+\.\d+)", LOCK.read_text(encoding="utf-8"), re.MULTILINE))
    assert pinned == bounds


@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.version_info[:2] > NEWEST_PYTHON, reason="they were built for older Pythons")
def test_the_oldest_releases_reserve_commit_and_read_a_refusal(
    wheel: Path, shop: Shop, tmp_path: Path
) -> None:
    """With warnings as errors, on nothing but what the lock pins.

    9,000 tokens in and 600 out at 100 and 1,000 credits a million are 1.5 credits, twice; of 10 are left 7.
    """
    venv.create(tmp_path, with_pip=False, symlinks=True)
    oldest = Environment(tmp_path)
    pip = [sys.executable, "-m", "pip", "--python", oldest.program("python"), "--disable-pip-version-check"]
    pinned = ["--require-hashes", "--only-binary", ":all:", "--requirement", LOCK]
    installed = _run(*pip, "install", "--quiet", *pinned)
    if installed.returncode != 0 and not os.environ.get("REQUIRE_OLDEST"):
        pytest.skip(f"no registry to install them from: {installed.stderr[-200:]}")
    assert installed.returncode == 0, installed.stderr
    for step in (("install", "--quiet", "--no-deps", "--no-index", wheel), ("check",)):
        done = _run(*pip, *step)
        assert done.returncode == 0, done.stdout + done.stderr
    said = oldest.run("python", "-W", "error", "-c", PROGRAM, shop.target, shop.customer(10))
    assert said.stdout == "1500000 1500000\n1.500000\n3.000000\n7.000000\n", said.stderr


def _run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
