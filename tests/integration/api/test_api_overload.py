"""Too much is asked: what is refused first, and what a refusal carries."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from math import inf
from typing import Final

import grpc
import grpc.aio
import pytest
from api_world import World, refusal, retry_of, searches, usage
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ledger.api.messages.limits import CALLS, PORT, CallLimits
from ledger.engine.limits import Bound, EngineLimits, Urgency
from ledger.limits import Limits
from ledger.store.postgres.database import READER
from ledger.v1 import credit_service_pb2 as pb
from tests.calling import fresh
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

BATCH = "/ledger.v1.CreditService/Batch"
NEVER = Bound(3_600, 1_000_000)
AT_ONCE = Bound(0, 1_000_000)
"""Nothing is too old while the line is empty, and everything where something waits in it."""
ALL_PLACES = PORT.batches._replace(at_once=1_000, at_ease=1_000)


def limits(bounds: dict[Urgency, Bound], calls: CallLimits = CALLS) -> Limits:
    """However slow the machine is nothing else is refused, or given up."""
    return Limits(
        engine=EngineLimits(bounds=dict.fromkeys(Urgency, NEVER) | bounds, patience_seconds=3_600),
        calls=calls,
        port=PORT._replace(unseen_seconds=3_600, batches=ALL_PLACES),
        lock_timeout="1h",
    )


NO_NEW_WORK: Final = limits({Urgency.NEW_WORK: AT_ONCE})
DONE_WORK_ALONE: Final = limits(dict.fromkeys((Urgency.NEW_WORK, Urgency.ANY_TIME), AT_ONCE))
NOTHING: Final = limits(dict.fromkeys(Urgency, AT_ONCE))
NO_LOOKS: Final = limits({Urgency.NEW_WORK: AT_ONCE}, CALLS._replace(items_read_in_vain_seconds=-inf))
FEW_HOLDS: Final = limits({Urgency.NEW_WORK: Bound(3_600, 200)})
QUICK_READS: Final = limits({}, CALLS._replace(read_seconds=0, reads_at_ease=3))
FEW_READS: Final = limits({}, CALLS._replace(reads=3))


@asynccontextmanager
async def nothing_is_written(world: World):
    """The writer stands, and a charge waits."""
    async with world.owner.transaction():
        await world.owner.execute("LOCK TABLE cell_00.entries IN ACCESS EXCLUSIVE MODE")
        old = asyncio.create_task(world.charge(amount_micros=1))
        await until(partial(cell_waits, world))
        yield old


async def waiting(world: World, of_whom: str) -> int:
    """Sessions that wait for a lock. Followers may do, too."""
    # A transaction sees the sessions as they were when it looked first.
    await world.owner.execute("SELECT pg_stat_clear_snapshot()")
    return await world.owner.fetchval(
        "SELECT count(*) FROM pg_stat_activity"
        f" WHERE datname = current_database() AND wait_event_type = 'Lock' AND {of_whom}"
    )


async def cell_waits(world: World) -> bool:
    """Whether what carries out commands waits for the lock."""
    return await waiting(world, "application_name LIKE 'acu cell_00 %'") > 0


async def reads_wait(world: World, count: int) -> bool:
    """Whether so many reads wait for the lock."""
    return await waiting(world, f"usename = '{READER}'") >= count


async def answer_of(call):
    return await call


async def test_what_is_refused_first(limited):
    """Holds and quotes, then reads and what can wait, and commits, releases and charges last."""
    world = await limited(DONE_WORK_ALONE)
    held, given_back = await world.reservation(), await world.reservation()
    async with nothing_is_written(world) as old:
        quote = pb.QuoteRequest(customer_id=world.customer_id, usage=usage(searches("1")))
        for call in (world.reserve(), world.credit.Quote(quote), world.balance(), world.extend(held)):
            refused = await refusal(call)
            assert refused.reason == "OVERLOADED"
            assert refused.metadata == {"limit": "oldest_seconds", "allowed": "0"}
        answers = [
            asyncio.create_task(call)
            for call in (
                world.commit(held, amount_micros=5, final=True),
                world.release(given_back),
                world.charge(amount_micros=2),
            )
        ]
        health = health_pb2_grpc.HealthStub(world.public)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == 1
        assert not old.done()
    committed, released, charged = await asyncio.gather(*answers)
    assert (committed.charge.charged_micros, charged.charge.charged_micros) == (5, 2)
    assert released.reservation.reservation_id == given_back
    await old
    assert await world.available() == 100_000_000 - 5 - 2 - 1


async def test_reads_go_on_after_holds_are_refused(limited):
    """Each urgency has a bound of its own."""
    world = await limited(NO_NEW_WORK)
    async with nothing_is_written(world) as old:
        assert (await refusal(world.reserve())).reason == "OVERLOADED"
        assert await world.available() == 100_000_000
    await old


async def test_a_refusal_says_when_to_come_back(limited):
    """In the details, and where clients of gRPC look by themselves; then the same request is carried out."""
    world = await limited(NO_NEW_WORK)
    request = pb.ReserveRequest(request_id=fresh(), customer_id=world.customer_id, amount_micros=1)
    async with nothing_is_written(world) as old:
        reported, pushed_back = await retry_of(world.credit.Reserve(request))
        assert 1_000 <= reported == pushed_back <= 2_000
    await old
    assert not (await world.credit.Reserve(request)).replayed


async def test_items_of_a_batch_are_refused_each_by_its_urgency(limited):
    """A batch of holds and commits under overload: the commits are taken."""
    world = await limited(DONE_WORK_ALONE)
    held = await world.reservation()
    commit = pb.CommitReservationRequest(
        request_id=fresh(), customer_id=world.customer_id, reservation_id=held, amount_micros=3, final=True
    )
    reserve = pb.ReserveRequest(request_id=fresh(), customer_id=world.customer_id, amount_micros=1)
    items = [pb.BatchItem(reserve=reserve), pb.BatchItem(commit=commit), pb.BatchItem(reserve=reserve)]
    async with nothing_is_written(world) as old:
        batch = asyncio.create_task(answer_of(world.credit.Batch(pb.BatchRequest(items=items))))
        assert (await refusal(world.reserve())).reason == "OVERLOADED"
    first, second, third = (await batch).results
    assert {each.error.code for each in (first, third)} == {grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]}
    assert second.commit.charge.charged_micros == 3
    await old


async def test_a_batch_of_new_work_alone_is_refused_whole(limited):
    """With the delay where clients look by themselves: no item could have been taken."""
    world = await limited(NO_NEW_WORK)
    reserve = pb.ReserveRequest(request_id=fresh(), customer_id=world.customer_id, amount_micros=1)
    request = pb.BatchRequest(items=[pb.BatchItem(reserve=reserve)] * 3)
    async with nothing_is_written(world) as old:
        reported, pushed_back = await retry_of(world.credit.Batch(request))
        assert 1_000 <= reported == pushed_back <= 2_000
    await old
    world = await limited(FEW_HOLDS)
    assert not (await world.credit.Batch(request)).results[0].reserve.replayed


def begun_batch(world):
    """A call of `Batch` whose message does not come."""
    begin = world.public.stream_unary(
        BATCH, request_serializer=pb.BatchRequest.SerializeToString, response_deserializer=None
    )
    return begin()


async def test_a_batch_that_cannot_be_taken_is_not_read(limited):
    """Its header fields are enough to refuse it: whoever sends no message holds nothing."""
    world = await limited(NOTHING)
    async with nothing_is_written(world) as old:
        refused = await refusal(begun_batch(world))
        assert (refused.code.name, refused.reason) == ("RESOURCE_EXHAUSTED", "OVERLOADED")
    await old


async def test_holds_are_not_read_for_ever_to_be_refused(limited):
    """Where many batches have been read in vain the next is refused by its header fields, as holds are."""
    world = await limited(NO_LOOKS)
    async with nothing_is_written(world) as old:
        refused = await refusal(begun_batch(world))
        assert (refused.reason, refused.metadata["limit"]) == ("OVERLOADED", "oldest_seconds")
        charged = asyncio.create_task(world.charge(amount_micros=2))
    await asyncio.gather(old, charged)


async def test_a_flood_of_batches_loses_nothing(limited):
    """Of many batches at once some holds are refused, by number, and all commits are taken."""
    world = await limited(FEW_HOLDS)
    held = [await world.reservation(amount_micros=10) for _ in range(20)]

    def commit(reservation_id):
        return pb.CommitReservationRequest(
            request_id=fresh(),
            customer_id=world.customer_id,
            reservation_id=reservation_id,
            amount_micros=1,
            final=True,
        )

    def reserve():
        return pb.ReserveRequest(request_id=fresh(), customer_id=world.customer_id, amount_micros=1)

    holds = [[pb.BatchItem(reserve=reserve()) for _ in range(50)] for _ in range(60)]
    commits = [[pb.BatchItem(commit=commit(each))] for each in held]
    answers = await asyncio.gather(
        *(answer_of(world.credit.Batch(pb.BatchRequest(items=items))) for items in (*holds, *commits)),
        return_exceptions=True,
    )
    refused = [each for each in answers if isinstance(each, grpc.aio.AioRpcError)]
    assert {each.code() for each in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    results = [result for each in answers if isinstance(each, pb.BatchResponse) for result in each.results]
    made = sum(result.HasField("reserve") for result in results)
    assert 200 <= made < 3_000
    assert sum(result.HasField("commit") for result in results) == len(held)
    assert await world.available() == 100_000_000 - len(held) - made


@asynccontextmanager
async def nothing_is_read(world: World):
    """Three reads wait."""
    async with world.owner.transaction():
        await world.owner.execute("LOCK TABLE cell_00.wallets IN ACCESS EXCLUSIVE MODE")
        old = [asyncio.create_task(answer_of(world.balance())) for _ in range(3)]
        await until(partial(reads_wait, world, len(old)))
        yield
    assert {each.available_micros for each in await asyncio.gather(*old)} == {100_000_000}


async def test_where_many_reads_wait_too_long_the_next_is_refused(limited):
    """A few are never refused, however long they take."""
    world = await limited(QUICK_READS)
    async with nothing_is_read(world):
        refused = await refusal(world.balance())
        assert refused.metadata == {"limit": "oldest_seconds", "allowed": "0"}


async def test_reads_are_refused_by_number(limited):
    """However short they take."""
    world = await limited(FEW_READS)
    async with nothing_is_read(world):
        refused = await refusal(world.balance())
        assert refused.metadata == {"limit": "reads", "allowed": "3"}
        reported, pushed_back = await retry_of(world.balance())
        assert 1_000 <= reported == pushed_back <= 2_000
