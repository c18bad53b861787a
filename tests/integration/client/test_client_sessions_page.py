"""The page of sessions shows what happens: its program runs as it stands, and prints what it says."""

from __future__ import annotations

import asyncio
import re
import sys
from io import StringIO
from pathlib import Path

import pytest
from client_world import Shop, sandbox
from rich.console import Console

from ledger.client import Credits
from ledger.client.progress import progress
from tests.serving import REPOSITORY

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = REPOSITORY / "docs" / "sessions.md"


async def test_the_program_prints_what_the_page_says(shop: Shop, customer: str, tmp_path: Path) -> None:
    """Only the address, the customer and the directory are the test's."""
    page = PAGE.read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (printed,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    for stands, is_here in (
        ("127.0.0.1:50051", shop.target),
        ("/var/lib/product/credits", str(tmp_path)),
        ('"acme"', f'"{customer}"'),
    ):
        assert stands in program
        program = program.replace(stands, is_here)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert (said.decode(), process.returncode) == (printed, 0)


async def test_a_line_of_a_terminal(credits: Credits, customer: str) -> None:
    """Who, what was charged, what is held, and what remains."""
    said = StringIO()
    async with credits.session(customer, estimate=10) as session:
        with progress(session, Console(file=said, width=120, force_terminal=False)):
            session.add(sandbox(1800))
            await session.flush()
    amounts = "2.000000 credits charged, 8.000000 held, 98.000000 remaining"
    assert said.getvalue().strip() == f"{customer}  {amounts}"
