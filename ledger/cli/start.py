"""Where `acu-ledger` and `acu-ledger-probe` start: what an installation lacks is one line, not a trace.

Imports nothing but the standard library by itself, for the package is installed without the command line's
dependencies where only its client's side is wanted.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_OURS = ("ledger", "pricing")


def main() -> None:
    """Runs the command line; ends with status 1 where its part of the package is not installed."""
    with _installed():
        from ledger.cli.main import app  # noqa: PLC0415 -- what it imports may be missing
    app()


def probe() -> None:
    """Asks the server beside it; ends with status 1 where that part of the package is not installed."""
    with _installed():
        from ledger.cli.probe import main as ask  # noqa: PLC0415 -- what it imports may be missing
    ask()


@contextmanager
def _installed() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] in _OURS:
            raise
        sys.exit(
            f"acu-ledger: {missing.name} is missing: this is the client's side alone."
            " The command line and the server: pip install 'acu-ledger[server]';"
            " with a PostgreSQL inside, as demo wants it: pip install 'acu-ledger[embedded]'"
        )
