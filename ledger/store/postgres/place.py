"""Whether the books were verified as a whole where they stand now.

A restore puts them into another cluster, another database or on another timeline, whichever way it is done;
what a dump, an archive or a disk has damaged is to be found before anybody uses it. A failover to a standby
is another timeline too, and cannot be distinguished from a recovery.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
import structlog

from ledger.store.postgres.history import StandbyError
from ledger.store.statements import statements_of

_log = structlog.get_logger(__name__)

_LOCK: Final = 0x6163755F76726679
"""Of `pg_advisory_lock`: any number that nobody else in the database uses."""

_SQL = statements_of(__name__)
_PLACES = _SQL["places"]
_NOTE = _SQL["note"]


@asynccontextmanager
async def verification_due(url: str) -> AsyncIterator[bool]:
    """Whether the books are to be verified; once the block has ended well they are.

    `url` is the owner's. Who else asks meanwhile waits for the end of it, so that of servers which start at
    once one verifies. Raises StandbyError, and the driver's errors.
    """
    connection = await asyncpg.connect(url, server_settings={"application_name": "acu-ledger verify"})
    try:
        # Ends with the session, and so with a process that was killed.
        if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
            _log.info("books.verification_awaited", why="another process verifies the books")
            await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        [(here, verified)] = await connection.fetch(_PLACES)
        if here is None:
            raise StandbyError("the database is a standby: the URL must lead to the primary")
        yield here != verified
        if here != verified:
            await connection.execute(_NOTE, here)
    finally:
        await connection.close()
