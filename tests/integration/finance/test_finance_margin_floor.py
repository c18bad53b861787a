"""A card whose work of a day leaves less than its floor is an event, once, whichever server sees it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from fractions import Fraction

import pytest
from bookkeeper import CELL, CREDIT, DOLLAR, Bookkeeper, catch_up, line

from ledger.followers.floor_follower import FloorFollower, is_breached
from ledger.followers.tailer import Tailer
from ledger.metrics.finance import FinanceMetrics
from ledger.store.finance.card_days import Earned

CARD = "agents"
FLOORS = {CARD: Fraction(30, 100), "idle": Fraction(50, 100)}


@pytest.mark.parametrize(
    ("revenue", "cost", "floor", "expected"),
    [
        (10 * DOLLAR, 7 * DOLLAR, "0.3", False),
        (10 * DOLLAR, 7 * DOLLAR + 1, "0.3", True),
        (0, DOLLAR, "0", True),
        (0, DOLLAR - 1, "0", False),
        (10 * DOLLAR, 10 * DOLLAR, "0", False),
        (0, -DOLLAR, "0.3", False),
    ],
)
def test_a_floor_is_breached_by_a_nanodollar(revenue, cost, floor, expected):
    """Costs may be all that the floor leaves, and no more; below a dollar nothing is said."""
    assert is_breached(Earned(revenue, cost), Fraction(floor)) is expected


async def test_a_breach_is_reported_once_a_day(database, writer):
    """By one of two servers that look at once; the event says the card, the day and the floor, no dollar."""
    customer = await Bookkeeper.open(database, writer, "acme")
    await customer.grant(1_000 * CREDIT, 1_000 * DOLLAR)
    day = (await customer.now()).date()
    rollups = Tailer(database, [CELL], FinanceMetrics())
    now = await customer.now()
    followers = [FloorFollower(database, [CELL], lambda: FLOORS, lambda: now) for _ in range(2)]

    async def reported() -> list[tuple[str, ...]]:
        await catch_up(rollups)
        await asyncio.gather(*(follower.step() for follower in followers))
        rows = await database.writer.fetch(
            "SELECT customer, type, data::text FROM ledger.events WHERE type = 'margin.floor_breached'"
        )
        return [tuple(row.values()) for row in rows]

    await customer.charge(line(micros=100 * CREDIT, cost_nanousd=70 * DOLLAR))
    assert await reported() == []
    await customer.charge(line(micros=100 * CREDIT, cost_nanousd=71 * DOLLAR))
    said = f'{{"rate_card":"{CARD}","day":"{day}","margin_floor_percent":"30"}}'
    assert await reported() == [(0, "margin.floor_breached", said)]
    await customer.charge(line(micros=100 * CREDIT, cost_nanousd=200 * DOLLAR))
    assert await reported() == [(0, "margin.floor_breached", said)]

    # Seen from the next day it is yesterday's, which was reported; from the one after it nobody looks.
    for days in (1, 2):
        now += timedelta(days=days)
        assert await reported() == [(0, "margin.floor_breached", said)]
