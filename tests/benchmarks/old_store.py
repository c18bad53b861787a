"""The store alone of another commit, measured by that commit's own code.

`python -P old_store.py URLS` with that commit's files first on the path: the imports below are its own. It
makes books in the server of the URLs (JSON, by role), and for each line of seconds on its input it prints how
many pairs a second its store has written.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import redirect_stdout
from types import SimpleNamespace

import uvloop

from tests.benchmarks.ceilings import StoreAlone
from tests.benchmarks.postgres import make_books, writer

_CUSTOMERS = 100
_BATCH = 500


async def main(urls: dict[str, str]) -> None:
    """Until its input ends. What is logged goes to stderr: the output is for answers."""
    answers = sys.stdout
    with redirect_stdout(sys.stderr):
        books = await make_books(SimpleNamespace(**urls), "bench_old_store", _CUSTOMERS, 0)
        async with writer(books) as connection:
            store = await StoreAlone.open(connection, books.numbers)
            while line := await asyncio.to_thread(sys.stdin.readline):
                print(await store.pairs_per_second(_BATCH, float(line)), file=answers, flush=True)


if __name__ == "__main__":
    uvloop.run(main(json.loads(sys.argv[1])))
