"""`acu-ledger` with its calls counted, and the texts that it sends to PostgreSQL.

`python -P counted.py SOCKET serve …` runs the `acu-ledger` of whichever environment the interpreter belongs
to, so it imports nothing of the ledger by name. Whoever connects to the socket gets the counts so far.
Only the main thread is counted, in which the event loop runs: from the bytes of a call to those of its
answer. Counting makes it several times slower.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable
from functools import wraps
from importlib.metadata import entry_points
from typing import Any

import asyncpg

_SENDING = ("execute", "executemany", "fetch", "fetchrow", "fetchval")
"""Methods of a connection that take parameters."""
_counts = {"python": 0, "c": 0, "text_bytes": 0}


def _note(_frame: object, event: str, _argument: object) -> None:
    """Calls and resumptions of Python code, and calls of functions that are built in."""
    if event == "call":
        _counts["python"] += 1
    elif event == "c_call":
        _counts["c"] += 1


def _text_bytes(value: object) -> int:
    """Of the texts in a parameter, or in the parameters."""
    if isinstance(value, str):
        return len(value.encode())
    return sum(map(_text_bytes, value)) if isinstance(value, list | tuple) else 0


def _sending(send: Callable[..., Any]) -> Callable[..., Any]:
    """The same, which notes its parameters' texts; that work is not the program's, and not counted."""

    @wraps(send)
    def noting(connection: object, query: str, *parameters: object, **options: object) -> Any:
        counting = sys.getprofile()
        sys.setprofile(None)
        _counts["text_bytes"] += _text_bytes(parameters)
        sys.setprofile(counting)
        return send(connection, query, *parameters, **options)

    return noting


def _tell(listening: socket.socket) -> None:
    """The counts to each who asks."""
    while True:
        connection, _ = listening.accept()
        with connection:
            connection.sendall(json.dumps(_counts).encode())


def main(path: str, *arguments: str) -> None:
    """Runs the program with these arguments."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    threading.Thread(target=_tell, args=(listening,), daemon=True).start()
    for name in _SENDING:
        setattr(asyncpg.Connection, name, _sending(getattr(asyncpg.Connection, name)))
    (program,) = entry_points(group="console_scripts", name="acu-ledger")
    run = program.load()
    sys.argv = ["acu-ledger", *arguments]
    sys.setprofile(_note)
    run()


if __name__ == "__main__":
    main(*sys.argv[1:])
