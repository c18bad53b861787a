"""`backup` and `restore`: the books as one file, whole or not at all, verified before a port opens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from backups_world import CREDIT, bash, block, execute, sell, served

from ledger.at_database import BackupRefusedError, backed_up, migrated, restored
from ledger.cli.services import call
from ledger.client import BooksDoNotVerify
from ledger.environment import SettingsError
from ledger.settings import Settings
from ledger.store.postgres.embedded import EmbeddedPostgres
from ledger.v1.credit_service_pb2 import ChargeRequest
from ledger.v1.wallet_service_pb2 import GetBalanceRequest

MakeDatabase = Callable[[], Awaitable[str]]
CHARGE = {"request_id": "charge", "amount_micros": CREDIT}
OTHER = {"request_id": "another", "amount_micros": CREDIT}


def _settings(url: str) -> Settings:
    return Settings.read(database_url=url)


def _names(directory: Path) -> list[str]:
    return sorted(file.name for file in directory.iterdir())


async def test_the_commands_of_the_page(
    make_database: MakeDatabase, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    """What was sold is in the other database, once; the file is its owner's alone, nothing else is left."""
    url = await make_database()
    async with served(url) as ledger:
        await sell(ledger, "acme")
    new = postgres.url.replace("/postgres?", "/books?")
    environment = {"DATABASE_URL": url, "NEW_SERVER_URL": postgres.url, "NEW_DATABASE_URL": new}
    said = bash(block("file"), tmp_path, environment)
    assert "books.dump: OK" in said
    assert "of 1 customers, 0 violations" in said
    assert _names(tmp_path) == ["books.dump", "books.dump.sha256"]
    assert (tmp_path / "books.dump").stat().st_mode & 0o777 == 0o600
    async with served(new) as ledger:
        assert (await call(ledger.credits.Charge, ChargeRequest(customer_id="acme", **CHARGE))).replayed
        answer = await call(ledger.wallet.GetBalance, GetBalanceRequest(customer_id="acme"))
    assert (answer.balance.available_micros, answer.balance.held_micros) == (97 * CREDIT, 2 * CREDIT)


def test_the_embedded_database(tmp_path: Path) -> None:
    """It is backed up without a server, and restored to another directory."""
    # Not in pytest's own directory, which the database's user cannot enter.
    with TemporaryDirectory(prefix="acu-ledger-") as made:
        directory = Path(made)
        directory.chmod(0o755)
        environment = {"DATA": f"{directory}/data", "NEW_DATA": f"{directory}/new"}
        said = bash(f'acu-ledger migrate --data "$DATA"\n{block("embedded")}', tmp_path, environment)
    assert "0 entries of 0 customers, 0 violations" in said


async def test_restored_books_that_do_not_verify(make_database: MakeDatabase, tmp_path: Path) -> None:
    """Who does not verify is named and stopped before anybody is served; the others are served."""
    url, new = await make_database(), await make_database()
    async with served(url) as ledger:
        for customer_id in ("acme", "globex"):
            await sell(ledger, customer_id)
    await execute(
        url,
        """
        UPDATE cell_00.wallets SET available = available + 1, issued = issued - 1
        WHERE customer = (SELECT customer FROM ledger.customers WHERE customer_id = 'acme')
        """,
    )
    await backed_up(_settings(url), tmp_path / "books.dump")
    verified = await restored(_settings(new), tmp_path / "books.dump")
    assert verified is not None
    assert {violation.customer_id for violation in verified.violations} == {"acme"}
    async with served(new) as ledger:
        await call(ledger.credits.Charge, ChargeRequest(customer_id="globex", **OTHER))
        with pytest.raises(BooksDoNotVerify):
            await call(ledger.credits.Charge, ChargeRequest(customer_id="acme", **OTHER))


async def test_a_server_verifies_what_was_restored_by_other_means(
    make_database: MakeDatabase, postgres: EmbeddedPostgres
) -> None:
    """A copy of a database is elsewhere: its books are verified before a port opens, and then no more."""
    url = await make_database()
    async with served(url) as ledger:
        await sell(ledger, "acme")
    # What is damaged where it was verified is the watch's to find.
    await execute(url, "UPDATE cell_00.lots SET remaining = remaining + 1")
    name = url.rpartition("/backups_")[2].partition("?")[0]
    await execute(postgres.url, f"CREATE DATABASE books TEMPLATE backups_{name}")
    new = postgres.url.replace("/postgres?", "/books?")
    standing = "SELECT 1 FROM cell_00.findings WHERE stops AND ended_at IS NULL"
    assert await execute(new, standing) == []
    async with served(new) as ledger:
        with pytest.raises(BooksDoNotVerify):
            await call(ledger.credits.Charge, ChargeRequest(customer_id="acme", **OTHER))
    noted = "SELECT verified_at FROM ledger.verified WHERE place = ledger.place()"
    [before] = await execute(new, noted)
    await migrated(_settings(new))
    assert await execute(new, noted) == [before]


async def test_what_is_refused(make_database: MakeDatabase, tmp_path: Path) -> None:
    """With what is in the way, and without a trace in the database or beside the file."""
    url, empty = await make_database(), await make_database()
    file = tmp_path / "books.dump"
    with pytest.raises(BackupRefusedError, match="holds no ledger"):
        await backed_up(_settings(url), file)
    await migrated(_settings(url))
    await backed_up(_settings(url), file)
    with pytest.raises(BackupRefusedError, match="is there already: a backup replaces nothing"):
        await backed_up(_settings(url), file)
    with pytest.raises(BackupRefusedError, match=r"not empty .it holds cell_00\.alembic_version, .*createdb"):
        await restored(_settings(url), file)
    (tmp_path / "cut.dump").write_bytes(file.read_bytes()[:-2_000])
    with pytest.raises(BackupRefusedError, match="pg_restore: error"):
        await restored(_settings(empty), tmp_path / "cut.dump")
    (tmp_path / "cut.dump.sha256").write_text((tmp_path / "books.dump.sha256").read_text())
    with pytest.raises(BackupRefusedError, match="was changed since it was written"):
        await restored(_settings(empty), tmp_path / "cut.dump")
    (tmp_path / "other").write_text("no backup")
    with pytest.raises(BackupRefusedError, match="pg_restore: error: input file"):
        await restored(_settings(empty), tmp_path / "other")
    assert await execute(empty, "SELECT 1 FROM pg_namespace WHERE nspname IN ('ledger', 'cell_00')") == []
    assert len(_names(tmp_path)) == 5


async def test_a_schema_that_is_newer_than_the_program(make_database: MakeDatabase, tmp_path: Path) -> None:
    """It is refused with its revision and what to run, by whoever would start on it or restore it."""
    url, empty = await make_database(), await make_database()
    await migrated(_settings(url))
    await execute(url, "UPDATE cell_00.alembic_version SET version_num = 'cell_9999'")
    newer = (
        r"schema cell_00 is of a newer acu-ledger \(at cell_9999; the newest that this one knows is cell_0"
    )
    with pytest.raises(SettingsError, match=newer):
        await migrated(_settings(url))
    with pytest.raises(SettingsError, match=newer):
        async with served(url):
            pass
    await backed_up(_settings(url), tmp_path / "books.dump")
    with pytest.raises(BackupRefusedError, match=newer):
        await restored(_settings(empty), tmp_path / "books.dump")
