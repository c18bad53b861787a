"""The calls that a server makes for a pair, and the text that it sends to PostgreSQL: counted, not timed."""

from __future__ import annotations

import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.benchmarks import load
from tests.benchmarks.load import BATCH, SPREAD
from tests.benchmarks.processes import Program
from tests.benchmarks.report import Say
from tests.benchmarks.stage import Service, service

_PROGRAM = Path(__file__).with_name("counted.py").resolve()
_BATCHES = 5
"""Calls of 500 pairs that count; the median is the figure, for work beside them falls into some."""


class Counts(NamedTuple):
    """Of a pair in batches of 500: all of the server's main thread, from a call's bytes to its answer's."""

    python_calls: float
    c_calls: float
    text_bytes: float
    """Of all parameters of the statements that it sends."""


async def counts_of_pair(
    settings: Mapping[str, str],
    log: Path,
    python: Path,
    directory: Path,
    say: Say,
    prepare: Callable[[Service], Awaitable[None]] | None = None,
) -> Counts:
    """Of a server of this interpreter's `acu-ledger`, run in the directory; `prepare` makes its customers."""
    with TemporaryDirectory(prefix="acu-ledger-") as temporary:
        path = Path(temporary) / "counts"
        program = Program((str(python), "-P", str(_PROGRAM), str(path), "serve"), directory)
        async with service(settings, log, program=program) as where:
            if prepare is not None:
                await prepare(where)
            whose = load.customers(SPREAD)

            async def count() -> list[float]:
                before = _asked(path)
                await load.batch_of_pairs(where.credits, list(islice(whose, BATCH)), load.uncounted)
                after = _asked(path)
                return [(after[name] - before[name]) / BATCH for name in ("python", "c", "text_bytes")]

            # The first call loads its customers, and fills what is worked out once.
            taken = [await load.carried_out(where.server.settle, count, say) for _ in range(1 + _BATCHES)]
    return Counts(*(median(each) for each in zip(*taken[1:], strict=True)))


def _asked(path: Path) -> dict[str, int]:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(path))
        return json.loads(asking.makefile("rb").read())
