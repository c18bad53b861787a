"""The floor follower: reports a card whose work leaves less than its `margin_floor`, once a day.

It goes by the rollups, which are a second or so behind the journal. Every replica runs one; what one has
reported no other reports again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from ledger.rounds import rounds
from ledger.store.events.outbox import BreachedFloor, report_breaches
from ledger.store.finance.card_days import Earned, earned_by_day
from pricing.exact import format_percent

if TYPE_CHECKING:
    from ledger.store.postgres.database import Database

PERIOD_SECONDS: Final = 30.0
COST_NANOUSD_MIN: Final = 1_000_000_000
"""Of a day on a card: below a dollar a margin says nothing yet."""


class FloorFollower:
    """One per process."""

    def __init__(
        self,
        database: Database,
        cells: Sequence[str],
        floors: Callable[[], Mapping[str, Fraction]],
        clock: Callable[[], datetime],
    ) -> None:
        """`floors`: the share of its revenue that each card in force is to leave, where it states one."""
        self._database = database
        self._cells = cells
        self._floors = floors
        self._clock = clock

    async def run(self) -> None:
        """Step until cancelled."""
        await rounds(self.step, PERIOD_SECONDS, "floors.not_looked_at")

    async def step(self) -> bool:
        """Reports what is breached today; and yesterday, for what was booked right before midnight."""
        floors = self._floors()
        if not floors:
            return False
        today = self._clock().date()
        days = (today - timedelta(days=1), today)
        earned = await earned_by_day(self._database.finance, self._cells, days, floors.keys())
        breached = [
            BreachedFloor(day, card, format_percent(floors[card]).removesuffix("%"))
            for (day, card), own in sorted(earned.items())
            if is_breached(own, floors[card])
        ]
        if breached:
            await report_breaches(self._database.writer, breached)
        return False


def is_breached(earned: Earned, floor: Fraction) -> bool:
    """Whether the cost is more than the floor leaves of the revenue, and worth a word."""
    return earned.cost_nanousd >= COST_NANOUSD_MIN and earned.cost_nanousd > earned.revenue_nanousd * (
        1 - floor
    )
