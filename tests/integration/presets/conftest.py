"""A service with the presets, for the whole session; each test has customers of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from presets_service import Presets

from ledger.app import running
from ledger.cli import services
from ledger.sample import SAMPLE_CONFIG
from ledger.store.postgres.embedded import EmbeddedPostgres
from tests.databases import new_database
from tests.serving import UNHURRIED, settings_on
from tests.stubs import connect


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def presets(postgres_apart: EmbeddedPostgres) -> AsyncIterator[Presets]:
    """The whole service on a database of its own, reached through real channels."""
    settings = settings_on(await new_database(postgres_apart, "presets"), config_dir=SAMPLE_CONFIG)
    async with running(settings, UNHURRIED) as stack:
        targets = stack.public_target, stack.back_office_target
        async with connect(*targets) as ledger, services.connect(*targets) as seller:
            yield Presets(ledger, seller)
