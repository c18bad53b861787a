"""Ports for servers that must be said where to listen."""

from __future__ import annotations

import random
import socket
from contextlib import suppress

_OWN_PORTS = 20_000, 32_000


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, below those that the system gives to whoever names none."""
    begin, end = _OWN_PORTS
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(begin, end)  # noqa: S311 -- any will do
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
    return found
