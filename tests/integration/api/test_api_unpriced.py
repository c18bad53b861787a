"""What plans take for work that has no price: of a model that nobody knows, on a card that sells by cost."""

from __future__ import annotations

import random
from decimal import Decimal
from itertools import count

import grpc
import pytest
from api_world import CONFIG, CREDIT, refusal, tokens, usage
from google.protobuf.duration_pb2 import Duration

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.finance.v1 import finance_service_pb2 as finance
from ledger.finance.v1 import simulation_pb2 as simulation
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import usage_pb2 as use
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

REFUSALS = (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.RESOURCE_EXHAUSTED)
UNKNOWN = usage(tokens("nobody/knows"))
_numbers = count(1)


async def new_customer(world, plan: str, granted: int = 1) -> str:
    return await world.new_customer(f"cus_{next(_numbers)}", plan, granted)


async def explained(world, charge: pb.Charge) -> finance.ExplainChargeResponse:
    request = finance.ExplainChargeRequest(customer_id=world.customer_id, charge_id=charge.charge_id)
    return await world.finance.ExplainCharge(request)


async def lapsed(world, amount_micros: int) -> str:
    """A reservation that the clock has ended."""
    hold = await world.reservation(amount_micros=amount_micros, ttl=Duration(seconds=1))
    find = pb.GetReservationRequest(customer_id=world.customer_id, reservation_id=hold)

    async def has_ended() -> bool:
        return (await world.credit.GetReservation(find)).reservation.state != pb.RESERVATION_STATE_OPEN

    await until(has_ended)
    return hold


async def commit_late(world, used: use.UsageList) -> list[pb.Charge]:
    """Two parts of the same usage, after their hold of a fifth of a credit has expired."""
    hold = await lapsed(world, CREDIT // 5)
    return [(await world.commit(hold, usage=used, final=final)).charge for final in (False, True)]


@pytest.mark.parametrize(
    ("plan", "charged", "absorbed"),
    [
        ("booking", 0, {"unpriced": "30.000000000"}),
        ("holding", CREDIT // 5, {"unpriced": "29.800000000"}),
        ("falling", CREDIT // 5, {"unpriced": "29.700000000", "uncollected": "0.100000000"}),
    ],
)
async def test_five_runs_of_an_unknown_model_on_one_credit(lenders, plan, charged, absorbed):
    """A fifth of a credit is held for each; each costs $30. Finance sees each, by why and by what it paid."""
    await new_customer(lenders, plan)
    for _ in range(5):
        hold = await lenders.reservation(amount_micros=CREDIT // 5)
        charge = (await lenders.commit(hold, usage=UNKNOWN, final=True)).charge
        assert (charge.charged_micros, charge.lines[0].unpriced) == (charged, True)
        found = await explained(lenders, charge)
        (line,) = found.lines
        assert (line.treatment, line.unpriced_reason, line.uncosted) == ("UNPRICED", "no_cost", True)
        assert line.fallback == ("dearest" if plan == "falling" else "")
        assert {each.reason: each.amount_usd for each in found.absorbed} == absorbed
        assert found.cost_usd == "30.000000000"
    balance = await lenders.balance()
    assert (balance.available_micros, balance.held_micros) == (CREDIT - 5 * charged, 0)
    assert (await lenders.finance.VerifyJournal(finance.VerifyJournalRequest())).holds


async def test_a_fallback_is_charged_as_a_price(lenders):
    """By commits, late ones and charges of work that is done alike, as far as there are credits."""
    await new_customer(lenders, "falling", 100)
    hold = await lenders.reservation(amount_micros=CREDIT)
    charges = [(await lenders.commit(hold, usage=UNKNOWN)).charge]
    charges.append((await lenders.charge(usage=UNKNOWN, already_used=True)).charge)
    assert [charge.charged_micros for charge in charges] == [3 * CREDIT // 10] * 2
    refused = await refusal(lenders.charge(usage=UNKNOWN))
    assert (refused.reason, refused.metadata["name"]) == ("UNPRICED_USAGE", "nobody/knows")


async def test_a_late_part_takes_what_its_hold_was(lenders):
    """Who lets a reservation expire and reports then pays no less; a part after it takes no more."""
    await new_customer(lenders, "holding")
    late, again = await commit_late(lenders, UNKNOWN)
    assert (late.charged_micros, again.charged_micros) == (CREDIT // 5, 0)
    absorbed = [each for charge in (late, again) for each in (await explained(lenders, charge)).absorbed]
    assert sum(Decimal(each.amount_usd) for each in absorbed) == Decimal("59.8")
    assert (await lenders.finance.VerifyJournal(finance.VerifyJournalRequest())).holds


@pytest.mark.parametrize("plan", ["booking", "holding", "falling"])
async def test_a_simulation_of_the_past_is_what_was_booked(lenders, plan):
    """Under each policy, by parts, late ones, charges and their reversals, with a price beside it or not."""
    customer = await new_customer(lenders, plan, 100)
    await lenders.update(multiplier="1.7")
    both = usage(tokens(output=0), tokens("nobody/knows", input=123_457), tokens("nor/this"))
    for _ in range(2):
        hold = await lenders.reservation(amount_micros=20 * CREDIT)
        await lenders.commit(hold, usage=both)
        await lenders.commit(hold, usage=both, final=True)
    await lenders.reverse(reservation_id=hold)
    await lenders.charge(usage=both, already_used=True)
    await lenders.reverse(charge_id=(await lenders.charge(usage=both, already_used=True)).charge.charge_id)
    await commit_late(lenders, both)
    selection = simulation.UsageSelection(customer_id=customer, rate_card="*")
    found = await lenders.finance.SimulateRates(simulation.SimulateRatesRequest(usage=selection))
    reported = ("credits_micros", "list_revenue_usd", "lots_revenue_usd", "cost_usd")
    assert [getattr(found.before, name) for name in reported] == [
        getattr(found.booked, name) for name in reported
    ]
    assert found.after == found.before
    assert found.before.unpriced_lines == 2 * (2 + 1 + 2)
    of_unpriced = sum(each.before.credits_micros for each in found.usage_changes if each.name != "acme/large")
    assert (of_unpriced > 0) is (plan != "booking")


@pytest.mark.parametrize(
    ("plan", "own", "booked", "unpriced", "after"),
    [
        ("booking", "", 0, "FALLBACK", 3 * CREDIT // 10),
        ("holding", "", CREDIT // 5, "BOOK", 0),
        ("falling", "unpriced: BOOK", 0, "FALLBACK", 0),
        ("booking", "unpriced: FALLBACK", 3 * CREDIT // 10, "CHARGE_HOLD", 3 * CREDIT // 10),
    ],
)
async def test_candidate_plans_have_other_prices_of_work_without_one(
    lenders, plan, own, booked, unpriced, after
):
    """What a customer has its own of stays: before is what was booked, and after what it states."""
    customer = await new_customer(lenders, plan, 100)
    await lenders.update(plan_overrides=own)
    hold = await lenders.reservation(amount_micros=CREDIT // 5)
    await lenders.commit(hold, usage=UNKNOWN, final=True)
    plans = f"plans: {{{plan}: {{card: following, over_capture: ALLOW_IF_AVAILABLE, unpriced: {unpriced}}}}}"
    selection = simulation.UsageSelection(customer_id=customer)
    request = simulation.SimulateRatesRequest(usage=selection, candidate_plans=plans)
    found = await lenders.finance.SimulateRates(request)
    figures = (found.booked, found.before, found.after)
    assert [each.credits_micros for each in figures] == [booked, booked, after]


NO_FALLBACK = (
    "is bare, which names no rule to fall back on, as plan falling asks: write"
    " fallback: {tokens: <name of a rule>} in the card, or choose another card or plan"
)


async def test_a_customer_gets_no_plan_that_falls_back_on_nothing(lenders):
    """Neither by its card nor by its plan, later or at first: what has no price would be free."""
    await new_customer(lenders, "falling")
    customer = lenders.customer_id
    refused = [await refusal(lenders.update(rate_card="bare"))]
    await lenders.update(plan="booking", rate_card="bare")
    refused.append(await refusal(lenders.update(plan="falling")))
    new = admin.Customer(customer_id=f"{customer}_b", display_name="b", plan="falling", rate_card="bare")
    create = admin.CreateCustomerRequest(request_id="create", customer=new)
    refused.append(await refusal(lenders.admin.CreateCustomer(create)))
    assert {each.reason for each in refused} == {"INVALID_ARGUMENT"}
    assert all(NO_FALLBACK in each.message for each in refused)


async def test_a_card_that_a_plan_falls_back_on_keeps_its_fallback(lenders):
    """A version without one is refused by the names of card and plan; another card is published as it is."""
    text = (CONFIG.parent / "config_unpriced" / "cards" / "following.yaml").read_text()
    bare = "\n".join(line for line in text.splitlines() if "dearest" not in line) + "\nrevision: 2\n"
    publish = admin.PublishRateCardRequest(document=bare)
    refused = await refusal(lenders.admin.PublishRateCard(publish))
    assert "card following names no rule to fall back on, as plan falling asks" in refused.message
    assert "write fallback: {tokens: <name of a rule>}" in refused.message
    publish.document = bare.replace("card: following", "card: elsewhere")
    assert (await lenders.admin.PublishRateCard(publish)).version.number == 1


class Work:
    """Work of a customer, of models known and not, in any order; what is refused is refused for a reason."""

    def __init__(self, world, seed: str) -> None:
        self.world, self.dice = world, random.Random(seed)  # noqa: S311 -- the same history each time
        self.holds: list[str] = []
        self.charges: list[str] = []

    def usage(self):
        kinds = [UNKNOWN.items[0], tokens("acme/large", input=1), tokens("acme/large", input=123_457)]
        return usage(*self.dice.choices(kinds, k=self.dice.randrange(1, 4)))

    async def reserve(self) -> None:
        self.holds.append(await self.world.reservation(amount_micros=self.dice.randrange(1, CREDIT // 2)))

    async def lapse(self) -> None:
        self.holds.append(await lapsed(self.world, CREDIT // 9))

    async def commit(self) -> None:
        hold, final = self.dice.choice(self.holds), self.dice.random() < 0.3
        self.charges.append((await self.world.commit(hold, usage=self.usage(), final=final)).charge.charge_id)

    async def used(self) -> None:
        self.charges.append((await self.world.charge(usage=self.usage(), already_used=True)).charge.charge_id)

    async def reverse_charge(self) -> None:
        await self.world.reverse(charge_id=self.dice.choice(self.charges))

    async def reverse_reservation(self) -> None:
        await self.world.reverse(reservation_id=self.dice.choice(self.holds))

    async def refund(self) -> None:
        await self.world.refund(self.dice.choice(self.charges), amount_micros=self.dice.randrange(1, 99))


@pytest.mark.parametrize("plan", ["booking", "holding", "falling"])
async def test_the_books_hold_whatever_is_done_in_whatever_order(lenders, plan):
    """Parts, late parts, refunds and reversals of work without a price: no fault, and the audit is clean.

    As long as nothing is refunded, which is no price, a simulation under the same prices gives the books.
    """
    await new_customer(lenders, plan, 20)
    work = Work(lenders, plan)
    for verb in ("reserve", "lapse", "lapse", "commit"):
        await getattr(work, verb)()
    verbs = ["reserve", "commit", "commit", "commit", "used", "reverse_charge", "reverse_reservation"]
    for verb in work.dice.choices(verbs, k=40):
        await attempted(getattr(work, verb)())
    selection = simulation.UsageSelection(customer_id=lenders.customer_id)
    found = await lenders.finance.SimulateRates(simulation.SimulateRatesRequest(usage=selection))
    assert found.before.credits_micros == found.booked.credits_micros
    assert found.before.cost_usd == found.booked.cost_usd
    for verb in work.dice.choices([*verbs, "refund", "refund"], k=20):
        await attempted(getattr(work, verb)())
    assert (await lenders.finance.VerifyJournal(finance.VerifyJournalRequest())).holds


async def attempted(call) -> None:
    try:
        await call
    except grpc.aio.AioRpcError as refused:
        if refused.code() not in REFUSALS:
            raise
