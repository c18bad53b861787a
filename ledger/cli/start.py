"""Where `acu-ledger` starts: what is missing of an installation is one line, not a trace.

Imports nothing but the standard library by itself, for the package is installed without the command line's
dependencies where only its client's side is wanted.
"""

from __future__ import annotations

import sys

_OURS = ("ledger", "pricing")


def main() -> None:
    """Runs the command line; ends with status 1 where its part of the package is not installed."""
    try:
        from ledger.cli.main import app  # noqa: PLC0415  (what it imports may be missing)
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] in _OURS:
            raise
        sys.exit(
            f"acu-ledger: {missing.name} is missing: this is the client's side alone."
            " The command line and the server: pip install 'acu-ledger[server]';"
            " with a PostgreSQL inside, as demo wants it: pip install 'acu-ledger[embedded]'"
        )
    app()
