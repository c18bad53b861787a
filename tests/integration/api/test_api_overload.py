"""Too much is asked: what is refused first, and what a refusal carries."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from math import inf

import grpc
import grpc.aio
import pytest
from api_world import fresh, refusal, retry_of, searches, usage
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ledger.api import looks
from ledger.api.messages import limits
from ledger.engine import waiting
from ledger.engine.waiting import Bound, Urgency
from ledger.v1 import credit_service_pb2 as pb
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

BATCH = "/ledger.v1.CreditService/Batch"
NEVER = Bound(3_600, 1_000_000)
AT_ONCE = Bound(0, 1_000_000)


@asynccontextmanager
async def nothing_is_written(world, monkeypatch, *refused):
    """The writer stands, a charge waits, and for these urgencies that is too old already."""
    async with world.owner.transaction():
        await world.owner.execute("LOCK TABLE cell_00.entries IN ACCESS EXCLUSIVE MODE")
        old = asyncio.create_task(world.charge(amount_micros=1))
        await until(partial(waits, world))
        bounds = {urgency: AT_ONCE if urgency in refused else NEVER for urgency in Urgency}
        with monkeypatch.context() as patch:
            patch.setattr(waiting, "BOUNDS", bounds)
            yield old


async def waits(world):
    """Whether a session waits for the lock."""
    found = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'cell_00.entries'::regclass"
    return await world.owner.fetchval(found) > 0


async def reads_wait(world, count):
    """Whether so many sessions wait for the wallets."""
    found = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'cell_00.wallets'::regclass"
    return await world.owner.fetchval(found) >= count


async def answer_of(call):
    return await call


async def test_what_is_refused_first(world, customer, monkeypatch):
    """Holds and quotes, then reads and what can wait, and commits, releases and charges last."""
    held, given_back = await world.reservation(), await world.reservation()
    async with nothing_is_written(world, monkeypatch, Urgency.NEW_WORK, Urgency.ANY_TIME) as old:
        quote = pb.QuoteRequest(customer_id=customer, usage=usage(searches("1")))
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


async def test_reads_go_on_after_holds_are_refused(world, customer, monkeypatch):
    """Each urgency has a bound of its own."""
    async with nothing_is_written(world, monkeypatch, Urgency.NEW_WORK) as old:
        assert (await refusal(world.reserve())).reason == "OVERLOADED"
        assert await world.available() == 100_000_000
    await old


async def test_a_refusal_says_when_to_come_back(world, customer, monkeypatch):
    """In the details, and where clients of gRPC look by themselves; then the same request is carried out."""
    request = pb.ReserveRequest(request_id=fresh(), customer_id=customer, amount_micros=1)
    async with nothing_is_written(world, monkeypatch, Urgency.NEW_WORK) as old:
        reported, pushed_back = await retry_of(world.credit.Reserve(request))
        assert 1_000 <= reported == pushed_back <= 2_000
    await old
    assert not (await world.credit.Reserve(request)).replayed


async def test_items_of_a_batch_are_refused_each_by_its_urgency(world, customer, monkeypatch):
    """A batch of holds and commits under overload: the commits are taken."""
    held = await world.reservation()
    commit = pb.CommitReservationRequest(
        request_id=fresh(), customer_id=customer, reservation_id=held, amount_micros=3, final=True
    )
    reserve = pb.ReserveRequest(request_id=fresh(), customer_id=customer, amount_micros=1)
    items = [pb.BatchItem(reserve=reserve), pb.BatchItem(commit=commit), pb.BatchItem(reserve=reserve)]
    async with nothing_is_written(world, monkeypatch, Urgency.NEW_WORK, Urgency.ANY_TIME) as old:
        batch = asyncio.create_task(answer_of(world.credit.Batch(pb.BatchRequest(items=items))))
        assert (await refusal(world.reserve())).reason == "OVERLOADED"
    first, second, third = (await batch).results
    assert {each.error.code for each in (first, third)} == {grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]}
    assert second.commit.charge.charged_micros == 3
    await old


async def test_a_batch_of_new_work_alone_is_refused_whole(world, customer, monkeypatch):
    """With the delay where clients look by themselves: no item could have been taken."""
    reserve = pb.ReserveRequest(request_id=fresh(), customer_id=customer, amount_micros=1)
    request = pb.BatchRequest(items=[pb.BatchItem(reserve=reserve)] * 3)
    async with nothing_is_written(world, monkeypatch, Urgency.NEW_WORK) as old:
        reported, pushed_back = await retry_of(world.credit.Batch(request))
        assert 1_000 <= reported == pushed_back <= 2_000
    await old
    assert not (await world.credit.Batch(request)).results[0].reserve.replayed


def begun_batch(world):
    """A call of `Batch` whose message does not come."""
    begin = world.public.stream_unary(
        BATCH, request_serializer=pb.BatchRequest.SerializeToString, response_deserializer=None
    )
    return begin()


async def test_a_batch_that_cannot_be_taken_is_not_read(world, customer, monkeypatch):
    """Its header fields are enough to refuse it: whoever sends no message holds nothing."""
    async with nothing_is_written(world, monkeypatch, *Urgency) as old:
        refused = await refusal(begun_batch(world))
        assert (refused.code.name, refused.reason) == ("RESOURCE_EXHAUSTED", "OVERLOADED")
    await old


async def test_holds_are_not_read_for_ever_to_be_refused(world, customer, monkeypatch):
    """Where many batches have been read in vain the next is refused by its header fields, as holds are."""
    async with nothing_is_written(world, monkeypatch, Urgency.NEW_WORK) as old:
        monkeypatch.setattr(looks, "AT_ONCE_SECONDS", -inf)
        refused = await refusal(begun_batch(world))
        assert (refused.reason, refused.metadata["limit"]) == ("OVERLOADED", "oldest_seconds")
        charged = asyncio.create_task(world.charge(amount_micros=2))
    await asyncio.gather(old, charged)


async def test_a_flood_of_batches_loses_nothing(world, customer, monkeypatch):
    """Of many batches at once some holds are refused, by number, and all commits are taken."""
    bounds = {**dict.fromkeys(Urgency, Bound(3_600, 100_000)), Urgency.NEW_WORK: Bound(3_600, 200)}
    monkeypatch.setattr(waiting, "BOUNDS", bounds)
    held = [await world.reservation(amount_micros=10) for _ in range(20)]

    def commit(reservation_id):
        return pb.CommitReservationRequest(
            request_id=fresh(),
            customer_id=customer,
            reservation_id=reservation_id,
            amount_micros=1,
            final=True,
        )

    def reserve():
        return pb.ReserveRequest(request_id=fresh(), customer_id=customer, amount_micros=1)

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


async def test_reads_that_wait_too_long_are_refused(world, customer, monkeypatch):
    """By age where there are many, and by number; a few are never refused, however long they take."""
    monkeypatch.setattr(limits, "READ_SECONDS", 0)
    monkeypatch.setattr(limits, "READS_AT_EASE", 3)
    async with world.owner.transaction():
        await world.owner.execute("LOCK TABLE cell_00.wallets IN ACCESS EXCLUSIVE MODE")
        old = [asyncio.create_task(answer_of(world.balance())) for _ in range(3)]
        await until(partial(reads_wait, world, len(old)))
        refused = await refusal(world.balance())
        assert refused.metadata == {"limit": "oldest_seconds", "allowed": "0"}
        monkeypatch.setattr(limits, "READS_MAX", 3)
        refused = await refusal(world.balance())
        assert refused.metadata == {"limit": "reads", "allowed": "3"}
        reported, pushed_back = await retry_of(world.balance())
        assert 1_000 <= reported == pushed_back <= 2_000
    assert {each.available_micros for each in await asyncio.gather(*old)} == {100_000_000}
