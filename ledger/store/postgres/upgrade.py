"""Applies the migrations that a schema lacks, by alembic.

Imported where there is something to apply: alembic and SQLAlchemy take a quarter of a program's start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic import command
from alembic.config import Config
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from ledger.store.postgres.revisions import MIGRATIONS, history_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sqlalchemy import Connection as AlembicConnection

    from ledger.store.postgres.database import Connection


async def upgrade(connect: Callable[[], Awaitable[Connection]], schemas: Sequence[str]) -> list[str]:
    """Brings each schema to its newest revision, in a transaction of its own, and reports what it applied."""
    applied: list[str] = []
    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    async with engine.connect() as connection:
        for schema in schemas:
            await connection.run_sync(_upgrade, schema, applied)
    return applied


def _upgrade(connection: AlembicConnection, schema: str, applied: list[str]) -> None:
    def note(*, step: Any, **_: Any) -> None:
        applied.append(f"{schema}: {step.up_revision_id}")

    config = config_of(schema)
    config.attributes.update(connection=connection, schema=schema, on_version_apply=note)
    with connection.begin():
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
        connection.execute(text(f"SET LOCAL search_path TO {schema}"))
        command.upgrade(config, "head")


def config_of(schema: str) -> Config:
    """Alembic's, of a schema's history."""
    config = Config()
    config.set_main_option("path_separator", "newline")
    config.set_main_option("script_location", _escaped(str(MIGRATIONS)))
    config.set_main_option("version_locations", _escaped(str(MIGRATIONS / history_of(schema))))
    return config


def _escaped(path: str) -> str:
    """The path as an option of alembic's, which interpolates percent signs."""
    return path.replace("%", "%%")
