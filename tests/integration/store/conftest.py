"""A cell's own connection, and a world of customers whose grants are written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from store_world import CELL, World

from ledger.store.cells.write import write

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ledger.store.postgres.database import Connection, Database


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Connection]:
    """What a cell's writer has."""
    opened = await database.connect_writer("test writer")
    yield opened
    await opened.close()


@pytest.fixture
async def other(database: Database) -> AsyncIterator[Connection]:
    """Another process's writer."""
    opened = await database.connect_writer("test other writer")
    yield opened
    await opened.close()


@pytest.fixture
async def world(database: Database, connection: Connection) -> World:
    """Three customers with two grants each, written; the open batch is empty."""
    world = World()
    for customer in await world.new_customers(database, 3):
        world.grant(customer, 3, paid_total_nanousd=1, priority=-1)
    await write(connection, CELL, world.take())
    return world
