"""`acu-ledger serve` and `acu-ledger migrate`."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from pathlib import Path
from typing import Annotated

import structlog
import typer

from ledger.app import running
from ledger.at_database import migrated
from ledger.cli.greeting import greeting
from ledger.cli.own_server import run_here
from ledger.logs import log_to_stderr
from ledger.settings import Settings

_log = structlog.get_logger(__name__)

Data = Annotated[
    Path | None,
    typer.Option(file_okay=False, help="Directory of the embedded database, without DATABASE_URL."),
]


def serve(
    config: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Directory of costs.yaml and cards/.")
    ] = None,
    data: Data = None,
    plaintext: Annotated[
        bool, typer.Option("--plaintext", help="Off loopback without TLS: a proxy or mesh ends it.")
    ] = False,
) -> None:
    """Serve until SIGTERM or SIGINT, on loopback or at ACU_LEDGER_HOST. SIGHUP: read the files again.

    Settings come from the environment, ACU_LEDGER_... and DATABASE_URL.
    """
    log_to_stderr(logging.INFO)
    run_here(_serve(config, data, plaintext=plaintext))
    # Python looks through all that is there for garbage before a process ends: seconds, on a busy machine.
    gc.freeze()


def migrate(data: Data = None) -> None:
    """Bring the database to this version's schema, and end."""
    log_to_stderr(logging.INFO)
    for step in run_here(_migrate(data)):
        typer.echo(step)


def settings_of(config: Path | None, data: Path | None, *, plaintext: bool = False) -> Settings:
    """Of the environment; what the command line says wins."""
    settings = Settings.read()
    return settings.model_copy(
        update={
            "config_dir": config or settings.config_dir,
            "data_dir": data or settings.data_dir,
            "plaintext": plaintext or settings.plaintext,
        }
    )


async def _migrate(data: Path | None) -> list[str]:
    return await migrated(settings_of(None, data))


async def _serve(config: Path | None, data: Path | None, *, plaintext: bool) -> None:
    settings = settings_of(config, data, plaintext=plaintext)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(settings) as stack:
        loop.add_signal_handler(signal.SIGHUP, stack.reread.set)
        typer.echo(greeting(stack))
        await stop.wait()
        _log.info("server.draining")
