"""How long a simulation takes: charges of a journal, priced twice, the process and its reads included."""

from __future__ import annotations

from fractions import Fraction
from time import perf_counter
from typing import Final

from ledger.prices.price_book import PriceBook
from ledger.simulation.simulator import Simulator, WhatIf
from ledger.store.finance.charged_usage import ChargedUsageQuery
from ledger.store.postgres.database import Database
from tests.benchmarks.postgres import CELL, Books

CHARGES: Final = 100_000
"""What the figure is for; others are scaled to it."""

# The books' customers are copies of one: an instant cuts the same number of charges off each.
_UNTIL = (
    "SELECT booked_at FROM {cell}.entries WHERE customer = 1 AND kind = 'COMMIT' ORDER BY sequence"
    " OFFSET $1 LIMIT 1"
)


async def seconds(books: Books) -> float:
    """Seconds for so many charges, as if all costs fell."""
    database = await Database.open(
        books.owner, reader_url=books.reader, finance_url=books.finance, writer_url=books.writer
    )
    try:
        now = await database.finance.fetchval("SELECT now()")
        until = await database.finance.fetchval(_UNTIL.format(cell=CELL), CHARGES // books.customers)
        prices = PriceBook()
        await prices.published.refresh(database, now)
        simulator = Simulator(database.finance, prices, lambda: now, [CELL])
        began = perf_counter()
        report = await simulator.on_ledger(
            WhatIf(cost_factor=Fraction(7, 10)), ChargedUsageQuery(until=until)
        )
        return (perf_counter() - began) * CHARGES / report.charges
    finally:
        await database.close()
