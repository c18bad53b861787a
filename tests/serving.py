"""`acu-ledger serve` for tests: in a process of its own, or as settings for a server in the test's."""

from __future__ import annotations

import os
import re
import signal
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from ledger.api.messages.limits import CALLS, PORT
from ledger.engine.limits import BOUNDS, EngineLimits
from ledger.environment import PREFIX, environment_name
from ledger.limits import Limits
from ledger.settings import Settings
from tests import forks
from tests.databases import DatabaseUrls

REPOSITORY: Final = Path(__file__).parents[1]
COMMAND: Final = (sys.executable, "-c", "from ledger.cli.main import main; main()")
"""`acu-ledger`, wherever the environment's programs lie."""
ANY_PORTS: Final = dict.fromkeys(("public_port", "back_office_port", "operations_port", "finance_port"), 0)
"""Free ports, as settings."""
FREE_PORTS: Final = {environment_name(name): "0" for name in ANY_PORTS}
"""The same in the environment."""
HOUR_SECONDS: Final = 3_600
UNHURRIED: Final = Limits(
    engine=EngineLimits(
        bounds={urgency: bound._replace(age_seconds=HOUR_SECONDS) for urgency, bound in BOUNDS.items()}
    ),
    calls=CALLS._replace(read_seconds=HOUR_SECONDS),
    port=PORT._replace(unseen_seconds=HOUR_SECONDS),
    lock_timeout=f"{HOUR_SECONDS}s",
)
"""Of a server in the test's process: however slow the machine is, nothing is refused for its age."""
_LAST_SAID: Final = "GetPriceList"
"""In the last line of what a server prints when it serves."""
_STOP_SECONDS: Final = 60
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs."""

    process: forks.Program
    said: str
    """What it printed when it began to serve: a heading, four addresses, and calls to try."""
    stderr: Path | None

    def address(self, name: str) -> str:
        """Of a port, by the name that it is printed under."""
        return address(self.said, name)

    @property
    def public(self) -> str:
        return self.address("public API")

    @property
    def back_office(self) -> str:
        return self.address("back office")

    def operations_metrics(self) -> str:
        """The page of the metrics of operations."""
        with urllib.request.urlopen(self.address("operations metrics")) as response:  # noqa: S310 -- ours
            return response.read().decode()

    def log(self) -> str:
        """All that it has logged."""
        assert self.stderr is not None
        return self.stderr.read_text(encoding="utf-8")

    def resident_bytes(self) -> int:
        """Its memory."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * _PAGE_BYTES


@contextmanager
def serving(environment: Mapping[str, str], *options: str, stderr: Path | None = None) -> Iterator[Server]:
    """A server on free ports with these settings, until the block ends; it then ends with status 0."""
    with ExitStack() as life:
        stdout, theirs = os.pipe()
        said = life.enter_context(open(stdout, encoding="utf-8"))  # noqa: PTH123 -- it has no path
        log = sys.stderr.fileno() if stderr is None else life.enter_context(stderr.open("w")).fileno()
        settings = {**clean_environment(), **FREE_PORTS, **environment}
        process = forks.start(["serve", *options], settings, theirs, log)
        os.close(theirs)
        try:
            yield Server(process, _said(said), stderr)
            process.send_signal(signal.SIGTERM)
            assert process.wait(_STOP_SECONDS) == 0
        finally:
            process.kill()
            process.wait()


def settings_on(urls: DatabaseUrls, **given: Any) -> Settings:
    """Of a server in the test's process: a database by its roles, and free ports."""
    return Settings(
        DATABASE_URL=urls.owner,
        reader_url=urls.reader,
        finance_url=urls.finance,
        writer_url=urls.writer,
        **ANY_PORTS,
        **given,
    )


def clean_environment() -> Mapping[str, str]:
    """What this process has, without settings of the ledger; warnings are errors there too."""
    return {**without_settings(), "PYTHONWARNINGS": "error"}


def without_settings() -> dict[str, str]:
    """What this process has in its environment, without settings of the ledger."""
    return {
        name: value
        for name, value in os.environ.items()
        if name != "DATABASE_URL" and not name.startswith(PREFIX)
    }


def address(said: str, name: str) -> str:
    """Of a port of a server that has printed this. Raises AssertionError where it did not start."""
    found = re.search(rf"{name} +(\S+)\n", said)
    if found is None:
        raise AssertionError(f"no {name}: {said}")
    return found[1]


def _said(stdout: IO[str]) -> str:
    lines = []
    for line in stdout:
        lines.append(line)
        if _LAST_SAID in line:
            break
    return "".join(lines)
