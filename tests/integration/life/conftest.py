"""Starts replicas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from life_world import Replica, Start, write_card, write_costs

from ledger.app import open_prices
from ledger.clock import DatabaseClock, boot_seconds
from ledger.metrics.operations import OperationsMetrics
from ledger.store.postgres.database import Database


@pytest.fixture
async def start(database: Database, tmp_path: Path) -> Start:
    """Starts a replica on a directory; one of revision 1 is made where there is none."""

    async def begin(name: str = "first", **card: Any) -> Replica:
        directory = tmp_path / name
        if not directory.exists():
            write_costs(directory)
            write_card(directory, **card)
        clock = DatabaseClock()
        asked_at = boot_seconds()
        now = await database.reader.fetchval("SELECT clock_timestamp()")
        clock.observe(now, asked_at, boot_seconds())
        metrics = OperationsMetrics()
        publishing, _ = await open_prices(directory, database, clock.now, metrics)
        return Replica(directory, publishing, metrics, clock)

    return begin
