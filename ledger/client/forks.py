"""Forks: a process that is forked from one in which a client was opened has no use of it, nor of another.

Its loop, its threads and what gRPC started stayed in the parent: calls would hang, or end the process, even
where the parent's client is closed. So each call says what to do instead.
"""

from __future__ import annotations

import os
from typing import Final

from ledger.client.errors import ClientForked

_MESSAGE: Final = (
    "this process was forked from one in which a client was opened: open clients in the workers alone, after"
    " they are forked, or start the workers with 'spawn' or 'forkserver'"
)


class _Process:
    """What this process knows of clients, and of the one that it was forked from."""

    has_opened = False
    is_forked = False
    """From one that had opened a client, or was forked from such a one itself."""


def opens() -> None:
    """A client is opened in this process."""
    _Process.has_opened = True


def check() -> None:
    """Raises ClientForked where no client works."""
    if _Process.is_forked:
        raise ClientForked(_MESSAGE)


def is_forked() -> bool:
    """Whether what was opened is the parent's: it is not to be closed here either."""
    return _Process.is_forked


def _forked() -> None:
    _Process.is_forked = _Process.has_opened


os.register_at_fork(after_in_child=_forked)
