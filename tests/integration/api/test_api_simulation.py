"""Simulation over the API: the past by what is in force is what the ledger holds, to the last digit."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest
from api_world import CREDIT, refusal, sandbox, searches, ticket, tokens, usage
from google.protobuf.timestamp_pb2 import Timestamp

import pricing
from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.finance.v1 import simulation_pb2 as pb
from ledger.v1 import usage_pb2 as use
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

SEED = 20261123
CARD = """
card: metered
revision: 4
credit: ACU
credit_price_usd: "1.50"
rules:
  - {name: models, match: {tokens: "*"}, price: {per_million: {input: "20", output: "80"}}}
  - {name: rest, match: {compute: sandbox}, price: {per_hour: "4", minimum: 60s, increment: 1s}}
  - {name: searches, match: {units: web_search}, price: {each: "0.01"}}
  - {name: tickets, match: {outcome: ticket.resolved}, price: {outcome: {resolved: "2"}}}
"""
COST_PLUS = """
card: following
credit: ACU
credit_price_usd: "1.50"
rules:
  - {name: models, match: {tokens: "*"}, price: {cost_plus: {margin: "40%"}}}
  - {name: machines, match: {compute: "*"}, price: {cost_plus: {margin: "40%"}}}
  - {name: searches, match: {units: web_search}, price: {cost_plus: {margin: "40%"}}}
  - {name: tickets, match: {outcome: "*"}, price: {included: true}}
"""
WORK = [pb.SimulatedWork(customer_id="a")]
FIGURES = ("credits_micros", "list_revenue_usd", "lots_revenue_usd", "cost_usd")


def figures(found: pb.SimulatedFigures) -> dict[str, object]:
    return {name: getattr(found, name) for name in FIGURES}


def items(dice: random.Random) -> list[use.UsageItem]:
    """Usage of all kinds, with what moves a price or a cost."""
    return dice.choices(
        [
            tokens(input=dice.randrange(3_000), output=dice.randrange(900)),
            tokens(input=dice.randrange(3_000), served_by="acme/hushed-distilled"),
            tokens(input=dice.randrange(3_000), key_owner=use.KEY_OWNER_CUSTOMER),
            tokens(input=dice.randrange(3_000), served_by="cache"),
            sandbox(dice.randrange(90), run_id=f"run-{dice.randrange(3)}", state="idle"),
            sandbox(dice.randrange(90)),
            searches("0.333333333"),
            ticket(dice.choice([use.OUTCOME_RESULT_RESOLVED, use.OUTCOME_RESULT_FAILED])),
        ],
        k=dice.randrange(1, 4),
    )


async def work(world, pieces: int = 40) -> None:
    """Charges, sessions in parts, credits without usage, and reversals."""
    dice = random.Random(SEED)  # noqa: S311 -- the same history each time
    await world.grant(37 * CREDIT, paid_total_usd="11.1111111")
    for _ in range(pieces):
        match dice.randrange(5):
            case 0 | 1:
                made = await world.charge(usage=usage(*items(dice)), already_used=True)
                if dice.random() < 0.3:
                    await world.reverse(charge_id=made.charge.charge_id)
            case 2 | 3:
                reservation = await world.reservation(amount_micros=2 * CREDIT)
                for part in range(parts := dice.randrange(1, 4)):
                    await world.commit(reservation, usage=usage(*items(dice)), final=part == parts - 1)
                if dice.random() < 0.3:
                    await world.reverse(reservation_id=reservation)
            case _:
                await world.commit(await world.reservation(), amount_micros=dice.randrange(1, 9), final=True)


async def simulate(world, **fields) -> pb.SimulateRatesResponse:
    selection = fields.pop("usage", pb.UsageSelection(customer_id=world.customer_id))
    return await world.finance.SimulateRates(pb.SimulateRatesRequest(usage=selection, **fields))


async def test_the_past_by_what_is_in_force_is_what_the_ledger_holds(world, customer):
    """Replayed by the cards in force, usage amounts to what was booked: to the micro- and the nano-unit."""
    await work(world)
    found = await simulate(world)
    booked = await world.owner.fetchrow(
        "SELECT sum(e.priced) AS priced, sum(m.revenue) AS revenue, -sum(m.cost) AS cost"
        " FROM cell_00.entries e JOIN cell_00.money m USING (customer, sequence)"
        " JOIN ledger.customers c USING (customer)"
        " WHERE customer_id = $1 AND kind IN ('COMMIT', 'CHARGE', 'REVERSAL')",
        customer,
    )
    assert found.charges > 40
    assert figures(found.booked) == {
        "credits_micros": booked["priced"],
        "list_revenue_usd": f"{Decimal(booked['priced']) * Decimal('0.0000015'):.9f}",
        "lots_revenue_usd": f"{Decimal(int(booked['revenue'])).scaleb(-9):.9f}",
        "cost_usd": f"{Decimal(int(booked['cost'])).scaleb(-9):.9f}",
    }
    assert figures(found.before) == figures(found.booked)
    assert found.after == found.before
    assert found.unmatched_reversals == 0
    assert [each.customer_id for each in found.customer_changes] == [customer]


async def test_a_charge_that_was_refunded_and_undone_comes_to_nothing(world, customer):
    """On both sides and as booked: a reversal gives back what refunds have left, and refunds are no price."""
    await world.grant(37 * CREDIT, paid_total_usd="11.1111111")
    charge = (await world.charge(usage=usage(tokens(input=CREDIT)))).charge.charge_id
    await world.refund(charge, amount_micros=3 * CREDIT)
    await world.reverse(charge_id=charge)
    reservation = await world.reservation(amount_micros=30 * CREDIT)
    parts = [await world.commit(reservation, usage=usage(tokens()), final=final) for final in (False, True)]
    for part in parts:
        await world.refund(part.charge.charge_id, amount_micros=CREDIT)
    await world.reverse(reservation_id=reservation)
    found = await simulate(world)
    assert (found.booked.credits_micros, found.before.credits_micros) == (0, 0)
    assert {figures(each)["lots_revenue_usd"] for each in (found.booked, found.before)} == {"0.000000000"}


async def test_a_candidate_is_priced_beside_the_card_in_force(world, customer):
    """A card that asks twice as much of a model doubles that model's credits, and costs stay."""
    await world.charge(usage=usage(tokens(input=CREDIT), searches("10")))
    found = await simulate(world, candidate_card=CARD)
    assert (found.before.credits_micros, found.after.credits_micros) == (10_100_000, 20_100_000)
    assert found.after.cost_usd == found.before.cost_usd == "7.331349260"
    assert {(each.kind, each.name): each.after.credits_micros for each in found.usage_changes} == {
        ("tokens", "acme/large"): 20_000_000,
        ("units", "web_search"): 100_000,
    }
    # 31.4159265 dollars were paid for 100 credits.
    assert found.after.lots_revenue_usd == "6.314601226"
    (bucket,) = [each for each in found.histogram if each.charges]
    assert (bucket.from_percent, bucket.to_percent, bucket.customers) == (50, 100, 1)


DEAR = CARD.replace("card: metered", "card: dear")


async def plans_in_force(world) -> str:
    return (await world.admin.GetPlans(admin.GetPlansRequest())).document


async def test_a_plan_with_a_dearer_card_has_its_customers_pay_more(world, customer):
    """By customer: all on the plan but who has a card of its own; what else the plans change is named."""
    await world.charge(usage=usage(searches("10")))
    since = (await world.journal())[-1]["booked_at"]
    other = await world.new_customer(f"{customer}_brief", "brief")
    await world.charge(usage=usage(searches("10")))
    own = await world.new_customer(f"{customer}_own", "capped")
    await world.update(rate_card="metered")
    await world.charge(usage=usage(searches("10")))
    stated = (await plans_in_force(world)).replace("standard: {card: metered}", "standard: {card: following}")
    plans = stated.replace("capped: {card: metered, over_capture: CAP}", "capped: {card: following}")
    found = await simulate(world, candidate_plans=plans, usage=pb.UsageSelection(since=since))
    assert (found.charges, found.rate_card) == (3, "")
    assert {
        each.customer_id: (each.before.list_revenue_usd, each.after.list_revenue_usd)
        for each in found.customer_changes
    } == {
        customer: ("0.150000000", "0.200000000"),
        other: ("0.150000000", "0.150000000"),
        own: ("0.150000000", "0.150000000"),
    }
    assert (found.before.list_revenue_usd, found.after.list_revenue_usd) == ("0.450000000", "0.500000000")
    assert [(each.field, list(each.plans), each.plan_count) for each in found.not_simulated] == [
        ("over_capture", ["capped"], 1)
    ]


async def test_a_candidate_card_prices_what_candidate_plans_charge_by_it(world, customer):
    """A card that is not published yet, and who would be on it; the rest by the cards in force."""
    await world.charge(usage=usage(tokens(input=CREDIT)))
    stated = await plans_in_force(world)
    for plan, credits_micros in (("standard", 20_000_000), ("capped", 10_000_000)):
        plans = stated.replace(f"{plan}: {{card: metered", f"{plan}: {{card: dear")
        found = await simulate(world, candidate_card=DEAR, candidate_plans=plans)
        assert (found.before.credits_micros, found.after.credits_micros) == (10_000_000, credits_micros)


async def test_plans_as_they_are_change_nothing(world, customer):
    """The document in force, given as a candidate."""
    await work(world, 12)
    found = await simulate(world, candidate_plans=await plans_in_force(world))
    assert found.charges > 8
    assert found.before == found.after
    assert figures(found.before) == figures(found.booked)
    assert not found.not_simulated


async def test_keys_costs_and_models_that_might_be(world, customer):
    """What if customers brought their keys, costs fell, or another model served: prices and costs."""
    await world.charge(usage=usage(tokens(input=CREDIT)))
    own_keys = await simulate(world, byok=True)
    assert (own_keys.after.credits_micros, own_keys.after.cost_usd) == (10_000_000, "0.000000000")
    cheaper = await simulate(world, cost_change="-30%", candidate_card=COST_PLUS, usage=all_of(customer))
    # 7.3190017 dollars x 0.7 / 0.6 / 1.50
    assert (cheaper.after.credits_micros, cheaper.after.cost_usd) == (5_692_557, "5.123301190")
    assert cheaper.after.list_margin_ratio == "0.400000"
    swap = pb.ModelSwap(model="acme/large", served_by="acme/hushed-distilled")
    swapped = await simulate(world, model_swaps=[swap])
    assert (swapped.after.credits_micros, swapped.after.cost_usd) == (10_000_000, "0.414333100")


def all_of(customer: str) -> pb.UsageSelection:
    return pb.UsageSelection(customer_id=customer, rate_card="*")


async def test_usage_counts_within_its_time(world, customer):
    """What was booked before `since` only leaves its traces; what comes from `until` on is not read."""
    run = {"run_id": "r"}
    await world.charge(usage=usage(sandbox(20, **run)))
    first_booked_at = (await world.journal())[-1]["booked_at"]

    async def time_has_passed() -> bool:
        # A server's clock may be some milliseconds behind or ahead: no instant of a customer goes back.
        return await world.owner.fetchval(
            "SELECT clock_timestamp() > $1::timestamptz + interval '0.2 s'", first_booked_at
        )

    await until(time_has_passed)
    await world.charge(usage=usage(sandbox(50, **run)))
    since = Timestamp()
    since.FromDatetime((await world.journal())[-1]["booked_at"])
    later = await simulate(world, usage=pb.UsageSelection(customer_id=customer, since=since))
    # Of 70 s at a minimum of 60 s the first 20 s were billed 60.
    assert later.charges == 1
    assert figures(later.before) == figures(later.booked)
    assert later.before.credits_micros == 11_111
    earlier = await simulate(world, usage=pb.UsageSelection(customer_id=customer, until=since))
    assert earlier.before.credits_micros == 66_667


async def test_work_that_no_ledger_holds(world):
    """Work is priced by a card in force beside the candidate; nothing is booked of it."""
    pieces = [
        pb.SimulatedWork(customer_id=name, usage=usage(tokens(input=CREDIT * n)))
        for n, name in enumerate(("a", "b", "a"), start=1)
    ]
    async with world.nothing_changed():
        found = await simulate(world, work=pieces, candidate_card=CARD, usage=pb.UsageSelection())
    assert (found.charges, found.customers, found.HasField("booked")) == (3, 2, False)
    assert (found.before.credits_micros, found.after.credits_micros) == (60_000_000, 120_000_000)
    assert [(each.customer_id, each.after.credits_micros) for each in found.customer_changes] == [
        ("a", 80_000_000),
        ("b", 40_000_000),
    ]


async def test_a_fitted_card_leaves_its_margin_on_every_model(world, customer):
    """Rates fitted to usage, simulated on it, leave the margin asked for on all that costs something."""
    await work(world)
    sonnet = tokens("anthropic/claude-sonnet-4-5", input=1_234, output=567, cache_read=9)
    await world.charge(usage=usage(sonnet), already_used=True)
    selection = pb.UsageSelection(customer_id=customer)
    fitted = await world.finance.FitRates(
        pb.FitRatesRequest(rate_card="fitted", credit_price_usd="0.01", margin="37.5%", usage=selection)
    )
    assert pricing.RateCard.from_document(fitted.document).name == "fitted"
    found = await simulate(world, candidate_card=fitted.document, usage=all_of(customer))
    margins = {
        (each.kind, each.name): Decimal(each.after.list_margin_ratio)
        for each in found.usage_changes
        if each.kind != "outcome"
    }
    assert margins.keys() >= {("tokens", "anthropic/claude-sonnet-4-5"), ("units", "web_search")}
    assert found.after.unpriced_lines == 0
    assert all(abs(margin - Decimal("0.375")) < Decimal("0.0005") for margin in margins.values()), margins


async def test_imported_costs_are_the_catalogs(world, customer):
    """A cost book of what was seen names the models, what it carries over, and what nobody knows."""
    unheard_of = tokens("acme/unheard-of", input=1)
    seen = usage(tokens(), tokens("openai/gpt-4o-mini", input=5), unheard_of, sandbox(1))
    await world.charge(usage=seen, already_used=True)
    found = await world.finance.ImportCosts(
        pb.ImportCostsRequest(usage=pb.UsageSelection(customer_id=customer))
    )
    assert list(found.not_found) == ["acme/unheard-of"]
    book = pricing.read_costs_text(found.document)
    assert book.model("acme/large", "") is not None
    assert book.model("openai/gpt-4o-mini", "").source == "models"
    assert book.model("openai/gpt-4o", "") is None
    assert "sandbox" in book.resources


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"candidate_card": "card: x"}, "candidate_card", "missing"),
        ({"candidate_costs": "revision: 0"}, "candidate_costs", "line 1"),
        (
            {"candidate_plans": "plans: {a: {card: x}}"},
            "candidate_plans",
            "line 1, column 19: there is no card",
        ),
        ({"candidate_plans": "plans: {a: {max_ttl: 2}}"}, "candidate_plans", "line 1, column 22"),
        ({"candidate_plans": "plans: {a: {}}", "work": WORK}, "candidate_plans", "on no plan"),
        ({"cost_change": "-101%"}, "cost_change", "-100%"),
        ({"cost_change": "a third"}, "cost_change", "percentage"),
        ({"cost_change": "-\u0663%"}, "cost_change", "percentage"),
        ({"model_swaps": [pb.ModelSwap(model="a/b")]}, "model_swaps[0].served_by", ""),
        ({"work": WORK}, "usage.rate_card", "required"),
        (
            {"work": WORK, "candidate_card": CARD},
            "work[0].usage.items",
            "1 to",
        ),
    ],
)
async def test_what_makes_no_sense_is_refused(world, fields, field, said):
    """A bad field is named, with what is wrong with it."""
    found = await refusal(simulate(world, usage=pb.UsageSelection(), **fields))
    assert field in found.fields
    assert said in found.fields[field]


async def test_an_unknown_card_or_customer_is_refused(world):
    """Usage of a card or a customer that there is not is not taken for no usage."""
    card = await refusal(simulate(world, usage=pb.UsageSelection(rate_card="none")))
    customer = await refusal(simulate(world, usage=pb.UsageSelection(customer_id="nobody")))
    assert (card.reason, customer.reason) == ("RATE_CARD_NOT_FOUND", "CUSTOMER_NOT_FOUND")


@pytest.mark.parametrize(("count", "fits"), [(2, True), (3, False)])
async def test_sums_that_no_field_holds_are_refused(world, customer, count, fits):
    """Each charge is within bounds, and three of them beyond 64 bits: the figures are refused, not cut."""
    for _ in range(count):
        await world.charge(usage=usage(searches("400000000000000")), already_used=True)
    if fits:
        found = await simulate(world)
        assert found.booked.credits_micros == found.before.credits_micros == 8 * 10**18
    else:
        refused = await refusal(simulate(world))
        assert (refused.reason, list(refused.fields)) == ("INVALID_ARGUMENT", ["usage"])


@pytest.mark.parametrize(("price", "fits"), [("1000000000", True), ("1000000000.000000001", False)])
async def test_a_card_is_fitted_to_a_price_that_cards_take(world, customer, price, fits):
    """A credit costs a billion dollars at most: a card of a dearer one could not be published."""
    await world.charge(usage=usage(tokens(input=CREDIT)))
    request = pb.FitRatesRequest(credit_price_usd=price, margin="10%", usage=all_of(customer))
    if fits:
        assert f'credit_price_usd: "{price}"' in (await world.finance.FitRates(request)).document
    else:
        assert list((await refusal(world.finance.FitRates(request))).fields) == ["credit_price_usd"]
