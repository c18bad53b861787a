"""Servers are restarted, and databases migrated, while clients work: none of them notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ledger.store.postgres.migrate import migrate
from tests.faults.injections import rolling_restart
from tests.faults.journal import Unknown
from tests.faults.postgres import Postgres
from tests.faults.scene import World, scene

WITHIN_SECONDS = 60.0
MIGRATIONS = 3


@pytest.fixture
def directory() -> Iterator[Path]:
    # Not in pytest's own, which the database's user cannot enter.
    with TemporaryDirectory(prefix="acu-up-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture
async def world(directory: Path) -> AsyncIterator[World]:
    """A PostgreSQL of its own, and a place for logs."""
    postgres = Postgres.create(directory / "data")
    await postgres.start()
    yield World(postgres, directory, directory / "build", seed=1)
    postgres.stop()


async def test_servers_restarted_in_turn(world: World) -> None:
    """No call fails, nothing is booked twice or lost, and the books hold."""
    result = await rolling_restart.run(world, 1)
    assert result.injected == 1
    assert not result.findings, result.findings


async def test_a_migrated_database_is_migrated_again_under_load(world: World) -> None:
    """It has no effect, and a server that works on it, as one of the version before does, fails no call."""
    async with scene(world, "migrated") as stage:
        await stage.serve()
        await stage.populate(4)
        stage.start_load()
        for _ in range(MIGRATIONS):
            await stage.journal.acknowledgements(40, WITHIN_SECONDS)
            assert await migrate(stage.urls.owner) == []
        # At the same time, as servers that start at once do it.
        assert (
            await asyncio.gather(*(migrate(stage.urls.owner) for _ in range(MIGRATIONS))) == [[]] * MIGRATIONS
        )
        await stage.journal.acknowledgements(40, WITHIN_SECONDS)
        await stage.stop_load()
        failed = [each for record in stage.journal for each in record.outcomes if isinstance(each, Unknown)]
        assert failed == []
        await stage.settle()
        await stage.check()
    assert not stage.result.findings, stage.result.findings
