"""`acu-ledger` for the harness: `[--shift SECONDS FILE] [--plant BUG]`, then the command line as it is.

What is done to the process is done before the service is imported.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from tests.faults.shifted import shift_clock

ENTRY = (sys.executable, "-m", "tests.faults.entry")


def main(arguments: list[str]) -> None:
    """Does to this process what is asked for, and runs the command line."""
    if arguments[0] == "--shift":
        shift_clock(float(arguments[1]), Path(arguments[2]))
        arguments = arguments[3:]
    if arguments[0] == "--plant":
        importlib.import_module("tests.faults.planted").BUGS[arguments[1]].plant()
        arguments = arguments[2:]
    sys.argv[1:] = arguments
    importlib.import_module("ledger.cli.main").main()


if __name__ == "__main__":
    main(sys.argv[1:])
