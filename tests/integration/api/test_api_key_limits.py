"""Limits of keys on a running service: a rate, calls in flight, and that one key's flood is its own."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from urllib.request import urlopen

import asyncpg
import grpc.aio
from api_world import CONFIG, Refused, refusal, retry_of
from google.rpc.status_pb2 import Status

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.admin.v1.admin_service_pb2_grpc import AdminServiceStub
from ledger.app import running
from ledger.settings import Settings
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import wallet_service_pb2 as wallet
from ledger.v1.credit_service_pb2_grpc import CreditServiceStub
from ledger.v1.wallet_service_pb2_grpc import WalletServiceStub
from tests.calling import fresh
from tests.keys import new_key
from tests.serving import ANY_PORTS, UNHURRIED


class Shop:
    """A service whose keys have limits."""

    def __init__(self, stack, public):
        self.stack = stack
        self.credits = CreditServiceStub(public)
        self.wallets = WalletServiceStub(public)

    async def refusals(self):
        """The counter's lines: by limit, urgency and key."""
        return await asyncio.to_thread(scrape, self.stack.operations_url)


class Backend:
    """What one key calls."""

    def __init__(self, stub, key):
        self.key_id = key.key_id
        self._credits = stub
        self._metadata = (("authorization", f"Bearer {key.text}"),)

    async def token(self):
        """Metadata of a customer's front end."""
        asked = pb.CreateCustomerTokenRequest(customer_id="acme")
        made = await self._credits.CreateCustomerToken(asked, metadata=self._metadata)
        return (("authorization", f"Bearer {made.token}"),)

    def reserve(self):
        return self._credits.Reserve(write(pb.ReserveRequest), metadata=self._metadata)

    def charge(self):
        return self._credits.Charge(write(pb.ChargeRequest), metadata=self._metadata)

    def batch(self, holds):
        items = [pb.BatchItem(reserve=write(pb.ReserveRequest)) for _ in range(holds)]
        return self._credits.Batch(pb.BatchRequest(items=items), metadata=self._metadata)


def write(of):
    return of(request_id=fresh(), customer_id="acme", amount_micros=1)


def scrape(url):
    with urlopen(url, timeout=60) as answer:  # noqa: S310 -- our own
        lines = answer.read().decode().splitlines()
    return [line for line in lines if line.startswith("acu_ledger_refused_total{")]


@asynccontextmanager
async def limited(database, database_url, **limits):
    """A service with limits of keys, a customer, and two keys of backends."""
    keys = [await new_key(database, scope) for scope in ("backend", "backend", "ops")]
    settings = Settings(DATABASE_URL=database_url, config_dir=CONFIG, **ANY_PORTS, **limits)
    async with (
        running(settings, UNHURRIED) as stack,
        grpc.aio.insecure_channel(stack.public_target) as public,
        grpc.aio.insecure_channel(stack.back_office_target) as office,
    ):
        back_office = AdminServiceStub(office)
        ops = (("authorization", f"Bearer {keys[2].text}"),)
        made = admin.Customer(customer_id="acme", plan="standard")
        create = admin.CreateCustomerRequest(request_id=fresh(), customer=made)
        await back_office.CreateCustomer(create, metadata=ops)
        grant = admin.IssueGrantRequest(
            request_id=fresh(), customer_id="acme", amount_micros=10**9, kind=wallet.GRANT_KIND_PROMO
        )
        await back_office.IssueGrant(grant, metadata=ops)
        shop = Shop(stack, public)
        yield shop, Backend(shop.credits, keys[0]), Backend(shop.credits, keys[1])


async def outcomes(calls):
    """How many of these calls come in, and the reasons of the others with their variables."""
    admitted, reasons = 0, set()
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(outcome, grpc.aio.AioRpcError):
            trailing = dict(outcome.trailing_metadata())
            refused = Refused.of(Status.FromString(trailing["grpc-status-details-bin"]))
            reasons.add((refused.reason, refused.metadata["limit"], refused.metadata["allowed"]))
        else:
            admitted += 1
    return admitted, reasons


async def test_a_key_has_a_rate(database, database_url):
    """A batch counts its items and is admitted; what follows waits, but for charges, and another key's calls.

    One call in a thousand seconds: no time that passes here makes room.
    """
    async with limited(database, database_url, calls_per_second_of_key=1) as (shop, flood, other):
        results = (await flood.batch(1_000)).results
        assert [each.WhichOneof("outcome") for each in results] == ["reserve"] * 1_000
        reported, pushed_back = await retry_of(flood.reserve())
        assert 900_000 < reported == pushed_back <= 1_000_000
        refused = {("KEY_LIMIT", "calls_per_second_of_key", "1")}
        assert await outcomes([flood.reserve() for _ in range(50)]) == (0, refused)
        await other.reserve()
        assert f'key_id="{flood.key_id}"' in (await shop.refusals())[0]
        assert (await shop.refusals())[0].endswith(" 51.0")
        assert other.key_id not in str(await shop.refusals())


async def test_a_batch_that_is_too_large_is_one_call(database, database_url):
    """None of its items is looked at or done: they take nothing of what the key may ask for."""
    async with limited(database, database_url, calls_per_second_of_key=2) as (shop, backend, _):
        refused = await refusal(backend.batch(10_000))
        assert refused.fields == {"items": "has 10000 items; 1 to 1000 are allowed"}
        await backend.charge()
        assert not await shop.refusals()


async def test_a_keys_commits_have_room_that_its_holds_have_not(database, database_url):
    """A key that has begun all that it may can still charge what it has done."""
    async with limited(database, database_url, calls_per_second_of_key=1) as (_, backend, _other):
        admitted, _ = await outcomes([backend.reserve() for _ in range(20)])
        assert 1 <= admitted < 20
        await backend.charge()


async def test_what_browsers_ask_for_takes_nothing_from_the_backend(database, database_url):
    """Calls by the tokens of a key have a limit together, which is not the key's own."""
    async with limited(database, database_url, calls_per_second_of_key=1) as (shop, backend, _):
        front_end = await backend.token()
        asked = wallet.GetBalanceRequest(customer_id="acme")
        flood = [shop.wallets.GetBalance(asked, metadata=front_end) for _ in range(50)]
        admitted, reasons = await outcomes(flood)
        assert (admitted, reasons) == (1, {("KEY_LIMIT", "calls_per_second_of_key", "1")})
        await backend.charge()
        assert f'key_id="{backend.key_id}/tokens"' in str(await shop.refusals())
        assert f'key_id="{backend.key_id}"' not in str(await shop.refusals())


async def test_a_key_has_so_many_calls_in_flight(database, database_url):
    """While they wait one more is refused and another key's is taken; when they have ended there is room."""
    async with limited(database, database_url, calls_in_flight_of_key=3) as (shop, flood, other):
        owner = await asyncpg.connect(database_url)
        async with owner.transaction():
            await owner.execute("LOCK TABLE cell_00.entries IN ACCESS EXCLUSIVE MODE")
            calls = [asyncio.create_task(outcomes([flood.reserve()])) for _ in range(4)]
            done, waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            assert [call.result() for call in done] == [(0, {("KEY_LIMIT", "calls_in_flight_of_key", "3")})]
            others = asyncio.create_task(outcomes([other.reserve()]))
        await owner.close()
        assert [await call for call in (*waiting, others)] == [(1, set())] * 4
        assert await outcomes([flood.reserve()]) == (1, set())
        [counted] = await shop.refusals()
        assert f'key_id="{flood.key_id}",limit="calls_in_flight_of_key",urgency="new_work"' in counted
