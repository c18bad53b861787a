"""A cell's own connection to the database, and what to be sure of when it is lost.

Each connection has a unique application name. A write whose reply is lost may still take effect while its
backend lives; so before a new connection is used, the backend of the old one is ended and seen to be gone.
"""

from __future__ import annotations

import asyncio
import uuid

import asyncpg
import structlog

from ledger.errors import NotNowError
from ledger.store.postgres.database import Connection, Database

CLOSE_SECONDS = 2.0
"""How long a connection may take to close in good manners."""

_END_BACKEND = """
    SELECT pg_terminate_backend(pid, 2000)
    FROM pg_stat_activity
    WHERE application_name = $1 AND pid <> pg_backend_pid()
"""

_log = structlog.get_logger(__name__)


class LinkDownError(NotNowError):
    """No connection can be had now."""


class Link:
    """One connection at a time, made when it is needed."""

    def __init__(self, database: Database, purpose: str) -> None:
        self._database = database
        self._purpose = purpose
        self._connection: Connection | None = None
        self._old_names: list[str] = []
        """Backends that may still be at work on what this process has forgotten."""
        self._name = ""

    async def connection(self) -> Connection:
        """The live connection, or a new one. Raises LinkDownError."""
        connection = self._connection
        if connection is not None and not connection.is_closed():
            return connection
        await self.renew()
        if self._connection is None:
            raise LinkDownError(self._purpose)
        return self._connection

    async def renew(self) -> None:
        """A new connection, once no backend of an old one is left. Raises LinkDownError."""
        await self.drop()
        name = f"{self._purpose} {uuid.uuid4().hex[:16]}"
        try:
            connection = await self._database.connect_writer(name)
        except Exception as error:  # whatever stands in the way, there is no connection
            raise LinkDownError(repr(error)) from error
        try:
            await self._end_old_backends(connection)
        except Exception as error:
            connection.terminate()
            raise LinkDownError(repr(error)) from error
        self._old_names.clear()
        self._connection, self._name = connection, name

    async def _end_old_backends(self, connection: Connection) -> None:
        if not self._old_names:
            return
        # Whoever logged in may end its own sessions; a role that was only set may not.
        await connection.execute("SET ROLE NONE")
        for old in self._old_names:
            while await connection.fetch(_END_BACKEND, old):
                _log.info("backend.ended", application_name=old)
        await connection.execute("RESET ROLE")

    async def drop(self) -> None:
        """Lets go of the connection, whatever its state."""
        if self._connection is None:
            return
        self._old_names.append(self._name)
        self._connection.terminate()
        self._connection = None

    async def close(self) -> None:
        """Ends the connection in good manners."""
        if self._connection is None:
            return
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._connection.close()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            self._connection.terminate()
        self._connection = None
