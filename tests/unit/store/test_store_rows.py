"""The texts that the write sends: how long those of a pair are."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import cycle, islice

from ledger.store.cells import write
from ledger.store.cells.rows_out import Shared
from tests.benchmarks.desk import Desk

PAIRS = 500
CUSTOMERS = range(2**60 - 100, 2**60)
"""Numbers as long as those that customers are given."""
BYTES_MAX = 1_635


async def test_a_pair_is_few_bytes() -> None:
    """A hold and its commit, in batches of 500 for 100 customers, labels and all: what is alike goes once."""
    desk, now = Desk(), datetime.now(UTC)
    for customer in CUSTOMERS:
        desk.create(customer, now)
        desk._tokens[customer] = 0
    desk.grants(CUSTOMERS)
    reserves, holds = desk.reserves(islice(cycle(CUSTOMERS), PAIRS))
    sent = 0
    for batch in (reserves, desk.commits(holds)):
        shared = Shared()
        rows = await write._rows(batch, shared)
        sent += sum(map(len, rows.values()))
        sent += sum(len(str(value)) for values in shared.parameters() for value in values)
    assert sent / PAIRS < BYTES_MAX
