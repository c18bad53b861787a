"""`acu-ledger` in processes of their own that need not import it first: forks of one process that has.

To import the command line takes half a second of a processor, with a server a whole one, and tests start
hundreds of them. Each fork reads its arguments and settings, makes all else itself, and ends as any program
does. The process that they come from imports and does nothing more: it has no thread that a fork would lack.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import NamedTuple

_REPOSITORY = Path(__file__).parents[1]
_NUMBER_BYTES = 8
"""Of a process id, and of an exit status."""
_CHUNK_BYTES = 1 << 16


class Program:
    """One that was started; its methods are those of `subprocess.Popen`."""

    def __init__(self, reports: socket.socket) -> None:
        self._reports = reports
        self._status: int | None = None
        self.pid = self._number()

    def poll(self) -> int | None:
        """Its exit status, negative where a signal ended it; None while it runs."""
        try:
            return self.wait(0)
        except BlockingIOError:
            return None

    def wait(self, timeout_seconds: float | None = None) -> int:
        """Its exit status, once it has ended. Raises subprocess.TimeoutExpired."""
        if self._status is None:
            self._reports.settimeout(timeout_seconds)
            try:
                self._status = self._number()
            except TimeoutError:
                raise subprocess.TimeoutExpired("acu-ledger", timeout_seconds or 0) from None
            self._reports.close()
        return self._status

    def send_signal(self, number: signal.Signals) -> None:
        """Nothing happens where it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _number(self) -> int:
        sent = self._reports.recv(_NUMBER_BYTES)
        assert len(sent) == _NUMBER_BYTES, "whoever waits for the program has ended"
        return int.from_bytes(sent, signed=True)


def start(arguments: Sequence[str], environment: Mapping[str, str], stdout: int, stderr: int) -> Program:
    """`acu-ledger` with these arguments and settings, in the repository's directory."""
    channel, lock = _source()
    reports, theirs = socket.socketpair()
    text = json.dumps([list(arguments), dict(environment)]).encode() + b"\n"
    with lock:
        sent = socket.send_fds(channel, [text], [stdout, stderr, theirs.fileno()])
        channel.sendall(text[sent:])
        theirs.close()
        return Program(reports)


@cache
def _source() -> tuple[socket.socket, Lock]:
    """Where programs are asked for, by one at a time; it ends with this process."""
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, "-c", "from tests.forks import main; main()", str(theirs.fileno())],
        cwd=_REPOSITORY,
        env={**os.environ, "PYTHONWARNINGS": "error"},
        stdin=subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
    )
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours, Lock()


class _Request(NamedTuple):
    arguments: list[str]
    environment: dict[str, str]
    stdout: int
    stderr: int
    reports: int

    def close(self) -> None:
        for file in (self.stdout, self.stderr, self.reports):
            os.close(file)


def main() -> None:
    """Imports, and forks for each request; in a fork, runs the program."""
    run = _imported()
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        while (request := _next(channel)) is not None:
            _forget_ended()
            is_program = not os.fork() and _is_program(request)
            request.close()
            if is_program:
                break
        else:
            return
    sys.argv = ["acu-ledger", *request.arguments]
    os.environ.clear()
    os.environ.update(request.environment)
    run()


def _imported() -> Callable[[], None]:
    """All that a command or a server imports; the command line."""
    commands = import_module("ledger.cli.commands")
    for module in pkgutil.iter_modules(commands.__path__, f"{commands.__name__}."):
        import_module(module.name)
    for name in ("ledger.app", "ledger.store.postgres.embedded"):
        import_module(name)
    gc.collect()
    gc.freeze()  # What is never looked at again is not copied into each fork.
    run: Callable[[], None] = import_module("ledger.cli.main").main
    return run


def _next(channel: socket.socket) -> _Request | None:
    """None: whoever asked has ended."""
    text, files, _, _ = socket.recv_fds(channel, _CHUNK_BYTES, 3)
    if not text:
        return None
    while not text.endswith(b"\n"):
        text += channel.recv(_CHUNK_BYTES)
    return _Request(*json.loads(text), *files)


def _forget_ended() -> None:
    """Of those who waited for programs: they would stay in the system's table."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _is_program(request: _Request) -> bool:
    """Forks once more: whoever waits for the program reports its id and its status, and ends here."""
    pid = os.fork()
    if not pid:
        os.dup2(request.stdout, 1)
        os.dup2(request.stderr, 2)
        return True
    os.close(request.stdout)
    os.close(request.stderr)
    os.write(request.reports, pid.to_bytes(_NUMBER_BYTES, signed=True))
    _, ended = os.waitpid(pid, 0)
    try:
        os.write(request.reports, os.waitstatus_to_exitcode(ended).to_bytes(_NUMBER_BYTES, signed=True))
    finally:
        os._exit(0)
