"""`acu-ledger serve` and `acu-ledger migrate`."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from ledger.app import LOOPBACK, Stack, migrated, running
from ledger.cli.stack import run
from ledger.logs import log_to_stderr
from ledger.settings import Settings

Data = Annotated[
    Path | None,
    typer.Option(file_okay=False, help="Directory of the embedded database, without DATABASE_URL."),
]


def serve(
    config: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Directory of costs.yaml and cards/.")
    ] = None,
    data: Data = None,
) -> None:
    """Serve until SIGTERM or SIGINT, on loopback. SIGHUP: read the files again.

    Settings come from the environment, ACU_LEDGER_... and DATABASE_URL.
    """
    log_to_stderr(logging.INFO)
    run(_serve(config, data))


def migrate(data: Data = None) -> None:
    """Bring the database to this version's schema, and end."""
    log_to_stderr(logging.INFO)
    for step in run(_migrate(data)):
        typer.echo(step)


def _settings(config: Path | None, data: Path | None) -> Settings:
    """Of the environment; what the command line says wins."""
    settings = Settings.read()
    return settings.model_copy(
        update={"config_dir": config or settings.config_dir, "data_dir": data or settings.data_dir}
    )


async def _migrate(data: Path | None) -> list[str]:
    return await migrated(_settings(None, data))


async def _serve(config: Path | None, data: Path | None) -> None:
    settings = _settings(config, data)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(settings) as stack:
        loop.add_signal_handler(signal.SIGHUP, stack.reread.set)
        typer.echo(_addresses(stack))
        await stop.wait()
        typer.echo("Draining", err=True)


def _addresses(stack: Stack) -> str:
    """Where it serves, and calls that work as they stand, one after the other."""
    beside = Path(sys.executable).with_name("buf")
    curl = f"{beside if beside.exists() else 'buf'} curl --protocol grpc --http2-prior-knowledge"
    customer = '{"request_id": "1", "customer": {"customer_id": "me", "plan": "standard"}}'
    admin = f"http://{stack.back_office_target}/ledger.admin.v1.AdminService"
    public = f"http://{stack.public_target}/ledger.v1"
    to = "calls need a key" if stack.asks_for_keys else "to whoever is on this machine, until there is a key"
    return f"""\
Serving on {LOOPBACK} only, {to}.
  public API           {stack.public_target}
  back office          {stack.back_office_target}
  operations metrics   {stack.operations_url}
  finance metrics      {stack.finance_url}
Try:
  {curl} {admin}/ListRateCards
  {curl} -d '{customer}' {admin}/CreateCustomer
  {curl} -d '{{"customer_id": "me"}}' {public}.WalletService/GetPriceList"""
