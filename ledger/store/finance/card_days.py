"""What the work of a day has earned and cost on a card, from the rollups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from ledger.store.statements import statements_of

if TYPE_CHECKING:
    from ledger.store.postgres.database import Pool

_SQL = statements_of(__name__)


class CardDay(NamedTuple):
    """The work on a card that was booked on a day, UTC."""

    day: date
    card: str


class Earned(NamedTuple):
    """Both positive where work was sold."""

    revenue_nanousd: int
    cost_nanousd: int


async def earned_by_day(
    finance: Pool, cells: Collection[str], days: Collection[date], cards: Collection[str]
) -> Mapping[CardDay, Earned]:
    """The sums over cells; of what has neither earned nor cost there is nothing."""
    revenue, cost = Counter[CardDay](), Counter[CardDay]()
    for cell in cells:
        for row in await finance.fetch(_SQL["earned"].format(cell=cell), list(days), list(cards)):
            place = CardDay(row["day"], row["card"])
            revenue[place] += int(row["revenue"])
            cost[place] += int(row["cost"])
    return {place: Earned(revenue[place], cost[place]) for place in revenue}
