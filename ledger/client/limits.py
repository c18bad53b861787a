"""What bounds a client's patience and its journal's waste: an object for tests, which nobody else sets."""

from __future__ import annotations

from typing import Final, NamedTuple


class ClientLimits(NamedTuple):
    """Of one client."""

    patience_seconds: float = 2.0
    """How long work waits for the service that may go on without: a server that restarts is back by then."""
    waste_bytes_min: int = 256 * 1024
    """Of what is acknowledged, before a journal's file is written anew without it: less is not worth it."""


CLIENT_LIMITS: Final = ClientLimits()
