"""The tailer: keeps the rollups a second or so behind the journal, and shows finance's metrics.

Every replica runs one. The cursor's row lets one of them step at a time, and each shows the figures of
the database, whoever stepped: so none is special, and one that dies is not missed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ledger.metrics.finance import FinanceFigures, FinanceMetrics
from ledger.rounds import rounds
from ledger.store.finance.rollups import AmountKey, Progress, advance, totals

if TYPE_CHECKING:
    from ledger.store.postgres.database import Database

PERIOD_SECONDS = 1.0
STEP_ENTRIES_MAX = 2_000
"""Entries of one step: a few tens of milliseconds of the database's time."""


class Tailer:
    def __init__(self, database: Database, cells: Sequence[str], metrics: FinanceMetrics) -> None:
        self._database = database
        self._cells = cells
        self._metrics = metrics

    async def run(self) -> None:
        """Step and show until cancelled; while the database is away the lag tells."""
        await rounds(self._step_and_show, PERIOD_SECONDS, "rollups.not_moved")

    async def _step_and_show(self) -> bool:
        is_behind = await self.step_all()
        await self.show()
        return is_behind

    async def step_all(self) -> bool:
        """Takes one chunk of every cell's journal; True if more can be taken at once."""
        steps = [await self.step(cell) for cell in self._cells]
        return any(step.behind for step in steps if step is not None)

    async def step(self, cell: str) -> Progress | None:
        """Takes one bounded chunk of the cell's journal into its rollups; None: another replica is at it."""
        return await advance(self._database.writer, cell, STEP_ENTRIES_MAX)

    async def show(self) -> None:
        """Reads the figures of all cells and shows them as metrics."""
        by_cell = {cell: await totals(self._database.finance, cell) for cell in self._cells}
        cells = by_cell.values()
        amounts: Counter[AmountKey] = Counter()
        for cell in cells:
            amounts.update(cell.amounts)
        known = [cell.as_of for cell in cells if cell.as_of is not None]
        self._metrics.show(
            FinanceFigures(
                amounts=amounts,
                as_of=min(known) if len(known) == len(cells) else None,
                clock=max(cell.clock for cell in cells),
                cursors={name: cell.cursor for name, cell in by_cell.items()},
                begun_at=min((cell.begun_at for cell in cells if cell.begun_at is not None), default=None),
                entries_behind=sum(cell.entries_behind for cell in cells),
            )
        )
