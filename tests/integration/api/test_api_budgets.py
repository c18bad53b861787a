"""Budgets through the API: what is refused and how that is said, what is left, what is an event."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from api_world import CREDIT, Refused, refusal, tokens, usage
from google.protobuf.json_format import MessageToDict

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import wallet_service_pb2 as wallet
from tests.calling import fresh
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def budgeted(world):
    """The service, with a customer whose plan has budgets."""
    await world.new_customer(fresh(), plan="budgeted")
    return world


async def left(world, **labels):
    """What GetBudgets says is left and used of each, in credits; None where it says nothing."""
    request = wallet.GetBudgetsRequest(customer_id=world.customer_id, labels=pb.Labels(**labels))
    answer = await world.wallet.GetBudgets(request)
    return {
        budget.name: (budget.left_micros // CREDIT, budget.used_micros // CREDIT)
        if budget.HasField("used_micros")
        else None
        for budget in answer.budgets
    }


@pytest.mark.parametrize("write", ["reserve", "charge", "batch"])
async def test_a_refusal_names_the_budget_and_the_end_of_its_window(budgeted, write):
    """Whose count it is, what is left and needed; nothing is booked."""
    labels = pb.Labels(agent="a7")
    async with budgeted.nothing_changed():
        if write == "batch":
            request = pb.ReserveRequest(
                request_id=fresh(),
                customer_id=budgeted.customer_id,
                usage=usage(*[tokens()] * 2),
                labels=labels,
            )
            answer = await budgeted.credit.Batch(pb.BatchRequest(items=[pb.BatchItem(reserve=request)]))
            refused = Refused.of(answer.results[0].error)
        else:
            refused = await refusal(getattr(budgeted, write)(usage=usage(*[tokens()] * 2), labels=labels))
    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "BUDGET_EXCEEDED")
    assert refused.metadata == {
        "budget": "each",
        "window": "TOTAL",
        "labels": '{"agent":"a7"}',
        "limit_micros": str(12 * CREDIT),
        "used_micros": "0",
        "left_micros": str(12 * CREDIT),
        "required_micros": str(20 * CREDIT),
    }
    refused = await refusal(budgeted.reserve(amount_micros=31 * CREDIT))
    ends_at = datetime.fromisoformat(refused.metadata["window_ends_at"])
    assert (refused.metadata["budget"], ends_at.day, ends_at > datetime.now(UTC)) == ("all", 1, True)


async def test_get_budgets_has_what_is_counted_and_left(budgeted):
    """Of the customer, and of the labels that are asked for: what is held or charged."""
    hold = await budgeted.reservation(labels=pb.Labels(agent="a7"))
    await budgeted.charge(amount_micros=2 * CREDIT, labels=pb.Labels(other={"team": "a"}))
    assert await left(budgeted) == {"all": (18, 12), "each": None, "team": (3, 2)}
    assert await left(budgeted, agent="a7") == {"all": (18, 12), "each": (2, 10), "team": (3, 2)}
    assert await left(budgeted, agent="other") == {"all": (18, 12), "each": (12, 0), "team": (3, 2)}
    await budgeted.commit(hold, amount_micros=CREDIT, final=True)
    assert await left(budgeted, agent="a7") == {"all": (27, 3), "each": (11, 1), "team": (3, 2)}


async def test_a_check_has_the_budgets_that_the_work_counts_in(budgeted):
    """As GetBudgets has them; not those of other labels."""
    await budgeted.charge(amount_micros=2 * CREDIT, labels=pb.Labels(agent="a7"))
    labels = pb.Labels(agent="a7")
    work = {"customer_id": budgeted.customer_id, "labels": labels}
    checked = await budgeted.credit.Check(pb.CheckRequest(amount_micros=CREDIT, **work))
    known = (await budgeted.wallet.GetBudgets(wallet.GetBudgetsRequest(**work))).budgets
    assert list(checked.budgets) == [budget for budget in known if budget.name in ("all", "each")]
    assert [budget.used_micros for budget in checked.budgets] == [2 * CREDIT] * 2


async def test_get_budgets_says_what_they_are(budgeted):
    """All that the plan states of each, in its order."""
    answer = await budgeted.wallet.GetBudgets(wallet.GetBudgetsRequest(customer_id=budgeted.customer_id))
    monthly, each, team = (
        MessageToDict(budget, preserving_proto_field_name=True) for budget in answer.budgets
    )
    assert monthly.pop("window_ends_at")
    assert monthly == {
        "name": "all",
        "limit_micros": str(30 * CREDIT),
        "window": "BUDGET_WINDOW_MONTH",
        "at_limit": "BUDGET_AT_LIMIT_THROTTLE",
        "notify_percents": [50, 100],
        "used_micros": "0",
        "left_micros": str(30 * CREDIT),
    }
    assert (each["by"], each["at_limit"], team["where"]) == (
        ["agent"],
        "BUDGET_AT_LIMIT_BLOCK",
        {"team": "a"},
    )


async def test_a_plan_without_budgets_has_none(world):
    """And an answer all the same."""
    await world.new_customer(fresh())
    assert await left(world, agent="a7") == {}


async def test_a_check_foresees_what_budgets_refuse(budgeted):
    """Whole, as the reserve is refused; nothing of it is counted."""
    labels = pb.Labels(agent="a7")
    asked = {"customer_id": budgeted.customer_id, "labels": labels}
    checked = await budgeted.credit.Check(pb.CheckRequest(amount_micros=13 * CREDIT, **asked))
    foreseen = Refused.of(checked.refusal)
    refused = await refusal(budgeted.reserve(amount_micros=13 * CREDIT, labels=labels))
    assert (checked.allowed, foreseen.reason, foreseen.metadata) == (False, refused.reason, refused.metadata)
    assert (await budgeted.credit.Check(pb.CheckRequest(amount_micros=12 * CREDIT, **asked))).allowed
    assert (await left(budgeted, agent="a7"))["each"] == (12, 0)


async def test_thresholds_are_events_once_each_way(budgeted):
    """By the entry that brings the count there, in the order of entries; a refusal and a repeat are none."""
    hold = await budgeted.reservation(amount_micros=15 * CREDIT)
    await refusal(budgeted.reserve(amount_micros=16 * CREDIT))
    await budgeted.release(hold)
    charged = {"request_id": fresh(), "amount_micros": 30 * CREDIT}
    await budgeted.charge(**charged)
    assert (await budgeted.charge(**charged)).replayed
    types = ["budget.threshold_crossed", "budget.threshold_recovered"]
    request = wallet.ListEventsRequest(customer_id=budgeted.customer_id, types=[*types, "grant.issued"])
    mark = (await budgeted.grant(1)).grant.grant_id

    async def has_mark():
        return any(mark in event.data for event in (await budgeted.wallet.ListEvents(request)).events)

    await until(has_mark)
    found = [
        (event.type, json.loads(event.data))
        for event in (await budgeted.wallet.ListEvents(request)).events
        if event.type in types
    ]
    assert [(name, data["percent"], data["used_micros"]) for name, data in found] == [
        ("budget.threshold_crossed", "50", str(15 * CREDIT)),
        ("budget.threshold_recovered", "50", "0"),
        ("budget.threshold_crossed", "50", str(30 * CREDIT)),
        ("budget.threshold_crossed", "100", str(30 * CREDIT)),
    ]
    assert {data["budget"] for _, data in found} == {"all"}


@pytest.mark.parametrize("plan", ["budgeted", "standard"])
async def test_a_customers_own_budgets_are_in_place_of_its_plans(world, plan):
    """With what they have counted by their name; without them the plan's are in force again."""
    customer_id = await world.new_customer(fresh(), plan=plan)
    await world.charge(amount_micros=2 * CREDIT)
    own = '{"budgets": {"all": {"limit": "9", "window": "MONTH"}}}'
    await world.update(plan_overrides=own)
    got = await world.admin.GetCustomer(admin.GetCustomerRequest(customer_id=customer_id))
    assert got.customer.plan_overrides == own
    used = 2 if plan == "budgeted" else 0
    assert await left(world, agent="a7") == {"all": (9 - used, used)}
    above, whole = [{"amount_micros": (9 - used) * CREDIT + more} for more in (1, 0)]
    for call in (world.reserve(**above), world.charge(**above)):
        refused = await refusal(call)
        assert (refused.reason, refused.metadata["budget"]) == ("BUDGET_EXCEEDED", "all")
        assert refused.metadata["limit_micros"] == str(9 * CREDIT)
    checks = [
        await world.credit.Check(pb.CheckRequest(customer_id=customer_id, **asked))
        for asked in (above, whole)
    ]
    assert [checked.allowed for checked in checks] == [False, True]
    assert (Refused.of(checks[0].refusal).metadata) == refused.metadata
    await world.reserve(**whole)
    assert await left(world) == {"all": (0, 9)}
    await world.update(plan_overrides="")
    back = {"all": (21, 9), "each": None, "team": (5, 0)} if plan == "budgeted" else {}
    assert await left(world) == back
    await world.reserve(amount_micros=CREDIT)
