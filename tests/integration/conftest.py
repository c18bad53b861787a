"""`acu-ledger serve` as a process of its own, for tests that look at it from outside."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

REPOSITORY = Path(__file__).parents[2]
COMMAND = (sys.executable, "-c", "from ledger.cli.main import main; main()")
FREE_PORTS = {f"ACU_LEDGER_{name}_PORT": "0" for name in ("PUBLIC", "BACK_OFFICE", "OPERATIONS", "FINANCE")}
START_LINES = 5
"""A heading and four addresses; what follows are calls to try."""
STOP_SECONDS = 60
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Served:
    """A server that runs."""

    process: subprocess.Popen[str]
    said: str
    """What it printed when it began to serve."""
    stderr: Path

    @property
    def public(self) -> str:
        return self._address("public API")

    @property
    def back_office(self) -> str:
        return self._address("back office")

    def _address(self, name: str) -> str:
        found = re.search(rf"{name} +(\S+)", self.said)
        assert found, self.said
        return found[1]

    def operations_metrics(self) -> str:
        """The page of the metrics of operations."""
        with urllib.request.urlopen(self._address("operations metrics")) as response:  # noqa: S310 -- ours
            return response.read().decode()

    def log(self) -> str:
        """All that it has logged."""
        return self.stderr.read_text(encoding="utf-8")

    def resident_bytes(self) -> int:
        """Its memory."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * PAGE_BYTES


class Urls(Protocol):
    """Of a database, by role."""

    owner: str
    reader: str
    finance: str
    writer: str


class Serve(Protocol):
    """Serves a database with a configuration, until the block ends; the server then ends with status 0."""

    def __call__(self, urls: Urls, config: Path) -> AbstractContextManager[Served]: ...


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Starts servers."""

    @contextmanager
    def started(urls: Urls, config: Path) -> Iterator[Served]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ACU_LEDGER_")}
        database = {
            "DATABASE_URL": urls.owner,
            "ACU_LEDGER_READER_URL": urls.reader,
            "ACU_LEDGER_FINANCE_URL": urls.finance,
            "ACU_LEDGER_WRITER_URL": urls.writer,
        }
        stderr = tmp_path / "stderr"
        with (
            stderr.open("w") as log,
            subprocess.Popen(
                [*COMMAND, "serve", "--config", str(config)],
                cwd=REPOSITORY,
                env={**kept, **FREE_PORTS, **database},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            ) as process,
        ):
            assert process.stdout is not None
            try:
                yield Served(process, "".join(process.stdout.readline() for _ in range(START_LINES)), stderr)
                process.terminate()
                assert process.wait(STOP_SECONDS) == 0
            finally:
                process.kill()

    return started
