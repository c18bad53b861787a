"""Where the time goes by part, of stacks as `py-spy record --native --format raw` writes them.

A sample belongs to the innermost frame whose file says which part it is of; the interpreter, the C library
and Python's own modules work for whoever called them. A sample that waits, for the network or a lock, takes
no time.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

OTHER: Final = "what no frame tells"
_OTHERS: Final = {
    "gRPC": re.compile(r"grpc/|cygrpc"),
    "protobuf": re.compile(r"google/|_message\.abi3"),
    "asyncpg": re.compile(r"asyncpg/|(pg)?proto(col)?\.c"),
    "asyncio, uvloop": re.compile(
        r"asyncio/|_asyncio|uvloop/|(loop|core|linux|loop-watcher|stream|async|timer|poll|uv-common|tcp)\.c"
    ),
}
_OWN: Final = {
    "api": re.compile(r"ledger/(api|access|v1|calls\.py|turns\.py)"),
    "engine": re.compile(r"ledger/(engine|prices|publishing|simulation|followers|clock\.py)"),
    "pricing": re.compile(r"pricing/"),
    "books": re.compile(r"ledger/books/"),
    "store": re.compile(r"ledger/store/"),
    "the rest of the service": re.compile(r"ledger/"),
}
PARTS: Final = _OTHERS | _OWN
"""Parts by the files of their frames; the first that matches counts."""
OWN: Final = tuple(_OWN)
"""Those that are the service's own code."""
_WAITING: Final = re.compile(
    r"(epoll_p?wait|poll|select|accept4?|futex|pthread_cond_\w+|PyThread_acquire_lock\w*) \("
)
_FILE: Final = re.compile(r"\(([^()]*?)(?::\d+)?\)$")


def shares(lines: Iterable[str]) -> dict[str, float]:
    """Each part's share of all samples that do not wait, in the order of `PARTS`; empty without any."""
    samples: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        part = _part(stack.split(";"))
        if part is not None:
            samples[part] += int(count)
    total = samples.total()
    return {part: samples[part] / total for part in (*PARTS, OTHER) if samples[part]}


def _part(stack: list[str]) -> str | None:
    """Whose a sample is; None where it waits."""
    for frame in reversed(stack):
        if _WAITING.match(frame):
            return None
        found = _FILE.search(frame)
        file = found[1] if found else ""
        part = next((name for name, files in PARTS.items() if files.match(file)), None)
        if part is not None:
            return part
    return OTHER
