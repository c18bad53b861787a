"""Servers: `acu-ledger serve` in processes of their own, which can be killed and started again."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc.aio

from ledger.client.channel import ANSWER_BYTES_MAX
from tests import forks
from tests.serving import COMMAND, FREE_PORTS, REPOSITORY, address, clean_environment
from tests.stubs import Stubs

SERVE = (*COMMAND, "serve")
START_SECONDS = 60.0


class Server:
    """One server; a name for its log, which goes on over restarts."""

    def __init__(
        self,
        name: str,
        database: Mapping[str, str],
        logs: Path,
        *,
        command: Sequence[str] = SERVE,
        config: Path | None = None,
    ) -> None:
        self.name = name
        self.config = config
        self._database = database
        self.command = command
        self._log = logs / f"{name}.log"
        self._process: subprocess.Popen[bytes] | forks.Program | None = None
        self._ledger: Stubs | None = None
        self._channels: list[grpc.aio.Channel] = []
        """Old ones too: closing one would cancel whoever still waits on it."""
        self.public = ""
        """Where the public port is, once it serves."""
        self.back_office = ""

    @property
    def pid(self) -> int:
        if self._process is None:
            raise AssertionError(f"{self.name} has not been started")
        return self._process.pid

    async def start(self, *, same_ports: bool = False) -> None:
        """Starts the process and waits until it serves, on any free ports or on those that it had.

        Raises TimeoutError, RuntimeError where it ended.
        """
        said = self._log.with_suffix(".out")
        self._process = self._spawn(said, self._ports() if same_ports else {})
        async with asyncio.timeout(START_SECONDS):
            while not (found := _addresses(said.read_text(encoding="utf-8"))):
                if self._process.poll() is not None:
                    raise RuntimeError(f"{self.name} ended at its start: see {self._log}")
                await asyncio.sleep(0.05)
        self.public, self.back_office = found
        self._ledger = None

    def _ports(self) -> dict[str, str]:
        addresses = {"PUBLIC": self.public, "BACK_OFFICE": self.back_office}
        return {f"ACU_LEDGER_{name}_PORT": at.rpartition(":")[2] for name, at in addresses.items()}

    def _spawn(self, said: Path, ports: Mapping[str, str]) -> subprocess.Popen[bytes] | forks.Program:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        arguments = ["--config", str(self.config)] if self.config is not None else []
        settings = {**clean_environment(), **FREE_PORTS, **ports, **self._database}
        with self._log.open("ab") as log, said.open("wb") as out:
            if self.command == SERVE:
                return forks.start(["serve", *arguments], settings, out.fileno(), log.fileno())
            return subprocess.Popen(
                [*self.command, *arguments], cwd=REPOSITORY, env=settings, stdout=out, stderr=log
            )

    @property
    def ledger(self) -> Stubs:
        """Its four services."""
        if self._ledger is None:
            public, back_office = channel_to(self.public), channel_to(self.back_office)
            self._channels += [public, back_office]
            self._ledger = Stubs.over(public, back_office)
        return self._ledger

    async def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)

    async def stop(self) -> None:
        """SIGTERM: it drains. Raises RuntimeError if it does not end by itself with status 0."""
        process = self._process
        for channel in self._channels:
            await channel.close()
        self._channels, self._ledger = [], None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            status = await asyncio.to_thread(process.wait, START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise RuntimeError(f"{self.name} did not drain") from None
        if status != 0:
            raise RuntimeError(f"{self.name} ended with status {status}")

    def log(self) -> str:
        """All that it has logged, over all its lives."""
        return self._log.read_text(encoding="utf-8", errors="replace")


def channel_to(target: str) -> grpc.aio.Channel:
    """A channel of its own connection, which tries again soon when the server is away."""
    options = [
        ("grpc.max_receive_message_length", ANSWER_BYTES_MAX),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 500),
        ("grpc.enable_retries", 0),
    ]
    return grpc.aio.insecure_channel(target, options=options)


def _addresses(said: str) -> tuple[str, str] | None:
    """Of the public port and the back office, once both are printed."""
    try:
        return address(said, "public API"), address(said, "back office")
    except AssertionError:
        return None
