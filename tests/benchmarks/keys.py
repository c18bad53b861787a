"""Keys and TLS of a run, and what a key costs a server by itself."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import process_time

from ledger.access.caller import enter
from ledger.access.table import AUTHORIZATION, KeyTable
from ledger.client.channel import Access
from ledger.metrics.operations import OperationsMetrics
from tests.benchmarks.postgres import Books, opened
from tests.certificates import Authority
from tests.keys import new_key

_SCOPES = ("backend", "wallet", "finance")
"""Of all that a run calls, and of the metrics that say when the rollups have caught up."""
_CALLS, _TURNS = 2_000, 25
_MICROSECONDS = 1_000_000


async def make_access(books: Books) -> Access:
    """A key in these books, for their clients."""
    async with opened(books) as database:
        return Access((await new_key(database, *_SCOPES, name="bench")).text)


def secure(access: Access, directory: Path) -> tuple[Access, dict[str, str]]:
    """The same key by TLS, and the settings of a server that speaks it, with files in the directory."""
    authority = Authority(directory)
    pair = authority.issue("server")
    settings = {
        "ACU_LEDGER_TLS_CERTIFICATE": str(pair.certificate),
        "ACU_LEDGER_TLS_KEY": str(pair.key),
    }
    return Access(access.key, authority.file.read_bytes()), settings


async def authorization_us(books: Books, access: Access) -> float:
    """Microseconds of a processor from a call's metadata to its caller and scope; the median turn."""
    metadata = (("user-agent", "grpc-python-asyncio"), (AUTHORIZATION, f"Bearer {access.key}"))
    taken = []
    async with opened(books) as database:
        table = KeyTable(database, lambda: datetime.now(UTC), OperationsMetrics(), open_without_keys=True)
        await table.look()
        for _ in range(_TURNS):
            began = process_time()
            for _ in range(_CALLS):
                caller = table.authorize(metadata)
                caller.require("backend")
                enter(caller)
            taken.append((process_time() - began) / _CALLS * _MICROSECONDS)
    return median(taken)
