"""What a check answers is what a reserve of the same would meet, and nothing is left of it."""

from __future__ import annotations

import pytest
from api_world import CREDIT, Refused, refusal, sandbox, searches, ticket, tokens, usage

from ledger.books.limits import BUDGET_VALUES_MAX
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import usage_pb2 as use
from tests.calling import fresh

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def check(world, **asked) -> pb.CheckResponse:
    """A check of the customer at hand."""
    return await world.credit.Check(pb.CheckRequest(customer_id=world.customer_id, **asked))


def prices_of(found: pb.CheckResponse, item: pb.CheckedItem):
    """What one of something costs by the rule of an item."""
    return found.prices[item.prices_index].prices if item.HasField("prices_index") else ()


ASKED = [
    # What is asked, of a customer with 12 credits for anything and 5 for tokens; why it is refused.
    ({"amount_micros": 12 * CREDIT}, ""),
    ({"amount_micros": 12 * CREDIT + 1}, "INSUFFICIENT_CREDITS"),
    ({"usage": usage(tokens(input=1_700_000))}, ""),
    ({"usage": usage(tokens(input=1_700_001))}, "INSUFFICIENT_CREDITS"),
    ({"usage": usage(tokens(input=500_000), searches("1200"))}, ""),
    ({"usage": usage(searches("1200"), tokens(input=500_001))}, "INSUFFICIENT_CREDITS"),
    ({"usage": usage(tokens(input=0))}, ""),
    ({"usage": usage(tokens("acme/nobody-knows"))}, "UNPRICED_USAGE"),
    ({"usage": usage(tokens("other/model"), tokens("acme/nobody-knows"))}, "NOT_ENTITLED"),
    ({"usage": usage(searches("1"), sandbox(10**6))}, "NOT_ENTITLED"),
]


@pytest.mark.parametrize(("asked", "reason"), ASKED)
async def test_it_is_what_a_reserve_meets(world, asked, reason):
    """Taken where the reserve is, and held then; refused with the very status that the reserve gets."""
    await world.new_customer(fresh(), plan="starter", granted=12)
    await world.grant(5 * CREDIT, scope="tokens", priority=1)
    async with world.nothing_changed():
        found = await check(world, **asked)
    assert found.allowed is not bool(reason)
    assert found.balance == await world.balance()
    if reason:
        refused = await refusal(world.reserve(**asked))
        assert (refused.reason, refused.raw) == (reason, found.refusal.SerializeToString())
    else:
        assert not found.HasField("refusal")
        assert (await world.reserve(**asked)).reservation.held_micros == found.credits_micros


BUDGETED = [
    # What is asked of a customer with budgets of 30 credits, of 12 for an agent and of 5 for a team; which of
    # them refuses it.
    ({"amount_micros": 12 * CREDIT, "labels": pb.Labels(agent="a7")}, None),
    ({"amount_micros": 12 * CREDIT + 1, "labels": pb.Labels(agent="a7")}, "each"),
    ({"amount_micros": 6 * CREDIT, "labels": pb.Labels(other={"team": "a"})}, "team"),
    ({"amount_micros": 31 * CREDIT}, "all"),
    ({"amount_micros": CREDIT, "labels": pb.Labels(agent="one too many")}, "each"),
]


@pytest.mark.parametrize(("asked", "budget"), BUDGETED)
async def test_budgets_refuse_it_as_they_do_a_reserve(world, asked, budget):
    """For what they leave, and for one combination of labels more than they count for."""
    await world.new_customer(fresh(), plan="budgeted")
    if "too many" in asked.get("labels", pb.Labels()).agent:
        await world.owner.execute(
            "INSERT INTO cell_00.states"
            " (customer, key, state, surplus, collected, uncollected, revenue_nanousd)"
            " SELECT customer, 'budget_values:each:TOTAL:', $2, 0, 0, 0, 0 FROM ledger.customers"
            " WHERE customer_id = $1",
            world.customer_id,
            str(BUDGET_VALUES_MAX),
        )
    found = await check(world, **asked)
    if budget is None:
        assert found.allowed
        assert (await world.reserve(**asked)).reservation.held_micros == found.credits_micros
        return
    refused = await refusal(world.reserve(**asked))
    assert (found.allowed, refused.raw) == (False, found.refusal.SerializeToString())
    assert refused.metadata["budget"] == budget


async def test_each_item_with_its_price_and_what_a_unit_costs(world, customer):
    """By the rule that prices it, times the multiplier; the shares add up to what would be held."""
    await world.update(multiplier="1.5")
    found = await check(world, usage=usage(tokens(), sandbox(90), searches("3"), ticket(), tokens()))
    assert found.rate_card == "metered"
    shown = []
    for item in found.items:
        prices = [(price.per, price.credits) for price in prices_of(found, item)]
        shown.append((item.line.title, item.line.credits_micros, prices))
    assert shown[:4] == [
        ("Large model", 15 * CREDIT, [("1M input tokens", "15"), ("1M output tokens", "60")]),
        ("Sandbox time", 150_000, [("hour", "6")]),
        ("Web search", 45_000, [("each", "0.015")]),
        ("Resolved ticket", 3 * CREDIT, [("resolved", "3")]),
    ]
    assert (shown[4], len(found.prices)) == (shown[0], 4), "prices of a rule stand once"
    assert found.prices[1].prices[0].note == "minimum 60 s, increment 1 s"
    assert sum(item.line.credits_micros for item in found.items) == found.credits_micros
    assert not any([*(item.denied_by for item in found.items), *(each.varies for each in found.prices)])


async def test_every_item_says_whether_it_is_allowed_and_priced(world):
    """Not the first alone; where one has no price there is no sum, and no price of its own."""
    await world.new_customer(fresh(), plan="starter")
    items = (tokens(), tokens("other/model"), sandbox(60), tokens("acme/nobody-knows"))
    found = await check(world, usage=usage(*items))
    assert [item.denied_by for item in found.items] == ["", "plan.allow", "plan.deny", ""]
    assert [item.line.unpriced for item in found.items] == [False, True, False, True]
    assert [bool(prices_of(found, item)) for item in found.items] == [True, False, True, False]
    assert not found.HasField("credits_micros")
    assert Refused.of(found.refusal).metadata == {
        "item": "1",
        "kind": "tokens",
        "name": "other/model",
        "list": "plan.allow",
    }


async def test_a_check_ignores_what_serves(world, customer):
    """As a quote does: it would tell which model is the cheaper one."""
    answers = [
        await check(world, usage=usage(tokens(**served)))
        for served in ({}, {"served_by": "acme/hushed-distilled"}, {"served_by": "cache"})
    ]
    for answer in answers:
        answer.ClearField("as_of")
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({}, "hold"),
        ({"amount_micros": 0}, "amount_micros"),
        ({"usage": use.UsageList()}, "usage.items"),
        ({"usage": usage(sandbox(10**6, count="9" * 15))}, "usage"),
        ({"amount_micros": 1, "labels": pb.Labels(other={"": "x"})}, "labels.other"),
    ],
)
async def test_what_cannot_be_asked(world, customer, asked, field):
    """Neither, nothing, or more than a wallet holds: the field is named."""
    refused = await refusal(check(world, **asked))
    assert (refused.reason, next(iter(refused.fields)).startswith(field)) == ("INVALID_ARGUMENT", True)
