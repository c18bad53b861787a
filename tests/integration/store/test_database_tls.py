"""A PostgreSQL that lets nobody in but by TLS: Debian's, for the embedded one speaks none."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest

from ledger.app import running
from ledger.cli.own_server import connected
from ledger.cli.services import call
from ledger.database_url import check_url
from ledger.environment import SettingsError
from ledger.finance.v1.finance_service_pb2 import VerifyJournalRequest
from ledger.settings import Settings
from tests.certificates import Authority
from tests.faults.postgres import SYSTEM_USER
from tests.serving import ANY_PORTS, UNHURRIED

NAME: Final = "DATABASE_URL"
USER: Final = SYSTEM_USER if os.geteuid() == 0 else None


class Secured:
    """The server, whose certificate is for localhost alone."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.authority = Authority(directory)
        self._port = port

    def url(self, host: str = "localhost", **options: object) -> str:
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"postgresql://postgres@{host}:{self._port}/postgres?{query}"


def _programs() -> Path:
    found = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
    if found is None:
        if os.environ.get("REQUIRE_POSTGRESQL"):
            pytest.fail("a PostgreSQL with TLS is required here: apt-get install postgresql")
        pytest.skip("needs a PostgreSQL with TLS (Debian, Ubuntu: apt-get install postgresql)")
    return found


@pytest.fixture(scope="module")
def secured(unused_tcp_port_factory) -> Iterator[Secured]:
    """The server; it takes sessions by TLS alone."""
    programs = _programs()
    with TemporaryDirectory(prefix="acu-ledger-") as made:
        directory = Path(made)
        directory.chmod(0o755)
        server = Secured(directory, unused_tcp_port_factory())
        data = directory / "data"
        data.mkdir()

        def run(program: str, *arguments: str) -> None:
            subprocess.run([programs / program, *arguments], user=USER, check=True, stdout=subprocess.DEVNULL)

        if USER is not None:
            shutil.chown(data, USER)
        run("initdb", "--pgdata", str(data), "--username=postgres", "--auth=trust")
        pair = server.authority.issue("database", "localhost")
        for file, name in ((pair.certificate, "server.crt"), (pair.key, "server.key")):
            shutil.copy(file, data / name)
            (data / name).chmod(0o600)
            if USER is not None:
                shutil.chown(data / name, USER)
        (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 trust\n")
        options = (
            f"-c ssl=on -c port={server._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        )
        run("pg_ctl", "-D", str(data), "-w", "-l", str(data / "log"), "-o", options, "start")
        yield server
        run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")


async def test_a_service_on_a_database_that_it_verifies(secured: Secured) -> None:
    """By name and authority: every connection of the service, and of what it starts."""
    url = secured.url(sslmode="verify-full", sslrootcert=secured.authority.file)
    settings = Settings.read(database_url=url, **ANY_PORTS)
    async with running(settings, UNHURRIED) as stack, connected(stack) as ledger:
        assert (await call(ledger.finance.VerifyJournal, VerifyJournalRequest())).holds


async def test_a_database_that_does_not_verify_is_refused(secured: Secured) -> None:
    """It is reported by the setting, with what in its URL is to be looked at."""
    own, other = secured.authority.file, Authority(secured.directory, "other").file
    text = secured.directory / "text"
    text.write_text("no PEM")
    await check_url(NAME, secured.url(sslmode="verify-full", sslrootcert=own))
    await check_url(NAME, secured.url("127.0.0.1", sslmode="verify-ca", sslrootcert=own))
    for url, reported in (
        (
            secured.url(sslmode="verify-full", sslrootcert=other),
            "does not verify: unable to get local issuer certificate; verify-full takes in sslrootcert",
        ),
        (
            secured.url("127.0.0.1", sslmode="verify-full", sslrootcert=own),
            "does not verify: IP address mismatch, certificate is not valid for '127.0.0.1'; verify-full",
        ),
        (secured.url(sslmode="verify-full", sslrootcert=text), "no TLS with PostgreSQL at localhost:"),
        (secured.url(sslmode="disable"), "lets nobody in so: no pg_hba.conf entry"),
    ):
        with pytest.raises(SettingsError, match=rf"^{NAME}: ") as refused:
            await check_url(NAME, url)
        assert reported in str(refused.value)
