"""`acu-ledger backup` and `acu-ledger restore`: the books as one file."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from ledger.at_database import backed_up, restored
from ledger.cli.commands.serve import Data, settings_of
from ledger.cli.output.console import REFUSED, note
from ledger.cli.own_server import run_here
from ledger.logs import log_to_stderr

_SHOWN_MAX = 20
"""Violations that are reported; `acu-ledger books verify` has more."""


def backup(
    file: Annotated[Path, typer.Argument(dir_okay=False, help="A new file; FILE.sha256 has its checksum.")],
    data: Data = None,
) -> None:
    """Write the books of DATABASE_URL, or of the embedded database, to a file. Servers go on meanwhile."""
    log_to_stderr(logging.WARNING)
    made = run_here(backed_up(settings_of(None, data), file))
    typer.echo(f"{made.file}: {made.size_bytes:,} bytes, sha256 {made.sha256}")


def restore(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="What `backup` has written.")],
    data: Data = None,
) -> None:
    """Bring the books of a file into an empty database, up to this version's schema, and verify them.

    The status is 1 where they do not verify: the customers concerned take no writes until they do.
    """
    log_to_stderr(logging.WARNING)
    verified = run_here(restored(settings_of(None, data), file))
    if verified is None:
        typer.echo(f"{file} is restored; the first server that starts verifies the books before it serves")
        return
    typer.echo(
        f"{file} is restored and verified: {verified.entries:,} entries of {verified.customers:,} customers,"
        f" {len(verified.violations)} violations"
    )
    for violation in verified.violations[:_SHOWN_MAX]:
        note(f"{violation.invariant}: {violation.customer_id}: {violation.description}")
    if verified.violations:
        raise typer.Exit(REFUSED)
