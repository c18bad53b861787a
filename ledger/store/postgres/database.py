"""Connections: a pool per role, one for reports, and connections of their own for cells' writers and loaders.

Three roles share the work, so that a fault in one door finds nothing behind another: the reader cannot
select what tells a dollar, finance can write nothing, the writer can neither update nor delete an entry.

A role is had in one of two ways. With a URL of its own (the embedded server gives one for each) the session
*is* the role and can become no other. With the owner's URL alone the session starts with the role set;
that is weaker, as a statement injected into it could set another: give separate URLs where it matters.

`json` is bound as text and comes back as what `json.loads` makes of it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import asyncpg

from ledger.errors import OperatorError
from ledger.store.postgres.history import History
from ledger.store.statements import statements_of

if TYPE_CHECKING:
    from collections.abc import Mapping

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
PooledConnection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

READER = "acu_reader"
FINANCE = "acu_finance"
WRITER = "acu_writer"
ROLES = (READER, FINANCE, WRITER)

READER_CONNECTIONS_MAX = 8
REPORTS_CONNECTIONS_MAX = 3
"""The reader's role too: for what walks over a journal, beside which balances are to be read at once."""
FINANCE_CONNECTIONS_MAX = 6
"""One for each read that takes long (verification, trial balance, margins, simulation), two for the rest."""
WRITER_CONNECTIONS_MAX = 4
"""Of the pool; each cell has four more of its own."""

STATEMENT_TIMEOUT = "10s"
FINANCE_STATEMENT_TIMEOUT = "10min"
"""A verification reads the whole journal."""
LOCK_TIMEOUT = "3s"
"""Of a statement that another session's lock holds up."""

_SESSION = {
    # An outcome is reported after the commit is on disk, and what a statement sees is decided statement by
    # statement: the write locks first and looks again, which a snapshot of the transaction would forbid.
    "default_transaction_isolation": "read committed",
    # One plan per statement, made once. The costs of plans over arrays of unknown length are guesses that
    # end in compilation or scans of whole tables.
    "jit": "off",
}
_READ_ONLY = {**_SESSION, "default_transaction_read_only": "on"}
_PLANS = {
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "plan_cache_mode": "force_generic_plan",
}

_SQL = statements_of(__name__)
_READABLE_DOLLARS = _SQL["readable_dollars"]


class RoleTooStrongError(OperatorError):
    """The reader's URL leads to a role that may read dollars."""


class PoolUse(NamedTuple):
    """Connections of a pool."""

    busy: int
    open: int
    limit: int


class Database:
    """The pools of one database, by role."""

    def __init__(
        self,
        *,
        reader: Pool,
        reports: Pool,
        finance: Pool,
        writer: Pool,
        writer_session: _Session,
        history: History,
    ) -> None:
        self.reader = reader
        """Public reads by key: no dollars, read only."""
        self.reports = reports
        """Public reads of many rows, by the same role."""
        self.finance = finance
        """Back-office reads: all, read only."""
        self.writer = writer
        """What is written outside of a cell's batches: customers, versions, rollups."""
        self.history = history
        """Looked at by every connection of all of them, and of the cells."""
        self._writer_session = writer_session

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        reader_url: str | None = None,
        finance_url: str | None = None,
        writer_url: str | None = None,
        lock_timeout: str = LOCK_TIMEOUT,
    ) -> Database:
        """Connects to a migrated database; a role without a URL of its own is set on the owner's `url`.

        Raises RoleTooStrongError, or the driver's error where the database cannot be reached.
        """
        waits = {"lock_timeout": lock_timeout}
        reader_session = _Session.of(READER, url, reader_url, _READ_ONLY | waits)
        finance_session = _Session.of(FINANCE, url, finance_url, _READ_ONLY | waits)
        writer_session = _Session.of(WRITER, url, writer_url, _SESSION | waits)
        history = History()
        pools: list[Pool] = []
        try:
            for session, limit, timeout in (
                (reader_session, READER_CONNECTIONS_MAX, STATEMENT_TIMEOUT),
                (reader_session, REPORTS_CONNECTIONS_MAX, STATEMENT_TIMEOUT),
                (finance_session, FINANCE_CONNECTIONS_MAX, FINANCE_STATEMENT_TIMEOUT),
                (writer_session, WRITER_CONNECTIONS_MAX, STATEMENT_TIMEOUT),
            ):
                pools.append(await session.pool(limit, timeout, history))
            reader, reports, finance, writer = pools
            await _refuse_dollars_to(reader)
        except BaseException:
            for pool in pools:
                pool.terminate()
            raise
        return cls(
            reader=reader,
            reports=reports,
            finance=finance,
            writer=writer,
            writer_session=writer_session,
            history=history,
        )

    async def connect_writer(self, application_name: str) -> Connection:
        """A connection for a cell's batches or loads: plans made once, time-outs held to by the server.

        At most 63 bytes of `application_name` are shown; by it a lost session is found and ended. Raises
        StandbyError, and the driver's errors.
        """
        session = self._writer_session
        connection = await asyncpg.connect(
            session.url,
            server_settings={
                **session.settings,
                **_PLANS,
                "application_name": application_name,
                "statement_timeout": STATEMENT_TIMEOUT,
            },
            statement_cache_size=256,
            max_cached_statement_lifetime=0,
            max_cacheable_statement_size=0,
        )
        try:
            await decode_json(connection)
            await self.history.meet(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    def use(self) -> dict[str, PoolUse]:
        """How far each pool is used, by name: its role, and `reports`."""
        pools = {READER: self.reader, "reports": self.reports, FINANCE: self.finance, WRITER: self.writer}
        return {
            role: PoolUse(pool.get_size() - pool.get_idle_size(), pool.get_size(), pool.get_max_size())
            for role, pool in pools.items()
        }

    async def close(self) -> None:
        """Closes the pools, waiting for what is in use; connections of cells are their owners'."""
        for pool in (self.reader, self.reports, self.finance, self.writer):
            await pool.close()


class _Session(NamedTuple):
    """How to get a session of a role."""

    url: str
    settings: Mapping[str, str]

    @classmethod
    def of(cls, role: str, url: str, own_url: str | None, settings: Mapping[str, str]) -> _Session:
        if own_url is not None:
            return cls(own_url, settings)
        return cls(url, {**settings, "role": role})

    async def pool(self, limit: int, statement_timeout: str, history: History) -> Pool:
        async def init(connection: Connection | PooledConnection) -> None:
            await decode_json(connection)
            await history.meet(connection)

        return await asyncpg.create_pool(
            self.url,
            min_size=1,
            max_size=limit,
            init=init,
            reset=_keep_session,
            server_settings={
                **self.settings,
                "application_name": "acu-ledger",
                "statement_timeout": statement_timeout,
            },
        )


async def _keep_session(_: Connection) -> None:
    """Leaves a session as it is when it goes back to its pool, and saves each use a round trip.

    The driver itself rolls back a transaction that is still open, and ends a session whose statement was
    cancelled half way. What it would reset beyond that is never there: no statement on a pool sets a
    variable but for its transaction, holds an advisory lock, listens, or keeps a cursor.
    """


async def decode_json(connection: Connection | PooledConnection) -> None:
    """Makes `json` text on the way in and parsed on the way out, within a ROW() too, where all is binary."""
    await connection.set_type_codec(
        "json", schema="pg_catalog", format="binary", encoder=str.encode, decoder=json.loads
    )


async def _refuse_dollars_to(reader: Pool) -> None:
    readable = [row["table"] for row in await reader.fetch(_READABLE_DOLLARS)]
    if readable:
        raise RoleTooStrongError(f"the reader's role may read {', '.join(sorted(readable))}: use {READER}")
