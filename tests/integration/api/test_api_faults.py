"""A service whose clock, load or database is not as it should be, and one that is asked to end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from itertools import pairwise

import asyncpg
import grpc
import grpc.aio
import pytest
from api_world import CONFIG, CREDIT, World, anybody, refusal, searches, tokens, unlimited, usage
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2

from ledger.access.caller import LOOPBACK, SCOPES, Caller, enter
from ledger.access.table import Authorize, KeyTable, Metadata
from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.api.back_office.admin import AdminService
from ledger.api.call_boundary import begin
from ledger.api.messages import encode
from ledger.api.messages.limits import BATCH_WORK_AT_ONCE, PORT, PortLimits
from ledger.api.public.balance_watch import BalanceWatch
from ledger.api.public.credit import CreditService
from ledger.api.public.wallet import WalletService
from ledger.api.scopes import ScopeMissingError
from ledger.api.server import ApiServer, Service, admin_service, credit_service, wallet_service
from ledger.app import Stack, open_prices
from ledger.clock import DatabaseClock, boot_seconds
from ledger.doors.address import Address
from ledger.doors.front import Front
from ledger.engine.engine import Engine
from ledger.engine.limits import ENGINE_LIMITS, Bound, EngineLimits, Urgency
from ledger.metrics.operations import OperationsMetrics
from ledger.store.postgres.database import Database
from ledger.store.reading.reads import NEWEST, Reads
from ledger.turns import WORK_AT_ONCE
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import wallet_service_pb2 as wallet
from tests.calling import fresh
from tests.stubs import Stubs
from tests.waiting import until

NEVER = Bound(3_600, 1_000_000)
"""However slow the machine is nothing is refused by it."""
NO_HOLDS = dict.fromkeys(Urgency, NEVER) | {Urgency.NEW_WORK: Bound(1.0, 0)}


class OwnService:
    """A service of one test's own, with its parts in reach."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = DatabaseClock()
        self.ahead = timedelta()
        """How far the API's clock is ahead of the database's."""

    def now(self) -> datetime:
        return self.clock.now() + self.ahead

    async def start(
        self,
        life: AsyncExitStack,
        port: PortLimits = PORT,
        authorize: Authorize = anybody,
        limits: EngineLimits = ENGINE_LIMITS,
    ) -> None:
        asked_at = boot_seconds()
        now = await self.database.reader.fetchval("SELECT clock_timestamp()")
        self.clock.observe(now, asked_at, boot_seconds())
        metrics = OperationsMetrics()
        publishing, _ = await open_prices(CONFIG, self.database, self.clock.now, metrics)
        prices = self.prices = publishing.prices
        engine = self.engine = Engine(self.database, prices, self.clock, metrics, limits=limits)
        engine.start(("cell_00",))
        life.push_async_callback(engine.drain)
        reads = Reads(self.database.reader, self.database.reports, engine.directory)
        keys = self.keys = KeyTable(self.database, self.now, metrics, open_without_keys=True)
        self.balances = BalanceWatch(reads)
        services = [
            credit_service(CreditService(engine, reads, self.now, keys.make_token)),
            wallet_service(WalletService(prices, reads, self.balances, self.now)),
            admin_service(
                AdminService(
                    engine, publishing, reads, keys, self.database.writer, self.now, webhooks_private=False
                )
            ),
        ]
        admission = unlimited(metrics, engine.waiting)
        self.server = ApiServer("127.0.0.1:0", services, admission, 100, authorize, port=port)
        await self.server.start()
        life.push_async_callback(self.server.drain)
        life.callback(self.balances.end)


@pytest.fixture
def limits() -> EngineLimits:
    """Of a test's service; one that asks what happens at a limit is parametrized by its own."""
    return ENGINE_LIMITS


@pytest.fixture
async def own(database: Database, limits: EngineLimits) -> AsyncIterator[OwnService]:
    service = OwnService(database)
    async with AsyncExitStack() as life:
        await service.start(life, limits=limits)
        yield service


@pytest.fixture
async def world(own: OwnService, database_url: str) -> AsyncIterator[World]:
    """A customer of that service, with 100 credits."""
    owner = await asyncpg.connect(database_url)
    async with grpc.aio.insecure_channel(own.server.address) as channel:
        world = World(
            Stack("", "", "", "", asyncio.Event(), Front(Address("", is_loopback=True), None), False),
            channel,
            channel,
            owner,
        )
        await world.new_customer("cus_own")
        yield world
    await owner.close()


def item_of(when: datetime):
    item = tokens()
    stamp = Timestamp()
    stamp.FromDatetime(when.replace(tzinfo=None))
    item.occurred_at.CopyFrom(stamp)
    return item


async def code_of(call):
    """The code that a call ends with."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_a_large_batch_leaves_others_their_turn(own, world):
    """Of a thousand items only so many are taken in at once, then whatever else is ready has its turn."""
    charges = [
        pb.ChargeRequest(request_id=fresh(), customer_id=world.customer_id, amount_micros=1)
        for _ in range(1_000)
    ]
    items = [pb.BatchItem(charge=charge) for charge in charges]

    async def call():
        return await world.credit.Batch(pb.BatchRequest(items=items))

    done = asyncio.create_task(call())
    waiting = [0]
    while not done.done():
        waiting.append(own.engine.waiting.begun)
        await asyncio.sleep(0)
    assert [result.WhichOneof("outcome") for result in (await done).results] == ["charge"] * 1_000
    assert max(after - before for before, after in pairwise(waiting)) <= WORK_AT_ONCE < max(waiting)


async def test_holds_of_a_batch_that_is_given_up_while_it_begins_are_not_begun(own, world, database_url):
    """Nobody would know of them; what records work that is done is booked, whoever has gone."""
    holds = [write(pb.ReserveRequest, world) for _ in range(2 * WORK_AT_ONCE)]
    charge = write(pb.ChargeRequest, world)
    items = [pb.BatchItem(charge=charge), *(pb.BatchItem(reserve=hold) for hold in holds)]
    reads = Reads(own.database.reader, own.database.reports, own.engine.directory)
    credit = CreditService(own.engine, reads, own.now, own.keys.make_token)
    own.engine.directory.forget()
    owner = await asyncpg.connect(database_url)
    async with owner.transaction():
        await owner.execute("LOCK TABLE ledger.customers IN ACCESS EXCLUSIVE MODE")
        enter(LOOPBACK)
        batch = asyncio.create_task(credit.Batch(pb.BatchRequest(items=items), None))
        await asyncio.sleep(0)
        assert 0 < own.engine.waiting.begun < len(items)
        batch.cancel()
        await asyncio.gather(batch, return_exceptions=True)

    async def all_is_over():
        return not own.engine.waiting.begun

    await until(all_is_over)
    booked = await owner.fetch("SELECT request_id FROM cell_00.entries ORDER BY sequence DESC LIMIT 1")
    await owner.close()
    assert [row["request_id"] for row in booked] == [charge.request_id]


def write(of, world):
    """A write of one micro-credit."""
    return of(request_id=fresh(), customer_id=world.customer_id, amount_micros=1)


@pytest.mark.parametrize("limits", [EngineLimits(bounds=dict.fromkeys(Urgency, NEVER))])
async def test_a_long_batch_has_a_bounded_amount_under_way(own, world):
    """Its writes begin as those before them are answered, so that it never fills the lines of all others."""
    items = 100
    charges = [
        pb.ChargeRequest(
            request_id=fresh(), customer_id=world.customer_id, usage=usage(*[searches("0.01")] * items)
        )
        for _ in range(2 * BATCH_WORK_AT_ONCE // items + 1)
    ]
    batch = pb.BatchRequest(items=[pb.BatchItem(charge=charge) for charge in charges])

    async def call():
        return await world.credit.Batch(batch)

    done = asyncio.create_task(call())
    waiting = []
    while not done.done():
        waiting.append(own.engine.waiting.begun)
        await asyncio.sleep(0)
    results = (await done).results
    assert [result.WhichOneof("outcome") for result in results] == ["charge"] * len(charges)
    sequences = [result.charge.sequence for result in results]
    assert sequences == list(range(sequences[0], sequences[0] + len(charges)))
    assert BATCH_WORK_AT_ONCE // 2 < max(waiting) * items <= BATCH_WORK_AT_ONCE


async def test_a_large_page_is_made_in_turns(own, world, monkeypatch):
    """Charges become an answer some hundred lines at a time, or one by one; the statement reads no lines."""
    items = 1_000
    for _ in range(8):
        await world.charge(usage=usage(*[searches("0.0001")] * items))
    reads = Reads(own.database.reader, own.database.reports, own.engine.directory)
    credit, wallets = (
        CreditService(own.engine, reads, own.now, own.keys.make_token),
        WalletService(own.prices, reads, own.balances, own.now),
    )
    listed = pb.ListChargesRequest(customer_id=world.customer_id, page_size=1_000)
    lines_seen: list[int] = []

    def charge(into, customer_id, entry, **reported):
        lines_seen[-1] += len(entry.lines)
        return encode_charge(into, customer_id, entry, **reported)

    encode_charge = encode.charge
    # What is made in one turn leaves no trace outside.
    monkeypatch.setattr(encode, "charge", charge)
    make = asyncio.create_task(credit.ListCharges(listed, None))
    while not make.done():
        lines_seen.append(0)
        await asyncio.sleep(0)
    made = await make
    assert max(lines_seen) == items
    assert [len(charge.lines) for charge in made.charges] == [items] * 8
    stated = wallet.ListTransactionsRequest(customer_id=world.customer_id, page_size=1_000)
    reported = await wallets.ListTransactions(stated, None)
    assert len(reported.transactions) == 9
    entries = (await reads.statement(world.customer_id, NEWEST, 1_000)).rows
    assert [entry.lines for entry in entries] == [()] * 9


async def test_a_repeat_is_answered_however_late(own, world):
    """Usage too old to be booked anew is answered if it was booked in its time, and only then."""
    item = item_of(own.now() - timedelta(days=34))
    named = await world.reservation()
    for write, arguments in ((world.charge, ()), (world.commit, (named,))):
        request_id = fresh()
        first = await write(*arguments, usage=usage(item), request_id=request_id)
        own.ahead = timedelta(days=2)
        async with world.nothing_changed():
            again = await write(*arguments, usage=usage(item), request_id=request_id)
            refused = await refusal(write(*arguments, usage=usage(item), request_id=fresh()))
        assert again.replayed
        assert again.charge == first.charge
        assert refused.fields.keys() == {"usage.items[0].occurred_at"}
        own.ahead = timedelta()


async def test_untimely_usage_of_an_unknown_customer(own, world):
    """Who does not exist has no repeats: the field is what is wrong."""
    item = item_of(own.now() - timedelta(days=40))
    refused = await refusal(world.charge(customer_id="nobody", usage=usage(item)))
    assert refused.fields.keys() == {"usage.items[0].occurred_at"}


async def test_a_repeat_is_answered_whatever_the_configuration(own, world):
    """Who made a customer on a plan that is no longer there is answered; nobody else is."""
    made = admin.Customer(customer_id=fresh(), plan="brief")
    create = admin.CreateCustomerRequest(request_id=fresh(), customer=made)
    update = admin.UpdateCustomerRequest(
        request_id=fresh(), customer=made, update_mask=FieldMask(paths=["plan"])
    )
    first = await world.admin.CreateCustomer(create)
    second = await world.admin.UpdateCustomer(update)
    request = admin.PublishPlansRequest(document="revision: 2\nplans: {other: {}}\n", force=True)
    await world.admin.PublishPlans(request)
    own.ahead = timedelta(seconds=5)
    assert (await world.admin.CreateCustomer(create)).customer == first.customer
    assert (await world.admin.UpdateCustomer(update)).sequence == second.sequence
    create.request_id = update.request_id = fresh()
    for call in (world.admin.CreateCustomer(create), world.admin.UpdateCustomer(update)):
        assert (await refusal(call)).reason == "PLAN_NOT_FOUND"


@pytest.mark.parametrize("limits", [EngineLimits(bounds=NO_HOLDS)])
async def test_a_command_beyond_the_bound_is_sent_away(world):
    """When too many commands wait, one more is sent away with a delay, and nothing of it is written.

    So is a batch of which nothing could be taken; of another the items that could not.
    """
    given = {"customer_id": world.customer_id}
    hold = pb.BatchItem(reserve=pb.ReserveRequest(request_id=fresh(), amount_micros=1, **given))
    charge = pb.BatchItem(charge=pb.ChargeRequest(request_id=fresh(), amount_micros=1, **given))
    async with world.nothing_changed():
        for call in (world.reserve(), world.credit.Batch(pb.BatchRequest(items=[hold]))):
            refused = await refusal(call)
            assert (refused.code.name, refused.reason) == ("RESOURCE_EXHAUSTED", "OVERLOADED")
            assert b"RetryInfo" in refused.raw
    shed, taken = (await world.credit.Batch(pb.BatchRequest(items=[hold, charge]))).results
    assert shed.error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert taken.HasField("charge")


async def test_reads_without_a_database(own, world):
    """A database that is away is UNAVAILABLE: worth a retry, and no fault of the request."""
    own.database.reader.terminate()
    request = wallet.GetBalanceRequest(customer_id=world.customer_id)
    refused = await refusal(world.wallet.GetBalance(request))
    assert (refused.code.name, refused.reason) == ("UNAVAILABLE", "UNAVAILABLE")


async def test_a_fault_tells_only_an_id(world):
    """A broken rule of the database is INTERNAL with an id: no statement, no table, no amount leaves."""
    await world.owner.execute("ALTER TABLE cell_00.lots RENAME TO broken")
    refused = await refusal(world.wallet.ListGrants(wallet.ListGrantsRequest(customer_id=world.customer_id)))
    assert (refused.code.name, refused.reason) == ("INTERNAL", "INTERNAL")
    assert refused.metadata.keys() == {"error_id"}
    assert b"lots" not in refused.raw


async def test_a_server_that_ends_answers_what_is_in_flight(own, world):
    """A server that is asked to end answers what is in flight, and takes nothing new."""
    async with world.owner.transaction():
        await world.owner.execute("SELECT 1 FROM cell_00.wallets FOR UPDATE")
        waiting = asyncio.create_task(world.reserve())
        while not await world.owner.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            pass
        draining = asyncio.create_task(own.server.drain())
        while (code := await code_of(world.balance())) is grpc.StatusCode.OK:
            pass
        # gRPC's own: CANCELLED where the call was on its way in when the server stopped listening.
        assert code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    answer = await waiting
    assert answer.balance.held_micros == 10 * CREDIT
    await draining


async def test_watches_are_few(database):
    """No more than a port bears, nor of one key than it may have; one that has ended leaves its place."""
    service = OwnService(database)
    port = PORT._replace(balance_watches=3, balance_watches_of_key=2)
    asked = wallet.WatchBalanceRequest(customer_id="cus_watched")

    def by_name(metadata: Metadata | None) -> Caller:
        name = dict(metadata or ()).get("key", "")
        return Caller(str(name), str(name), frozenset(SCOPES))

    async with AsyncExitStack() as life:
        await service.start(life, port, by_name)
        channel = await life.enter_async_context(grpc.aio.insecure_channel(service.server.address))
        stubs = Stubs.over(channel, channel)
        created = admin.Customer(customer_id="cus_watched", plan="standard")
        await stubs.admin.CreateCustomer(admin.CreateCustomerRequest(request_id=fresh(), customer=created))

        async def watch(key: str) -> grpc.aio.UnaryStreamCall:
            call = stubs.wallet.WatchBalance(asked, metadata=[("key", key)])
            assert isinstance(await call.read(), wallet.WatchBalanceResponse)
            return call

        async def refused(key: str) -> bool:
            call = stubs.wallet.WatchBalance(asked, metadata=[("key", key)])
            try:
                await call.read()
            except grpc.aio.AioRpcError as error:
                return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            finally:
                call.cancel()
            return False

        async def taken() -> bool:
            return not await refused("b")

        first = [await watch("a"), await watch("a")]
        assert await refused("a")
        await watch("b")
        assert await refused("b")
        first[0].cancel()
        async with asyncio.timeout(60):
            await until(taken)


@pytest.mark.parametrize("is_stopped", [False, True], ids=["its time", "the server's"])
async def test_a_watch_ends_with(database, is_stopped):
    """With OK, so that whoever watches asks again."""
    service = OwnService(database)
    async with AsyncExitStack() as life:
        await service.start(life, PORT if is_stopped else PORT._replace(balance_watch_seconds=0.2))
        channel = await life.enter_async_context(grpc.aio.insecure_channel(service.server.address))
        stubs = Stubs.over(channel, channel)
        created = admin.Customer(customer_id="cus_watched", plan="standard")
        await stubs.admin.CreateCustomer(admin.CreateCustomerRequest(request_id=fresh(), customer=created))
        call = stubs.wallet.WatchBalance(wallet.WatchBalanceRequest(customer_id="cus_watched"))
        async for _ in call:
            if is_stopped:
                service.balances.end()
        assert await call.code() is grpc.StatusCode.OK


async def test_a_stream_whose_time_is_over_as_it_begins_ends():
    """No time-out cuts its header fields short, of which gRPC would know nothing, and could not end it."""

    async def answer(_, context):
        beginning = asyncio.ensure_future(begin(context))
        await asyncio.sleep(0)
        beginning.cancel()
        await asyncio.gather(beginning, return_exceptions=True)

    server = grpc.aio.server()
    handlers = {"Watch": grpc.unary_stream_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, asyncio.timeout(60):
        call = channel.unary_stream("/test/Watch")(b"")
        assert [message async for message in call] == []
        assert await call.code() is grpc.StatusCode.OK
    await server.stop(None)


async def test_a_port_is_of_one_server(own):
    """Two servers do not share a port without a word: the second does not start, and says why."""
    with pytest.raises(OSError, match=f"{own.server.address}.*choose another port"):
        ApiServer(own.server.address, [], unlimited(OperationsMetrics()), 100, anybody)


def test_a_method_without_a_scope_stops_the_start():
    """A service with a method that does not say who may call it is not served."""
    service = Service(health_pb2.DESCRIPTOR.services_by_name["Health"], lambda *_: None, None)
    with pytest.raises(ScopeMissingError, match="Check"):
        ApiServer("127.0.0.1:0", [service], unlimited(OperationsMetrics()), 100, anybody)
