"""Brings a database to the schema of this version.

What belongs to no cell stands in the schema `ledger`, each cell in a schema of its own, with its own
`alembic_version`, migrated in a transaction of its own. An advisory lock makes servers that start at the
same time take turns.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
from alembic import command
from alembic.config import Config
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from ledger.store.database import ROLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

SHARED_SCHEMA = "ledger"
DEFAULT_CELLS = ("cell_00",)

_CELL_NAME = re.compile(r"cell_[0-9]{2}")
_LOCK = 0x6163755F6C656467
"""Of `pg_advisory_lock`: any number that nobody else in the database uses."""

# Roles belong to the cluster: servers of two databases may create them at the same instant. They may log
# in, but have no password: with `scram` or `md5` in pg_hba.conf nobody can until one is set. An owner that
# is no superuser needs the right to SET ROLE to them.
_CREATE_ROLE = """
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
        CREATE ROLE {role} LOGIN NOINHERIT;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$
"""
_LET_OWNER_SET_ROLE = """
DO $$ BEGIN
    IF NOT pg_has_role(current_user, '{role}', 'SET') THEN
        EXECUTE format('GRANT {role} TO %I', current_user);
    END IF;
EXCEPTION WHEN insufficient_privilege THEN NULL;
END $$
"""


async def migrate(url: str, cells: Sequence[str] = DEFAULT_CELLS) -> list[str]:
    """Applies what is missing, and tells what that was, e.g. "cell_00: cell_0001".

    Safe to run in several processes at once. `url` is the owner's: it creates schemas and roles. Raises
    ValueError for a cell that is not named cell_NN.
    """
    for cell in cells:
        if not _CELL_NAME.fullmatch(cell):
            raise ValueError(f"a cell is named cell_00 to cell_99, not {cell!r}")
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=partial(asyncpg.connect, url), poolclass=NullPool
    )
    applied: list[str] = []
    async with engine.connect() as connection:
        # The lock is the session's: it outlives the transactions below, and ends with the connection.
        await connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
        await connection.commit()
        await connection.run_sync(_create_roles)
        await connection.run_sync(_upgrade, SHARED_SCHEMA, "shared", applied)
        for cell in cells:
            await connection.run_sync(_upgrade, cell, "cell", applied)
    return applied


def _create_roles(connection: Connection) -> None:
    with connection.begin():
        for role in ROLES:
            connection.execute(text(_CREATE_ROLE.format(role=role)))
            connection.execute(text(_LET_OWNER_SET_ROLE.format(role=role)))


def _upgrade(connection: Connection, schema: str, history: str, applied: list[str]) -> None:
    """Brings one schema to the newest revision of its history, in one transaction."""

    def note(*, step: Any, **_: Any) -> None:
        applied.append(f"{schema}: {step.up_revision_id}")

    migrations = Path(__file__).parent / "migrations"
    config = Config()
    config.set_main_option("path_separator", "newline")
    config.set_main_option("script_location", _escaped(migrations))
    config.set_main_option("version_locations", _escaped(migrations / history))
    config.attributes.update(connection=connection, schema=schema, on_version_apply=note)
    with connection.begin():
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
        connection.execute(text(f"GRANT USAGE ON SCHEMA {schema} TO {', '.join(ROLES)}"))
        connection.execute(text(f"SET LOCAL search_path TO {schema}"))
        command.upgrade(config, "head")


def _escaped(path: Path) -> str:
    """The path as an option of alembic's, which interpolates percent signs."""
    return str(path).replace("%", "%%")
