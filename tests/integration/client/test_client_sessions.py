"""Sessions: what is added is charged while the work goes on; the hold is kept up, and given back."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from client_world import Shop, sandbox

from ledger.client import Credits, InsufficientCredits, InvalidArgument
from ledger.client.session import Session

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOUR = 3_600
"""Of a sandbox: 4 credits."""


async def test_what_was_added_is_charged_and_the_rest_given_back(credits: Credits, customer: str) -> None:
    """Leaving a session makes its last part final: nothing stays held."""
    async with credits.session(customer, estimate=10, labels={"agent": "reviewer"}) as session:
        assert (session.held, session.remaining) == (10, 100)
        session.add(sandbox(HOUR))
        session.add([sandbox(HOUR // 2), sandbox(HOUR // 4)])
    assert session.charged == 7
    balance = await credits.balance(customer)
    assert (balance.available, balance.held) == (93, 0)
    (line,) = session.summary().lines
    assert (line.title, line.credits, line.quantities["duration_seconds"]) == ("Sandbox time", 7, 6300)
    assert session.summary().uncommitted == ()


async def test_a_session_in_which_nothing_was_used_releases_its_hold(credits: Credits, customer: str) -> None:
    """Nothing is charged."""
    async with credits.session(customer, estimate=[sandbox(HOUR)]) as session:
        assert session.held == 4
    assert session.charged == 0
    assert (await credits.balance(customer)).available == 100


async def test_the_hold_is_filled_up(credits: Credits, customer: str) -> None:
    """Credits are asked for before they run out: a session charges many times its estimate."""
    async with credits.session(customer, estimate=5) as session:
        for _ in range(20):
            session.add(sandbox(HOUR))
            await session.flush()
    assert session.charged == 80
    assert (await credits.balance(customer)).available == 20


async def test_a_refused_extension_stops_the_work_within_one_add(credits: Credits, shop: Shop) -> None:
    """The usage of the add that raises is charged too."""
    customer = await shop.new_customer(credits=10)
    added = 0

    async def work(session: Session) -> None:
        nonlocal added
        async with session:
            while True:
                added += 1
                session.add(sandbox(HOUR // 4))
                await session.flush()

    session = credits.session(customer, estimate=4)
    with pytest.raises(InsufficientCredits) as short:
        await work(session)
    assert short.value.short_micros > 0
    assert session.charged == added
    assert added >= 9
    balance = await credits.balance(customer)
    assert (balance.available, balance.held) == (10 - added, 0)


async def test_a_wrong_item_fails_alone(credits: Credits, customer: str) -> None:
    """What was added with it is charged, and leaving says what is wrong with it."""
    with pytest.raises(InvalidArgument):
        async with credits.session(customer, estimate=10) as session:
            session.add([sandbox(HOUR), sandbox(-1), sandbox(HOUR), sandbox(HOUR)])
    assert session.charged == 12
    assert (await credits.balance(customer)).held == 0


async def test_1000_sessions_at_once(credits: Credits, shop: Shop) -> None:
    """One process has as many: each charges what was added to it, and no task is left."""
    customers = [await shop.new_customer(credits=1_000) for _ in range(10)]

    async def work(number: int) -> Decimal:
        async with credits.session(customers[number % 10], estimate=1) as session:
            for _ in range(3):
                session.add(sandbox(HOUR // 8))
                await asyncio.sleep(0)
        return session.charged

    charged = await asyncio.gather(*(work(number) for number in range(1_000)))
    assert set(charged) == {Decimal("1.5")}
    for customer in customers:
        balance = await credits.balance(customer)
        assert (balance.available, balance.held) == (850, 0)
