"""The schema's history: `shared` for what belongs to no cell, `cell` for the tables of one cell.

A revision names an SQL script beside it, whose names are unqualified: the search path of its transaction
says which schema it makes. Revisions go forward only; a mistake is mended by the next one.
A script that was released is never edited. What servers of the version before read and write by is left as
it is: they work on while they are replaced.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op


def run_script(name: str) -> None:
    """Runs a script of this directory, whole, in the revision's transaction."""
    script = (Path(__file__).parent / name).read_text(encoding="utf-8")
    driver = op.get_bind().connection.dbapi_connection
    if driver is None:
        raise RuntimeError("a revision runs on a live connection")
    driver.run_async(lambda connection: connection.execute(script))
