"""A server of the session for tests of the client, and customers of their own for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest_asyncio
from client_world import CONFIG, Shop

from ledger.app import running
from ledger.client import Credits
from ledger.store.postgres.embedded import EmbeddedPostgres
from tests.databases import new_database
from tests.faults.servers import Server
from tests.serving import UNHURRIED, settings_on

_numbers = count(1)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shop(postgres_apart: EmbeddedPostgres) -> AsyncIterator[Shop]:
    """A server on a database of its own."""
    # A worker may come to the tests more than once, and make its fixtures anew.
    urls = await new_database(postgres_apart, f"client_{next(_numbers)}")
    async with running(settings_on(urls, config_dir=CONFIG), UNHURRIED) as stack:
        yield Shop(stack.public_target, stack.back_office_target)


@pytest_asyncio.fixture(loop_scope="session")
async def credits(shop: Shop) -> AsyncIterator[Credits]:
    """A client of it."""
    async with Credits(shop.target) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="session")
async def customer(shop: Shop) -> str:
    """The id of the test's customer, who was granted 100 credits."""
    return await shop.new_customer()


@pytest_asyncio.fixture(loop_scope="session")
async def server(postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[Server]:
    """A server that can be killed, and started again at the same address."""
    urls = await new_database(postgres, f"outage_{next(_numbers)}")
    server = Server("ledger", urls.environment, tmp_path, config=CONFIG)
    await server.start()
    yield server
    await server.kill()
