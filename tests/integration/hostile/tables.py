"""What the database knows, as one value."""

from __future__ import annotations

import asyncpg

_TABLES = """
    SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
    WHERE (schemaname = 'ledger' OR schemaname LIKE 'cell%') AND tablename NOT LIKE ALL ($1) ORDER BY 1
"""
FOLLOW_BY_THEMSELVES = ("rollup%", "event%", "tailer", "watch", "signing_keys")
"""What follows the journal, a while after it, how far its verification is, and what each day brings."""


class Tables:
    """All tables of the service, but for those that follow the others by themselves."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], names: list[str]) -> None:
        self._connection = connection
        parts = (
            f"SELECT '{name}', md5(string_agg(t::text, chr(10) ORDER BY t::text)) FROM {name} t"
            for name in names
        )
        self._digest = " UNION ALL ".join(parts)

    @classmethod
    async def of(cls, connection: asyncpg.Connection[asyncpg.Record]) -> Tables:
        """Of a database that has been migrated."""
        found = await connection.fetch(_TABLES, FOLLOW_BY_THEMSELVES)
        return cls(connection, [row[0] for row in found])

    async def digest(self) -> dict[str, str]:
        """Of all rows of each table."""
        return dict(await self._connection.fetch(self._digest))

    async def by_the_clock(self) -> int:
        """How many entries nobody has asked for: what was due."""
        count = await self._connection.fetchval(
            "SELECT count(*) FROM cell_00.entries WHERE request_id IS NULL"
        )
        return int(count)
