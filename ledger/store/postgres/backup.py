"""Backups of the books as one file: a dump by `pg_dump`, and its restore into an empty database.

The dump is of the ledger's schemas, in one snapshot, without owners and grants: roles and rights are made
anew by the migration that follows a restore. A file is there whole or not at all, and so is what a restore
makes.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Final, NamedTuple

import asyncpg

from ledger.errors import OperatorError
from ledger.store.postgres.programs import DUMP, RESTORE, Connect, ProgramError, Programs
from ledger.store.postgres.revisions import (
    SHARED_SCHEMA,
    VERSION_TABLE,
    MigrationRefusedError,
    refuse_newer,
)
from ledger.store.statements import statements_of

if TYPE_CHECKING:
    from ledger.store.postgres.database import Connection

_SCHEMAS: Final = (f"--schema={SHARED_SCHEMA}", "--schema=cell_[0-9][0-9]")
_PLAIN: Final = ("--no-owner", "--no-privileges")
_SUM: Final = ".sha256"
"""Behind the file's name: its checksum, as `sha256sum --check` reads it."""
_IN_THE_WAY_SHOWN: Final = 3

_REVISIONS = re.compile(
    rf"^COPY (\w+)\.{VERSION_TABLE} [^\n]*FROM stdin;\n(.*?)^\\\.$", re.MULTILINE | re.DOTALL
)
_SQL = statements_of(__name__, version_table=VERSION_TABLE)
_SERVER_MAJOR = _SQL["server_major"]
_HAS_LEDGER = _SQL["has_ledger"]
_IN_THE_WAY = _SQL["in_the_way"]


class BackupError(OperatorError):
    """A backup cannot be made or restored: what is in the way, and what to do."""


class Backup(NamedTuple):
    """A file that was written, and read again to its end."""

    file: Path
    size_bytes: int
    sha256: str


async def back_up(url: str, file: Path) -> Backup:
    """Dumps the books into a file of one's own alone (mode 0600), and its checksum beside it.

    `url` is the owner's. Servers go on; a migration meanwhile would wait. Raises BackupError, and OSError
    where the file cannot be written.
    """
    with _new(file) as temporary:
        try:
            programs = await _programs(url, _require_ledger)
            where = (f"--file={temporary}", "--format=custom", *_PLAIN, *_SCHEMAS)
            await programs.run(DUMP, *where, connect=Connect.of(url))
            await _revisions(programs, temporary)
        except ProgramError as error:
            raise BackupError(str(error)) from error
        return await asyncio.to_thread(_put, temporary, file)


async def restore(url: str, file: Path) -> None:
    """Restores a backup into an empty database, whole or not at all; it is to be migrated and verified then.

    `url` is the owner's. Raises BackupError, and OSError where the file cannot be read.
    """
    await asyncio.to_thread(_check_sum, file)
    try:
        programs = await _programs(url, _require_empty)
        for schema, revisions in (await _revisions(programs, file)).items():
            refuse_newer(schema, revisions)
        where = ("--single-transaction", *_PLAIN, str(file))
        await programs.run(RESTORE, *where, connect=Connect.of(url))
        connection = await asyncpg.connect(url)
        try:
            await connection.execute("ANALYZE")
        finally:
            await connection.close()
    except (ProgramError, MigrationRefusedError) as error:
        raise BackupError(f"{file}: {error}") from error


async def _programs(url: str, check: Callable[[Connection], Awaitable[None]]) -> Programs:
    """Programs for the server, once the database is what it has to be."""
    connection = await asyncpg.connect(url)
    try:
        await check(connection)
        return await Programs.find(await connection.fetchval(_SERVER_MAJOR))
    finally:
        await connection.close()


async def _require_ledger(connection: Connection) -> None:
    if not await connection.fetchval(_HAS_LEDGER):
        raise BackupError("the database holds no ledger: nothing is backed up")


async def _require_empty(connection: Connection) -> None:
    found = [row[0] for row in await connection.fetch(_IN_THE_WAY)]
    if found:
        more = ", …" if len(found) > _IN_THE_WAY_SHOWN else ""
        raise BackupError(
            f"the database is not empty (it holds {', '.join(found[:_IN_THE_WAY_SHOWN])}{more}): a restore"
            " replaces nothing, name an empty one (createdb, or another --data)"
        )


async def _revisions(programs: Programs, file: Path) -> Mapping[str, list[str]]:
    """The revisions of the schemas of a backup, all of which is read and unpacked for it."""
    await programs.run(RESTORE, f"--file={os.devnull}", str(file))
    script = await programs.run(RESTORE, "--data-only", f"--table={VERSION_TABLE}", "--file=-", str(file))
    found = {schema: rows.split() for schema, rows in _REVISIONS.findall(script)}
    if SHARED_SCHEMA not in found:
        raise BackupError(f"{file} is no backup of the ledger")
    return found


@contextmanager
def _new(file: Path) -> Iterator[Path]:
    """A temporary file beside one that is not there yet; what is left of it at the end goes."""
    if file.exists():
        raise BackupError(f"{file} is there already: a backup replaces nothing, name another file")
    with NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as made:
        temporary = Path(made.name)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _put(temporary: Path, file: Path) -> Backup:
    """Gives a backup that is whole its name, with its checksum, both on disk."""
    made = Backup(file, temporary.stat().st_size, _sha256(temporary))
    sums = file.with_name(file.name + _SUM)
    sums.write_text(f"{made.sha256}  {file.name}\n", encoding="utf-8")
    _sync(temporary)
    _sync(sums)
    temporary.rename(file)
    _sync(file.parent)
    return made


def _check_sum(file: Path) -> None:
    sums = file.with_name(file.name + _SUM)
    if sums.exists():
        expected = sums.read_text(encoding="utf-8").split()[:1]
        if expected != [_sha256(file)]:
            raise BackupError(f"{file} is not what {sums.name} says: it was changed since it was written")


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
