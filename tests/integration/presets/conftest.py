"""A service with the presets, for the whole session; each test has customers of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest_asyncio
from presets_service import Presets

from ledger.app import running
from ledger.cli.client import connect
from ledger.settings import SAMPLE_CONFIG, Settings
from ledger.store.embedded import EmbeddedPostgres


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def presets(postgres: EmbeddedPostgres) -> AsyncIterator[Presets]:
    """The whole service on a database of its own, reached through real channels."""
    connection = await asyncpg.connect(postgres.url)
    await connection.execute("CREATE DATABASE presets TEMPLATE migrated")
    await connection.close()
    urls = {
        name: getattr(postgres, name).replace("/postgres?", "/presets?")
        for name in ("url", "reader_url", "finance_url", "writer_url")
    }
    settings = Settings(
        DATABASE_URL=urls.pop("url"),
        config_dir=SAMPLE_CONFIG,
        public_port=0,
        back_office_port=0,
        operations_port=0,
        finance_port=0,
        **urls,
    )
    async with running(settings) as stack, connect(stack.public_target, stack.back_office_target) as ledger:
        yield Presets(ledger)
