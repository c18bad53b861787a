"""A running service for the whole session, and customers of their own for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio
from api_world import CONFIG, World, served

from ledger.admin.v1.admin_service_pb2_grpc import AdminServiceStub
from ledger.limits import Limits
from ledger.store.postgres.embedded import EmbeddedPostgres
from tests.databases import new_database
from tests.serving import settings_on

_numbers = count(1)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def service(postgres_apart: EmbeddedPostgres) -> AsyncIterator[World]:
    """The whole service on a database of its own, reached through real channels."""
    async with _served(postgres_apart, "api") as world:
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


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def limited(postgres: EmbeddedPostgres) -> AsyncIterator[Callable[[Limits], Awaitable[World]]]:
    """Services of one database with limits of a module's own: one for all who ask for the same.

    Each time with a new customer who was granted 100 credits.
    """
    urls = await new_database(postgres, f"limited_{next(_numbers)}")
    started: list[tuple[Limits, World]] = []
    async with AsyncExitStack() as life:

        async def serve(limits: Limits) -> World:
            world = next((world for served_by, world in started if served_by == limits), None)
            if world is None:
                settings = settings_on(urls, config_dir=CONFIG)
                world = await life.enter_async_context(served(settings, limits))
                started.append((limits, world))
            await world.new_customer(f"cus_{next(_numbers)}")
            return world

        yield serve


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
    urls = await new_database(postgres, database)
    async with served(settings_on(urls, config_dir=config_dir)) as world:
        yield world


@pytest_asyncio.fixture(loop_scope="session")
async def world(service: World) -> World:
    """The service, with a new customer on the standard plan who was granted 100 credits."""
    await service.new_customer(f"cus_{next(_numbers)}")
    return service


@pytest.fixture
def customer(world: World) -> str:
    """The id of the test's customer."""
    return world.customer_id
