"""An engine on a database of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from engine_world import Config, World

from ledger.app import open_prices
from ledger.clock import DatabaseClock, boot_seconds
from ledger.engine.engine import Engine
from ledger.engine.limits import ENGINE_LIMITS, EngineLimits
from ledger.metrics.operations import OperationsMetrics
from ledger.prices.limits import PRICE_LIMITS, PriceLimits
from ledger.store.postgres.database import Database

Start = Callable[..., Awaitable[World]]


@pytest.fixture
def config() -> Config:
    """What engines price by; a module that needs another has a fixture of this name."""
    return Config()


@pytest.fixture
def limits() -> EngineLimits:
    """Of the engines of a test; one that asks what happens at a limit is parametrized by its own."""
    return ENGINE_LIMITS


@pytest.fixture
def price_limits() -> PriceLimits:
    """The same of what they have published."""
    return PRICE_LIMITS


@pytest.fixture
def spans() -> Any:
    """Who hears of each batch that is written; None: nobody."""
    return None


@pytest.fixture
async def start(
    database: Database,
    tmp_path: Path,
    config: Config,
    limits: EngineLimits,
    price_limits: PriceLimits,
    spans: Any,
) -> AsyncIterator[Start]:
    """Starts engines on the test's database; each is drained at the end."""
    async with AsyncExitStack() as life:

        async def begin(
            each: str = "1",
            name: str = "config",
            revision: int = 1,
            database: Database = database,
            limits: EngineLimits = limits,
            price_limits: PriceLimits = price_limits,
        ) -> World:
            directory = config.write(tmp_path / name, each, revision)
            clock = DatabaseClock()
            asked_at = boot_seconds()
            clock.observe(
                await database.reader.fetchval("SELECT clock_timestamp()"), asked_at, boot_seconds()
            )
            metrics = OperationsMetrics()
            publishing, _ = await open_prices(directory, database, clock.now, metrics, price_limits)
            engine = Engine(database, publishing.prices, clock, metrics, spans, limits)
            engine.start(("cell_00",))
            life.push_async_callback(engine.drain)
            return World(engine, database, clock, publishing)

        yield begin


@pytest.fixture
async def world(start: Start) -> World:
    return await start()
