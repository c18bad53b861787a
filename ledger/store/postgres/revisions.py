"""Revisions of the schemas: which there are, which a database has, and whether this version knows them.

Imports nothing of what applies them (`upgrade`), which a process that finds its database at the newest
revision does without.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ledger.errors import OperatorError

if TYPE_CHECKING:
    from ledger.store.postgres.database import Connection

SHARED_SCHEMA: Final = "ledger"
DEFAULT_CELLS: Final = ("cell_00",)
VERSION_TABLE: Final = "alembic_version"
"""Of each schema: the revision that it is at."""
MIGRATIONS: Final = Path(__file__).parents[1] / "migrations"


class MigrationRefusedError(OperatorError):
    """The database cannot be brought to this schema: what is in the way, and what to do."""


def history_of(schema: str) -> str:
    """The directory of a schema's migrations."""
    return "shared" if schema == SHARED_SCHEMA else "cell"


@cache
def known(schema: str) -> Sequence[str]:
    """All revisions of a schema's history, the oldest first: of r0001.py of `cell` it is cell_0001."""
    history = history_of(schema)
    return [f"{history}_{each.stem[1:]}" for each in sorted((MIGRATIONS / history).glob("r*.py"))]


async def at_newest(connection: Connection, schema: str) -> bool:
    """Whether there is nothing to apply to a schema. Raises MigrationRefusedError for a newer one."""
    if await connection.fetchval("SELECT to_regclass($1)", f"{schema}.{VERSION_TABLE}") is None:
        return False
    rows = await connection.fetch(f"SELECT version_num FROM {schema}.{VERSION_TABLE}")
    revisions = [row["version_num"] for row in rows]
    refuse_newer(schema, revisions)
    return revisions == [known(schema)[-1]]


def refuse_newer(schema: str, revisions: Iterable[str]) -> None:
    """Raises MigrationRefusedError where a schema has a revision that this version does not know."""
    if newer := sorted({*revisions} - {*known(schema)}):
        raise MigrationRefusedError(
            f"the schema {schema} is of a newer acu-ledger (at {', '.join(newer)};"
            f" the newest that this one knows is {known(schema)[-1]}): run that version or a newer one"
        )
