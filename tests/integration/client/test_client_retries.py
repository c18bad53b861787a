"""An answer that is lost, a server that dies, a deadline: what a caller gets, and what is booked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from client_world import CONFIG, Shop
from lossy_line import Line, line_to

from ledger.client import Charge, Credits, DeadlineExceeded, NotNow, TlsFailed
from tests.certificates import Authority
from tests.databases import DatabaseUrls
from tests.faults.servers import Server
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENT_SECONDS = 250.0
"""Longer than a server takes to start on a loaded machine."""


@pytest_asyncio.fixture(loop_scope="session")
async def line(shop: Shop) -> AsyncIterator[Line]:
    async with line_to(shop.target) as opened:
        yield opened


async def charged_once(shop: Shop, customer: str) -> bool:
    async with Credits(shop.target) as credits:
        return (await credits.balance(customer)).available == 99


@pytest.mark.parametrize("others", [0, 7])
async def test_an_answer_is_lost(shop: Shop, line: Line, customer: str, others: int) -> None:
    """A write that had its effect is repeated under its request id, alone or among others: booked once."""
    others_customer = await shop.new_customer()
    async with Credits(line.target, timeout_seconds=PATIENT_SECONDS) as credits:
        await credits.balance(customer)
        line.withholds = True
        charging = asyncio.gather(
            credits.charge(customer, amount=1),
            *(credits.charge(others_customer, amount=1) for _ in range(others)),
        )
        await until(lambda: charged_once(shop, customer))
        line.cut()
        charges = await charging
        assert charges[0].written is not None
        assert charges[0].written.replayed
        assert len({charge.charge_id for charge in charges}) == 1 + others
        assert (await credits.balance(customer)).available == 99
        assert (await credits.balance(others_customer)).available == 100 - others


@pytest.mark.timeout(300)  # A server starts twice.
async def test_a_server_is_killed_before_it_answers(database_urls: DatabaseUrls, tmp_path: Path) -> None:
    """What it had booked is not booked again by the one that comes after it."""
    server = Server("killed", database_urls.environment, tmp_path, config=CONFIG)
    await server.start()
    try:
        shop = Shop(server.public, server.back_office)
        customer = await shop.new_customer()
        async with (
            line_to(shop.target) as line,
            Credits(line.target, timeout_seconds=PATIENT_SECONDS) as credits,
        ):
            await credits.balance(customer)
            line.withholds = True
            charging: asyncio.Task[Charge] = asyncio.create_task(credits.charge(customer, amount=1))
            await until(lambda: charged_once(shop, customer))
            await server.kill()
            line.cut()
            await server.start()
            line.server = server.public
            charge = await charging
            assert charge.written is not None
            assert charge.written.replayed
            assert (await credits.balance(customer)).available == 99
        await server.stop()
    finally:
        await server.kill()


async def test_a_deadline_passes(shop: Shop, line: Line, customer: str) -> None:
    """The error has the request id, under which the same write is sent again, and is booked once."""
    async with Credits(line.target, timeout_seconds=PATIENT_SECONDS) as credits:
        await credits.balance(customer)
    line.withholds = True
    async with Credits(line.target, timeout_seconds=0.5) as credits:
        with pytest.raises(DeadlineExceeded) as late:
            await credits.charge(customer, amount=1)
    line.cut()
    async with Credits(line.target, timeout_seconds=PATIENT_SECONDS) as credits:
        await credits.charge(customer, amount=1, request_id=late.value.request_id)
    assert await charged_once(shop, customer)


async def test_a_server_is_away() -> None:
    """A caller hears of it within its deadline, of reads and of writes, with the write's request id."""
    async with Credits("127.0.0.1:1", timeout_seconds=0.5) as credits:
        with pytest.raises(NotNow) as away:
            await credits.charge("acme", amount=1, request_id="charge-1")
        assert away.value.request_id == "charge-1"
        with pytest.raises(NotNow):
            await credits.balance("acme")


async def test_tls_that_cannot_be_agreed_on(shop: Shop, tmp_path: Path) -> None:
    """It is told at once, and in words: a server without TLS is called with an authority."""
    authority = Authority(tmp_path)
    async with Credits(shop.target, ca=authority.file, timeout_seconds=PATIENT_SECONDS) as credits:
        with pytest.raises(TlsFailed, match="the server speaks no TLS here"):
            await credits.balance("acme")
