"""Watches of a balance: what they say, whoever wrote it, and that they end with the key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from guarded import CREDIT, Guarded, reached, settings_of, unknown

from ledger.access.keys import parse
from ledger.app import running
from ledger.store.postgres.embedded import EmbeddedPostgres
from ledger.v1 import wallet_service_pb2 as wallet
from ledger.v1.wallet_service_pb2_grpc import WalletServiceStub
from tests.serving import UNHURRIED
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

LONG_SECONDS = 60


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def servers(postgres: EmbeddedPostgres) -> AsyncIterator[tuple[Guarded, Guarded]]:
    """Two servers of one database."""
    settings = await settings_of(postgres, "watches")
    async with (
        running(settings, UNHURRIED) as one,
        running(settings, UNHURRIED) as other,
        reached(one, settings.database_url or "") as first,
        reached(other, settings.database_url or "") as second,
    ):
        second.ops = await first.make("ops")
        await until(partial(second.refuses, unknown()))
        yield first, second


async def made(servers: tuple[Guarded, Guarded], *scopes: str, customers: tuple[str, ...] = ()) -> str:
    """A key that both servers know."""
    key = await servers[0].make(*scopes, customers=customers)

    async def is_known() -> bool:
        asked = await servers[1].call("GetBalance", key, customer_id="cus_x")
        return asked.code is not grpc.StatusCode.UNAUTHENTICATED

    await until(is_known)
    return key


@asynccontextmanager
async def watching(server: Guarded, key: str, customer_id: str) -> AsyncIterator[Any]:
    """A watch, of which messages are read."""
    stub = WalletServiceStub(server.methods["WatchBalance"].channel)
    call = stub.WatchBalance(
        wallet.WatchBalanceRequest(customer_id=customer_id), metadata=[("authorization", f"Bearer {key}")]
    )
    try:
        async with asyncio.timeout(LONG_SECONDS):
            yield call
    finally:
        call.cancel()


async def available(watch: Any, micros: int) -> wallet.WatchBalanceResponse:
    """The message that says that so much is available; those before it say something else."""
    while (message := await watch.read()).balance.available_micros != micros:
        pass
    return message


async def test_a_watch_says_what_another_server_wrote(servers):
    """First how the balance stands, then how it stands after each write, within a look or two."""
    watched, writing = servers
    await writing.new_customer("cus_seen")
    key = await made(servers, "backend", "wallet")
    async with watching(watched, key, "cus_seen") as watch:
        first = await watch.read()
        assert (first.balance.available_micros, first.balance.held_micros) == (100 * CREDIT, 0)
        assert first.HasField("as_of")
        await writing.charge(key, "cus_seen")
        await available(watch, 99 * CREDIT)
        await writing.reserve(key, "cus_seen")
        held = await available(watch, 98 * CREDIT)
        assert held.balance.held_micros == CREDIT


async def test_a_watch_ends_with_its_key(servers):
    """Though nothing is written: whoever has lost the key sees no more."""
    watched, other = servers
    await other.new_customer("cus_kept")
    key = await made(servers, "wallet", customers=("cus_kept",))
    async with watching(watched, key, "cus_kept") as watch:
        assert (await watch.read()).balance.available_micros == 100 * CREDIT
        await other.call("RevokeKey", other.ops, key_id=parse(key).key_id)
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await watch.read()
    assert ended.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_watch_of_a_stranger_tells_nothing(servers):
    """Another's customer is none, as in every read."""
    server, _ = servers
    for customer_id in ("cus_mine", "cus_others"):
        await server.new_customer(customer_id)
    key = await server.make("wallet", customers=("cus_mine",))
    for customer_id, reason in (("cus_others", "CUSTOMER_NOT_FOUND"), ("", "INVALID_ARGUMENT")):
        refused = await server.call("WatchBalance", key, customer_id=customer_id)
        assert refused.reason == reason
