"""A running service for the whole session, and customers of their own for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import asyncpg
import grpc.aio
import pytest
import pytest_asyncio
from api_world import CONFIG, World

from ledger.admin.v1.admin_service_pb2_grpc import AdminServiceStub
from ledger.app import running
from ledger.settings import Settings
from ledger.store.embedded import EmbeddedPostgres

_numbers = count(1)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def service(postgres: EmbeddedPostgres) -> AsyncIterator[World]:
    """The whole service on a database of its own, reached through real channels."""
    async with _served(postgres, "api") as world:
        yield world


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shop(postgres: EmbeddedPostgres) -> AsyncIterator[World]:
    """Another service, for tests whose prices the others are not to see."""
    async with _served(postgres, "rates") as world:
        yield world


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lenders(postgres: EmbeddedPostgres) -> AsyncIterator[World]:
    """A service whose plans differ in what they take for work without a price."""
    async with _served(postgres, "lenders", CONFIG.parent / "config_unpriced") as world:
        yield world


@pytest.fixture
def rates(shop: World) -> AdminServiceStub:
    """The back office of that."""
    return shop.admin


@asynccontextmanager
async def _served(
    postgres: EmbeddedPostgres, database: str, config_dir: Path = CONFIG
) -> AsyncIterator[World]:
    # A worker may come to a module's tests more than once, and make its fixtures anew.
    database = f"{database}_{next(_numbers)}"
    connection = await asyncpg.connect(postgres.url)
    await connection.execute(f"CREATE DATABASE {database} TEMPLATE migrated")
    await connection.close()
    urls = {
        name: getattr(postgres, name).replace("/postgres?", f"/{database}?")
        for name in ("url", "reader_url", "finance_url", "writer_url")
    }
    settings = Settings(
        DATABASE_URL=urls.pop("url"),
        config_dir=config_dir,
        public_port=0,
        back_office_port=0,
        operations_port=0,
        finance_port=0,
        **urls,
    )
    async with (
        running(settings) as stack,
        grpc.aio.insecure_channel(stack.public_target) as public,
        grpc.aio.insecure_channel(stack.back_office_target) as back_office,
    ):
        owner = await asyncpg.connect(settings.database_url)
        yield World(stack, public, back_office, owner)
        await owner.close()


@pytest_asyncio.fixture(loop_scope="session")
async def world(service: World) -> World:
    """The service, with a new customer on the standard plan who was granted 100 credits."""
    await service.new_customer(f"cus_{next(_numbers)}")
    return service


@pytest.fixture
def customer(world: World) -> str:
    """The id of the test's customer."""
    return world.customer_id
