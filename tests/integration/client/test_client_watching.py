"""A balance that a product watches by the client: over changes, and over a server that is killed."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from client_world import GRANTED_CREDITS, Shop

from ledger.client import ClientClosed, Credits, CustomerNotFound, SyncCredits
from tests.faults.servers import Server

pytestmark = pytest.mark.asyncio(loop_scope="session")

LONG_SECONDS = 100


async def test_a_watch_goes_through_changes(credits: Credits, shop: Shop, customer: str) -> None:
    """As it stands, then after a write; in a thread without a loop the same. A stranger has none."""
    async with asyncio.timeout(LONG_SECONDS), aclosing(aiter(credits.watch_balance(customer))) as balances:
        assert (await anext(balances)).available == GRANTED_CREDITS
        await credits.charge(customer, amount=1)
        assert (await anext(balances)).available == GRANTED_CREDITS - 1

    def watched_in_a_thread() -> object:
        with SyncCredits(shop.target) as waiting:
            return next(iter(waiting.watch_balance(customer))).available

    assert await asyncio.to_thread(watched_in_a_thread) == GRANTED_CREDITS - 1
    with pytest.raises(CustomerNotFound):
        await anext(aiter(credits.watch_balance("nobody")))


async def test_a_watch_goes_on_after_a_restart(server: Server) -> None:
    """Nothing is said twice, and what was written since is."""
    shop = Shop(server.public, server.back_office)
    customer = await shop.new_customer()
    async with (
        Credits(shop.target, timeout_seconds=LONG_SECONDS) as credits,
        asyncio.timeout(LONG_SECONDS),
        aclosing(aiter(credits.watch_balance(customer))) as balances,
    ):
        assert (await anext(balances)).available == GRANTED_CREDITS
        await server.kill()
        await server.start(same_ports=True)
        await credits.charge(customer, amount=1)
        assert (await anext(balances)).available == GRANTED_CREDITS - 1


async def test_a_closed_client_ends_its_watches(shop: Shop, customer: str) -> None:
    """With an error that says so."""
    credits = await Credits(shop.target).open()
    async with aclosing(aiter(credits.watch_balance(customer))) as balances:
        await anext(balances)
        waiting = asyncio.ensure_future(anext(balances))
        await asyncio.sleep(0)
        await credits.close()
        with pytest.raises(ClientClosed):
            await waiting
