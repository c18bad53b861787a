"""Connections: a pool per role, and connections of their own for the cells' writers and loaders."""

from __future__ import annotations

import asyncpg

Connection = asyncpg.Connection[asyncpg.Record]
Pool = asyncpg.Pool[asyncpg.Record]


class Database:
    """The pools of one database."""

    reader: Pool
    finance: Pool
    writer: Pool

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        reader_url: str | None = None,
        finance_url: str | None = None,
        writer_url: str | None = None,
    ) -> Database:
        raise NotImplementedError

    async def connect_writer(self, application_name: str) -> Connection:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError
