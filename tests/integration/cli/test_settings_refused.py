"""What a user reads of a database or a port that `acu-ledger` cannot use."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from command_line import acu_ledger

from ledger.store.postgres.embedded import EmbeddedPostgres
from tests.serving import FREE_PORTS


@pytest.fixture(scope="module")
def directory(clusters: Path) -> Path:
    """Of a database."""
    return clusters / "refusing"


@pytest.fixture(scope="module")
def postgres(directory: Path) -> Iterator[EmbeddedPostgres]:
    """An empty database."""
    server = EmbeddedPostgres.start(directory)
    yield server
    server.stop()


async def test_a_wrong_password(postgres: EmbeddedPostgres, directory: Path) -> None:
    """What PostgreSQL says is reported, with the setting and the host."""
    rules = directory / "pg_hba.conf"
    rules.write_text(f"local all locked scram-sha-256\n{rules.read_text()}")
    owner = await asyncpg.connect(postgres.url)
    await owner.execute("CREATE ROLE locked LOGIN PASSWORD 'right'; SELECT pg_reload_conf()")
    await owner.close()
    parts = urlsplit(postgres.url)
    url = parts._replace(netloc="locked:secret@").geturl()
    ran = acu_ledger("migrate", environment={"DATABASE_URL": url})
    assert (ran.status, ran.stdout) == (2, "")
    assert ran.stderr.startswith("DATABASE_URL: PostgreSQL at /")
    assert 'password authentication failed for user "locked"' in ran.stderr
    assert "secret" not in ran.stderr


@pytest.mark.parametrize("command", ["migrate", "serve"])
def test_an_unknown_database(postgres: EmbeddedPostgres, command: str) -> None:
    """One line, and no traceback."""
    url = urlsplit(postgres.url)._replace(path="/nope").geturl()
    ran = acu_ledger(command, environment={"DATABASE_URL": url})
    assert (ran.status, ran.stdout) == (2, "")
    assert 'database "nope" does not exist' in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_a_reader_that_is_the_owner(postgres: EmbeddedPostgres) -> None:
    """A role that may read dollars is reported by the setting that names it."""
    environment = {"DATABASE_URL": postgres.url, "ACU_LEDGER_READER_URL": postgres.url}
    ran = acu_ledger("serve", environment=environment)
    assert (ran.status, ran.stdout) == (2, ""), ran.stderr
    assert "ACU_LEDGER_READER_URL: the reader's role may read " in ran.stderr


def test_a_role_of_its_own_that_cannot_be_reached(postgres: EmbeddedPostgres) -> None:
    """The error says which of the URLs it is."""
    nowhere = "postgresql://acu_writer:secret@127.0.0.1:1/db"
    ran = acu_ledger("serve", environment={"DATABASE_URL": postgres.url, "ACU_LEDGER_WRITER_URL": nowhere})
    assert (ran.status, ran.stdout) == (2, "")
    assert "ACU_LEDGER_WRITER_URL: no PostgreSQL can be reached at 127.0.0.1:1: " in ran.stderr


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """The setting and the option are reported, with the directory."""
    file = tmp_path / "file"
    file.write_text("")
    for options, environment in (((), {"ACU_LEDGER_DATA_DIR": f"{file}/x"}), (("--data", f"{file}/x"), {})):
        ran = acu_ledger("migrate", *options, environment=environment)
        assert (ran.status, ran.stdout) == (2, "")
        assert ran.stderr.startswith(f"ACU_LEDGER_DATA_DIR (--data): {file}/x cannot hold the embedded ")
        assert len(ran.stderr.splitlines()) == 1


def test_a_directory_where_postgres_does_not_start(tmp_path: Path) -> None:
    """The directory is reported, and where PostgreSQL may have said why."""
    (tmp_path / "what").write_text("another's")
    ran = acu_ledger("migrate", "--data", tmp_path)
    assert (ran.status, ran.stdout) == (2, "")
    assert f"ACU_LEDGER_DATA_DIR (--data): PostgreSQL does not start in {tmp_path}: " in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_port_of_metrics_that_is_taken(postgres: EmbeddedPostgres) -> None:
    """The address, the reason and the way out are reported, once."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        environment = {**FREE_PORTS, "DATABASE_URL": postgres.url, "ACU_LEDGER_OPERATIONS_PORT": str(port)}
        ran = acu_ledger("serve", environment=environment)
    assert (ran.status, ran.stdout) == (1, "")
    assert ran.stderr.splitlines()[-1] == (
        f"cannot serve metrics on 127.0.0.1:{port} (Address already in use):"
        " end what listens there, or choose another port"
    )
