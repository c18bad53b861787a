"""What a plan allows: usage that it does not is refused before the work, and booked after it."""

from __future__ import annotations

import pytest
import pytest_asyncio
from api_world import CREDIT, Refused, refusal, sandbox, searches, tokens, usage

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.v1 import credit_service_pb2 as pb
from tests.calling import fresh

pytestmark = pytest.mark.asyncio(loop_scope="session")

DENIED = [
    (tokens("other/large"), {"kind": "tokens", "name": "other/large", "list": "plan.allow"}),
    (tokens("acme/large-preview"), {"kind": "tokens", "name": "acme/large-preview", "list": "plan.deny"}),
    (sandbox(60, served_by="spot"), {"kind": "compute", "name": "sandbox", "list": "plan.deny"}),
]


@pytest_asyncio.fixture(loop_scope="session")
async def starter(world):
    """The service, with a customer whose plan allows acme's models, and no machine."""
    await world.new_customer(fresh(), plan="starter")
    return world


@pytest.mark.parametrize("write", ["reserve", "charge", "batch"])
@pytest.mark.parametrize(("item", "metadata"), DENIED)
async def test_what_the_plan_does_not_allow_is_refused(starter, write, item, metadata):
    """By item, kind, name and list, before its price is looked at; nothing is booked."""
    asked = usage(searches("1"), item)
    async with starter.nothing_changed():
        if write == "batch":
            request = pb.ReserveRequest(request_id=fresh(), customer_id=starter.customer_id, usage=asked)
            answer = await starter.credit.Batch(pb.BatchRequest(items=[pb.BatchItem(reserve=request)]))
            refused = Refused.of(answer.results[0].error)
        else:
            refused = await refusal(getattr(starter, write)(usage=asked))
    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "NOT_ENTITLED")
    assert refused.metadata == {"item": "1", **metadata}


async def test_what_it_allows_is_taken(starter):
    """Kinds that it does not name among them; and an amount, which does not say for what."""
    await starter.reserve(usage=usage(tokens(), searches("1")))
    await starter.charge(usage=usage(tokens()))
    await starter.reserve(amount_micros=CREDIT)


async def test_what_has_been_done_is_booked(starter):
    """A commit, partial or final, and a charge of work that is done, at its price."""
    hold = await starter.reservation()
    used = usage(sandbox(900, served_by="spot"))
    parts = [await starter.commit(hold, usage=used, final=final) for final in (False, True)]
    done = await starter.charge(usage=used, already_used=True)
    assert [answer.charge.charged_micros for answer in (*parts, done)] == [CREDIT] * 3


async def test_a_repeat_gets_its_answer_under_another_plan(starter):
    """A request that was taken is a repeat, whatever the customer's plan allows by now."""
    await starter.update(plan="standard")
    asked = {"request_id": fresh(), "usage": usage(sandbox(900))}
    first = await starter.reserve(**asked)
    await starter.update(plan="starter")
    again = await starter.reserve(**asked)
    assert (again.replayed, again.reservation) == (True, first.reservation)
    assert (await refusal(starter.reserve(usage=asked["usage"]))).reason == "NOT_ENTITLED"


@pytest.mark.parametrize("plan", ["starter", "standard"])
async def test_a_customers_own_entitlements_are_in_place_of_its_plans(world, plan):
    """For whoever checks, reserves or charges; without them the plan's are in force again."""
    customer_id = await world.new_customer(fresh(), plan=plan)
    own = '{"entitlements": {"deny": {"tokens": "acme/*"}}}'
    await world.update(plan_overrides=own)
    got = await world.admin.GetCustomer(admin.GetCustomerRequest(customer_id=customer_id))
    assert got.customer.plan_overrides == own
    denied, allowed = usage(tokens()), usage(sandbox(60))
    metadata = {"item": "0", "kind": "tokens", "name": "acme/large", "list": "plan.deny"}
    for call in (world.reserve(usage=denied), world.charge(usage=denied)):
        refused = await refusal(call)
        assert (refused.reason, refused.metadata) == ("NOT_ENTITLED", metadata)
    checks = [
        await world.credit.Check(pb.CheckRequest(customer_id=customer_id, usage=asked))
        for asked in (denied, allowed)
    ]
    assert [checked.allowed for checked in checks] == [False, True]
    assert Refused.of(checks[0].refusal).metadata == metadata
    await world.reserve(usage=allowed)
    await world.charge(usage=allowed)
    await world.update(plan_overrides="")
    await world.reserve(usage=denied)
