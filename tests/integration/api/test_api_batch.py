"""Batches: up to 1,000 writes, each with its own outcome."""

from __future__ import annotations

import pytest
from api_world import CREDIT, Refused, refusal, searches, tokens, usage

from ledger.engine.limits import EngineLimits
from ledger.limits import Limits
from ledger.v1 import credit_service_pb2 as pb
from tests.calling import fresh

pytestmark = pytest.mark.asyncio(loop_scope="session")


def reserve(customer_id, amount_micros=CREDIT, **fields):
    given = {"request_id": fresh(), "customer_id": customer_id, "amount_micros": amount_micros, **fields}
    return pb.BatchItem(reserve=pb.ReserveRequest(**given))


async def batch(world, *items):
    return (await world.credit.Batch(pb.BatchRequest(items=items))).results


async def test_every_write(world, customer):
    """A batch holds each of the seven writes, and answers each as its own method does."""
    given = {"customer_id": customer}
    named = [await world.reservation() for _ in range(3)]
    charged = (await world.charge(amount_micros=CREDIT)).charge.charge_id
    extend = pb.ExtendReservationRequest(
        request_id=fresh(), reservation_id=named[0], amount_micros=CREDIT, **given
    )
    commit = pb.CommitReservationRequest(
        request_id=fresh(), reservation_id=named[1], usage=usage(tokens()), final=True, **given
    )
    results = await batch(
        world,
        reserve(customer),
        pb.BatchItem(extend=extend),
        pb.BatchItem(commit=commit),
        pb.BatchItem(
            release=pb.ReleaseReservationRequest(request_id=fresh(), reservation_id=named[2], **given)
        ),
        pb.BatchItem(charge=pb.ChargeRequest(request_id=fresh(), usage=usage(searches("1")), **given)),
        pb.BatchItem(
            refund=pb.RefundRequest(
                request_id=fresh(), charge_id=charged, amount_micros=1, reason="x", **given
            )
        ),
        pb.BatchItem(
            reverse=pb.ReverseChargeRequest(request_id=fresh(), charge_id=charged, reason="x", **given)
        ),
    )
    outcomes = [result.WhichOneof("outcome") for result in results]
    assert outcomes == ["reserve", "extend", "commit", "release", "charge", "refund", "reverse"]
    sequences = [getattr(result, outcome).sequence for result, outcome in zip(results, outcomes, strict=True)]
    assert sequences == list(range(sequences[0], sequences[0] + 7))
    repeated = await world.credit.ExtendReservation(extend)
    assert repeated.replayed
    repeated.replayed = False
    assert repeated == results[1].extend


async def test_items_fail_alone(world, customer):
    """A bad item is an error in its place; those before and after it are carried out."""
    results = await batch(
        world,
        reserve(customer, 60 * CREDIT),
        reserve(customer, -1),
        reserve("nobody"),
        reserve(customer, 60 * CREDIT),
        pb.BatchItem(),
        reserve(customer, 40 * CREDIT),
    )
    outcomes = [result.WhichOneof("outcome") for result in results]
    assert outcomes == ["reserve", "error", "error", "error", "error", "reserve"]
    errors = [Refused.of(result.error) for result in results if result.HasField("error")]
    assert [error.reason for error in errors] == [
        "INVALID_ARGUMENT",
        "CUSTOMER_NOT_FOUND",
        "INSUFFICIENT_CREDITS",
        "INVALID_ARGUMENT",
    ]
    assert errors[0].fields.keys() == {"amount_micros"}
    assert errors[3].fields.keys() == {"write"}
    assert await world.balance() == pb.Balance(held_micros=100 * CREDIT)


async def test_same_request_twice(world, customer):
    """The same request id twice is a repeat: one effect, two answers."""
    item = reserve(customer)
    first, second = await batch(world, item, item)
    assert (first.reserve.replayed, second.reserve.replayed) == (False, True)
    assert first.reserve.reservation == second.reserve.reservation
    assert (await world.balance()).held_micros == CREDIT


async def test_same_id_for_another_request(world, customer):
    """The same request id with another body is an error of its item, and has no effect."""
    used = fresh()
    first, second = await batch(
        world, reserve(customer, request_id=used), reserve(customer, 2 * CREDIT, request_id=used)
    )
    assert first.WhichOneof("outcome") == "reserve"
    assert Refused.of(second.error).reason == "REQUEST_ID_REUSED"
    assert (await world.balance()).held_micros == CREDIT


async def test_the_same_id_of_two_customers(world, customer):
    """A request id is a customer's own."""
    other = await world.new_customer(fresh())
    used = fresh()
    results = await batch(world, reserve(customer, request_id=used), reserve(other, request_id=used))
    assert [result.WhichOneof("outcome") for result in results] == ["reserve", "reserve"]


async def test_in_order_per_customer(world, customer):
    """Items of one customer are decided in their order: each sees what those before it left."""
    other = await world.new_customer(fresh())
    amounts = [50, 51, 30, 21, 20]
    items = [reserve(named, amount * CREDIT) for amount in amounts for named in (customer, other)]
    results = await batch(world, *items)
    for start in (0, 1):
        mine = results[start::2]
        assert [result.WhichOneof("outcome") for result in mine] == [
            "reserve",
            "error",
            "reserve",
            "error",
            "reserve",
        ]
        left = [result.reserve.balance.available_micros for result in mine if result.HasField("reserve")]
        assert left == [50 * CREDIT, 20 * CREDIT, 0]


async def test_a_full_batch_of_a_new_customer(world):
    """1,000 items, for a customer that the service has not met, keep their order."""
    fetched = await world.new_customer(fresh())
    results = await batch(world, *[reserve(fetched, amount) for amount in range(1, 1_001)])
    sequences = [result.reserve.sequence for result in results]
    assert sequences == list(range(3, 1_003))
    assert [result.reserve.reservation.held_micros for result in results] == list(range(1, 1_001))


async def statements(world, results):
    """How many statements have written what these holds are."""
    sequences = [result.reserve.sequence for result in results]
    return await world.owner.fetchval(
        "SELECT count(DISTINCT e.xmin::text) FROM cell_00.entries e JOIN ledger.customers c USING (customer)"
        " WHERE c.customer_id = $1 AND e.sequence = ANY($2::bigint[])",
        world.customer_id,
        sequences,
    )


async def test_a_batch_is_written_by_one_statement(limited):
    """Its writes are begun in slices, with others' turns in between; what is written waits for the last."""
    world = await limited(Limits(engine=EngineLimits(gather_seconds=60)))
    await world.reserve(amount_micros=1)
    results = await batch(world, *[reserve(world.customer_id, 1) for _ in range(200)])
    assert await statements(world, results) == 1


async def test_a_statement_does_not_wait_for_ever(limited):
    """Where beginning a batch takes longer than others should wait for it, what there is is written."""
    world = await limited(Limits(engine=EngineLimits(gather_seconds=0)))
    await world.reserve(amount_micros=1)
    results = await batch(world, *[reserve(world.customer_id, 1) for _ in range(200)])
    assert await statements(world, results) > 1


async def test_a_customer_that_nobody_has_asked_for(world):
    """Where it has to be looked up first, no item overtakes another of the same customer either."""
    created = await world.new_customer(fresh(), granted=0)
    charges = [
        pb.ChargeRequest(request_id=fresh(), customer_id=created, amount_micros=amount, already_used=True)
        for amount in range(1, 1_001)
    ]
    results = await batch(world, *[pb.BatchItem(charge=charge) for charge in charges])
    assert [result.charge.sequence for result in results] == list(range(2, 1_002))
    assert [result.charge.charge.uncollected_micros for result in results] == list(range(1, 1_001))


@pytest.mark.parametrize("count", [0, 1_001])
async def test_number_of_items(world, customer, count):
    """1 to 1,000 items; one more, and nothing of the batch is carried out."""
    async with world.nothing_changed():
        refused = await refusal(batch(world, *[reserve(customer, 1)] * count))
    assert refused.fields.keys() == {"items"}


async def test_ids_of_the_same_call(world, customer):
    """No item can name what another item of its call makes: its id is not known yet."""
    made = await world.reservation()
    commit = pb.CommitReservationRequest(
        request_id=fresh(), customer_id=customer, reservation_id=f"{made}a", amount_micros=0
    )
    results = await batch(world, reserve(customer), pb.BatchItem(commit=commit))
    refused = Refused.of(results[1].error)
    assert (refused.reason, refused.metadata) == ("RESERVATION_NOT_FOUND", {"reservation_id": f"{made}a"})
