"""A ledger to talk to: one that runs in this process on the embedded database, or one that runs elsewhere.

Either is reached through a gRPC channel only.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from ledger.app import Stack, running
from ledger.at_database import BackupRefusedError
from ledger.cli.access import key_of
from ledger.cli.output.console import REFUSED, USAGE, fail, note
from ledger.cli.run import run
from ledger.cli.services import Ledger, connect
from ledger.client.channel import Access
from ledger.logs import log_to_stderr
from ledger.settings import Settings
from pricing import ConfigError

Answer = TypeVar("Answer")


@asynccontextmanager
async def own_stack(config: Path, data: Path) -> AsyncIterator[Stack]:
    """Runs a server on free ports of loopback. DATABASE_URL, where set, wins over the data directory."""
    log_to_stderr(logging.WARNING)
    settings = Settings.on_free_ports(config, data)
    if settings.database_url is not None:
        note("Using the database of DATABASE_URL")
    async with running(settings) as stack:
        yield stack


@asynccontextmanager
async def connected(stack: Stack) -> AsyncIterator[Ledger]:
    """A client of a running stack."""
    own = Access(key_of(), plaintext=True)
    async with connect(stack.public_target, stack.back_office_target, own) as ledger:
        yield ledger


def run_here(command: Coroutine[None, None, Answer]) -> Answer:
    """Runs a command that serves, or goes to the database, by itself; see `run`."""
    try:
        return run(command)
    except BackupRefusedError as refused:
        fail(str(refused), REFUSED)
    except ConfigError as wrong:
        fail(str(wrong), USAGE)
