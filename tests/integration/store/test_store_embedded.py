"""The embedded server: twice on a directory, shared, and after its owner was killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import pytest

from ledger.store.postgres.embedded import EmbeddedPostgres

pytestmark = pytest.mark.timeout(300)  # Each starts a server on a new directory, some of them twice.

OWNER = """
import sys
from pathlib import Path
from ledger.store.postgres.embedded import EmbeddedPostgres
server = EmbeddedPostgres.start(Path(sys.argv[1]))
print(server.url, flush=True)
sys.stdin.read()
server.stop()
"""

SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "client_connection_check_interval": "1s",
    "max_connections": "200",
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
}


@pytest.fixture
def data_dir():
    with TemporaryDirectory(prefix="acu-ledger-") as directory:
        yield Path(directory) / "nested" / "data"


async def _ask(url, question):
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


def ask(url, question="SELECT 1"):
    return asyncio.run(_ask(url, question))


def start_owner(directory):
    """Another process that uses the server; returns it once the server runs."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    assert owner.stdout.readline().startswith("postgresql://")
    return owner


def end(owner):
    with owner:
        if owner.poll() is None:
            owner.communicate("")


def test_it_works_twice_on_a_directory(data_dir):
    """What was written is there after a stop and a start."""
    server = EmbeddedPostgres.start(data_dir)
    ask(server.url, "CREATE TABLE kept AS SELECT 1")
    server.stop()
    with pytest.raises(OSError, match=r"No such file|refused"):
        ask(server.url)
    again = EmbeddedPostgres.start(data_dir)
    assert ask(again.url, "SELECT count(*) FROM kept") == 1
    again.stop()


def test_a_directory_may_have_any_name(data_dir):
    """Neither a shell, nor a setting, nor the URL takes it for anything but a name; so with every role."""
    directory = data_dir / "at 5 o'clock & a;b (100 %) #1?"
    server = EmbeddedPostgres.start(directory)
    ask(server.url, "CREATE ROLE acu_reader LOGIN")
    shown = ask(server.url, "SHOW data_directory"), ask(server.reader_url, "SELECT current_user")
    server.stop()
    assert shown == (str(directory.resolve()), "acu_reader")


@pytest.mark.parametrize("name", ["of $HOME", 'a "quoted" one', "a `command`", "back\\slash", "a,b"])
def test_a_directory_that_a_shell_would_read_is_refused(data_dir, name):
    """PostgreSQL's programs name it to each other by a shell; nothing is made."""
    with pytest.raises(OSError, match="takes no directory with"):
        EmbeddedPostgres.start(data_dir / name)
    assert not data_dir.exists()


def test_its_settings_are_ours(data_dir):
    """Commits reach the disk, the client is looked for each second, and the socket is its owner's alone."""
    server = EmbeddedPostgres.start(data_dir)
    shown = [ask(server.url, f"SHOW {name}") for name in SETTINGS]
    server.stop()
    assert shown == list(SETTINGS.values())


def test_two_users_in_one_process_share_it(data_dir):
    """The server runs until its last user has stopped it."""
    one, two = EmbeddedPostgres.start(data_dir), EmbeddedPostgres.start(data_dir)
    assert one.url == two.url
    one.stop()
    assert ask(two.url) == 1
    two.stop()
    with pytest.raises(OSError, match=r"No such file|refused"):
        ask(two.url)


def test_two_processes_share_it(data_dir):
    """A second process joins the running server, leaves and joins again; the server outlives the first."""
    owner = start_owner(data_dir)
    EmbeddedPostgres.start(data_dir).stop()
    server = EmbeddedPostgres.start(data_dir)
    end(owner)
    assert ask(server.url) == 1
    server.stop()


def test_a_killed_owner_leaves_a_server_that_is_found_and_ended(data_dir):
    """The server of a killed process is used again, and ends with its new user."""
    owner = start_owner(data_dir)
    owner.kill()
    end(owner)
    server = EmbeddedPostgres.start(data_dir)
    assert ask(server.url) == 1
    server.stop()
    with pytest.raises(OSError, match=r"No such file|refused"):
        ask(server.url)


@pytest.mark.parametrize("pid_file", ["kept", "of another program", "cut short"])
def test_a_killed_server_recovers(data_dir, pid_file):
    """After the server itself was killed with its owner, committed work is there at the next start."""
    owner = start_owner(data_dir)
    server = EmbeddedPostgres.start(data_dir)
    ask(server.url, "CREATE TABLE kept AS SELECT 1")
    file = data_dir / "postmaster.pid"
    lines = file.read_text().splitlines()
    owner.kill()
    end(owner)
    os.kill(int(lines[0]), signal.SIGQUIT)
    server.stop()
    if pid_file == "of another program":
        file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    elif pid_file == "cut short":
        file.write_text(f"{lines[0]}\n")
    again = EmbeddedPostgres.start(data_dir)
    assert ask(again.url, "SELECT count(*) FROM kept") == 1
    again.stop()
