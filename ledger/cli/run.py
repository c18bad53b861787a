"""Runs what a command asks for: what it cannot do becomes a message and an exit status."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TypeVar

import uvloop

from ledger.cli.access import CA, KEY
from ledger.cli.output.console import REFUSED, USAGE, fail, note
from ledger.client import CreditsError, TlsFailed, Unauthenticated
from ledger.environment import SettingsError

Answer = TypeVar("Answer")


def run(command: Coroutine[None, None, Answer]) -> Answer:
    """Runs a command to its end, as a client."""
    try:
        return uvloop.run(command)
    except (CreditsError, OSError) as failed:
        if isinstance(failed, Unauthenticated):
            note(f"{KEY} names the key to call with; `acu-ledger keys --help` says how one is made")
        if isinstance(failed, TlsFailed):
            note(f"--ca ({CA}) names the file of the authority that signed the server's certificate")
        fail(str(failed), REFUSED)
    except SettingsError as wrong:
        fail(str(wrong), USAGE)
