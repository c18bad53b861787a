"""The event follower: keeps the outbox of events a second or so behind the journal.

Every replica runs one; the cursor's row lets one of them step at a time, so none is special, and one that
dies is not missed: what it had begun is rolled back, and the next step does it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from ledger.events.derive import PublicIds, events_of, of_expiring
from ledger.metrics.operations import OperationsMetrics
from ledger.prices.price_book import PriceBook
from ledger.rounds import rounds
from ledger.store.events.outbox import EventStep, report_expiring, report_published, take_step
from ledger.store.events.plans_seen import PlansSeen

if TYPE_CHECKING:
    from datetime import datetime

    from ledger.store.postgres.database import Database

STEP_ENTRIES_MAX: Final = 2_000
"""Entries of one step: a few tens of milliseconds of the database's time."""


class EventFollower:
    """One per process; its cells one after the other."""

    def __init__(
        self,
        database: Database,
        cells: Sequence[str],
        prices: PriceBook,
        ids: PublicIds,
        clock: Callable[[], datetime],
        metrics: OperationsMetrics,
        look_seconds: float,
    ) -> None:
        self._database = database
        self._cells = cells
        self._prices = prices
        self._clock = clock
        self._look_seconds = look_seconds
        self._derive = partial(events_of, ids=ids)
        self._report = partial(of_expiring, ids=ids)
        self._metrics = metrics

    async def run(self) -> None:
        """Step until cancelled; while the database is away the lag tells."""
        await rounds(self.step, self._look_seconds, "events.not_written")

    async def step(self) -> bool:
        """Makes events of one chunk of every cell's journal, and of new prices; True if there is more."""
        now = self._clock()
        plans = PlansSeen(self._prices.plans(now), partial(self._prices.plan_for, instant=now))
        steps: list[EventStep | None] = []
        are_left = False
        for cell in self._cells:
            steps.append(await take_step(self._database, cell, STEP_ENTRIES_MAX, plans, self._derive))
            are_left |= await report_expiring(self._database.writer, cell, plans.of, self._report)
        await report_published(self._database.writer)
        made = [step for step in steps if step is not None]
        if len(made) == len(steps):
            self._metrics.events(max(step.lag_seconds for step in made))
        return are_left or any(step.behind for step in made)
