"""Many tasks and threads of one process over one client."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from client_world import Shop, sandbox

from ledger.client import (
    ClientClosed,
    Credits,
    CustomerNotFound,
    InsufficientCredits,
    InvalidArgument,
    SyncCredits,
)
from tests.waiting import PAUSE_SECONDS

pytestmark = pytest.mark.asyncio(loop_scope="session")

TASKS = 64


async def test_a_refused_write_fails_its_own_caller_alone(credits: Credits, shop: Shop) -> None:
    """Among many at once each gets its own answer, or its own error."""
    customer = await shop.new_customer()

    async def one(number: int) -> object:
        match number % 8:
            case 3:
                return await credits.reserve(customer, amount=1_000)
            case 5:
                return await credits.charge("nobody", amount=1)
            case 7:
                return await credits.charge(customer, amount=1, request_id="x" * 129)
            case _:
                return await credits.charge(customer, amount=1)

    answers = await asyncio.gather(*(one(number) for number in range(TASKS)), return_exceptions=True)
    expected = {3: InsufficientCredits, 5: CustomerNotFound, 7: InvalidArgument}
    for number, answer in enumerate(answers):
        kind = expected.get(number % 8)
        assert type(answer).__name__ == ("Charge" if kind is None else kind.__name__), (number, answer)
    assert (await credits.balance(customer)).available == 100 - TASKS * 5 // 8


async def test_sessions_of_many_tasks(credits: Credits, shop: Shop) -> None:
    """Holds, commits and releases of many customers at once are booked as one after the other would be."""
    customers = [await shop.new_customer() for _ in range(4)]

    async def work(number: int) -> Decimal:
        customer = customers[number % 4]
        held = await credits.reserve(customer, usage=[sandbox(1_800)], labels={"task": str(number)})
        part = await credits.commit(customer, held.reservation_id, [sandbox(900)], final=False)
        assert part.labels == {"task": str(number)}
        last = await credits.commit(customer, held.reservation_id, amount=Decimal("0.5"), final=True)
        return part.charged + last.charged

    charged = await asyncio.gather(*(work(number) for number in range(TASKS)))
    balances = [await credits.balance(customer) for customer in customers]
    assert sum(charged) == sum(100 - each.available for each in balances)
    assert {each.held for each in balances} == {0}


async def test_nothing_is_left_when_it_is_closed(shop: Shop, customer: str) -> None:
    """Writes that were handed in are answered; no task is left, and no call is taken any more."""

    async def in_a_loop_of_its_own() -> None:
        credits = await Credits(shop.target).open()
        charging = [asyncio.create_task(credits.charge(customer, amount=1)) for _ in range(TASKS)]
        await asyncio.sleep(0)
        await credits.close()
        await asyncio.gather(*charging)
        with pytest.raises(ClientClosed):
            await credits.charge(customer, amount=1)
        while asyncio.all_tasks() - {asyncio.current_task()}:  # noqa: ASYNC110 -- gRPC's own end by themselves
            await asyncio.sleep(PAUSE_SECONDS)

    await asyncio.to_thread(asyncio.run, in_a_loop_of_its_own())


async def test_code_without_a_loop(shop: Shop, customer: str) -> None:
    """Threads share a client, whose own thread ends with it."""

    def charge_in_threads() -> list[Decimal]:
        with SyncCredits(shop.target) as credits, ThreadPoolExecutor(8) as pool:
            charges = list(pool.map(lambda _: credits.charge(customer, amount=1), range(TASKS)))
            with pytest.raises(InsufficientCredits):
                credits.reserve(customer, amount=100)
            assert credits.balance(customer).available == 100 - TASKS
            return [each.charged for each in charges]

    assert sum(await asyncio.to_thread(charge_in_threads)) == TASKS
    assert not [each for each in threading.enumerate() if each.name == "ledger-client"]
