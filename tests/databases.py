"""Databases for tests, on one embedded server: migrated ones, copied from a template."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import asyncpg

from ledger.store.postgres.database import FINANCE, READER, WRITER
from ledger.store.postgres.embedded import EmbeddedPostgres
from ledger.store.postgres.migrate import migrate

_TEMPLATE = "migrated"


class DatabaseUrls(NamedTuple):
    """Of one database, by role."""

    owner: str
    reader: str
    finance: str
    writer: str

    @classmethod
    def of(cls, server: EmbeddedPostgres, name: str) -> DatabaseUrls:
        urls = (server.url, server.reader_url, server.finance_url, server.writer_url)
        return cls(*(url.replace("/postgres?", f"/{name}?") for url in urls))

    @classmethod
    def by_socket(cls, name: str, directory: Path) -> DatabaseUrls:
        """Of a server that lets every role in by its socket."""
        roles = ("postgres", READER, FINANCE, WRITER)
        return cls(*(f"postgresql://{role}:@/{name}?host={directory}" for role in roles))

    @property
    def environment(self) -> Mapping[str, str]:
        """As the settings of a server in a process of its own."""
        return {
            "DATABASE_URL": self.owner,
            "ACU_LEDGER_READER_URL": self.reader,
            "ACU_LEDGER_FINANCE_URL": self.finance,
            "ACU_LEDGER_WRITER_URL": self.writer,
        }


async def make_template(server: EmbeddedPostgres) -> None:
    """Makes the database that the others are copies of; what is in them need not outlive the machine."""
    await execute(
        server.url,
        "ALTER SYSTEM SET fsync = off",
        "SELECT pg_reload_conf()",
        f"CREATE DATABASE {_TEMPLATE}",
    )
    url = DatabaseUrls.of(server, _TEMPLATE).owner
    await migrate(url)
    # Customers of tests are numbered 1, 2, 3 …: statements name them.
    await execute(
        url,
        """
        CREATE SEQUENCE public.numbers;
        GRANT USAGE ON SEQUENCE public.numbers TO acu_writer;
        ALTER TABLE ledger.customers ALTER customer SET DEFAULT nextval('public.numbers')
        """,
    )


async def new_database(server: EmbeddedPostgres, name: str, template: str = _TEMPLATE) -> DatabaseUrls:
    """A migrated database, with one cell (cell_00); or a copy of another, which nobody is connected to.

    One of the same name goes: a module that workers share out among them may make its own twice. The files
    are copied: to log each of their pages takes twice as long.
    """
    await execute(
        server.url,
        f"DROP DATABASE IF EXISTS {name} WITH (FORCE)",
        f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY",
    )
    return DatabaseUrls.of(server, name)


async def drop_database(server: EmbeddedPostgres, name: str) -> None:
    """Drops it, if there is one, whoever is connected."""
    await execute(server.url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


async def execute(url: str, *statements: str) -> None:
    """Statements on a connection of their own, each by itself."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
