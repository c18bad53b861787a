"""The store as it was when 0.1.0 was done: a ceiling that does not move with what the store becomes.

Its own code measures it, out of the repository's history, with the packages of this environment, on the
PostgreSQL of the run. So its rows are rendered and its statement runs as they did then, on its own schema.
"""

from __future__ import annotations

import json
import os
import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from ledger.store.postgres.embedded import EmbeddedPostgres
from tests.benchmarks.checkouts import worktree

COMMIT: Final = "82edc3ec6ecaa6943754b2f8ad42fe18c27fbfab"
_PROGRAM: Final = Path(__file__).with_name("old_store.py").resolve()


class StoreBefore:
    """A process that runs the code of then."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def pairs_per_second(self, seconds: float) -> float:
        """In batches of 500, of 100 customers, one connection. Ends the run where the code does not work."""
        asked, reported = self._process.stdin, self._process.stdout
        if asked is None or reported is None:
            raise AssertionError("they were asked for")
        asked.write(f"{seconds}\n".encode())
        answer = await reported.readline()
        if not answer:
            raise SystemExit(f"the store of {COMMIT} does not run here")
        return float(answer)


@asynccontextmanager
async def store_before(server: EmbeddedPostgres, log: Path) -> AsyncIterator[StoreBefore]:
    """Its books are in this server. Ends the run where the history lacks the commit: a clone has it."""
    directory = worktree(COMMIT)
    urls = {
        "url": server.url,
        "reader_url": server.reader_url,
        "finance_url": server.finance_url,
        "writer_url": server.writer_url,
    }
    with log.open("wb") as stderr:
        process = await create_subprocess_exec(
            *(sys.executable, "-P", str(_PROGRAM), json.dumps(urls)),
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(directory)},
            stdin=PIPE,
            stdout=PIPE,
            stderr=stderr,
        )
    try:
        yield StoreBefore(process)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()
