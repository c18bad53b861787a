"""Prices that know a past, simulated: the ledger's usage by what is in force is what the ledger holds."""

from __future__ import annotations

import random

import pytest

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.finance.v1 import simulation_pb2 as pb

pytestmark = pytest.mark.asyncio(loop_scope="session")

SEED = 7
CARD = """
card: counting
credit: credit
credit_price_usd: "0.07"
discloses: serving_cost
round: {to: "0.001", mode: up}
rules:
  - name: a bundle of requests
    match: {tokens: "anthropic/*", key_owner: OURS}
    price: {per_million: {input: "100", output: "400"}, bundle: {count: requests, quantity: 7, per: month}}
  - name: a share of savings
    match: {tokens: "*"}
    price: {savings_share: "20%"}
  - name: volume tiers
    match: {compute: sandbox}
    price:
      tiers:
        count: duration
        per: month
        volume: [{up_to: 40m, price: {per_hour: "6"}}, {price: {per_hour: "3"}}]
  - name: a pool
    match: {compute: h100}
    price: {measure: {unit: DBU, per_hour: "4"}, pool: dbcu, ratio: "0.3", then: {per_unit: "0.15"}}
  - name: runs
    match: {compute: "warehouse/*"}
    group: warehouse
    price: {per_hour: "2", minimum: 60s}
  - name: an allowance
    match: {units: voice_action}
    price: {each: "0.3", allowance: {share: 10%, of: warehouse, per: day}}
  - name: once a conversation
    match: {outcome: "*"}
    price: {outcome: {resolved: "0.99"}, once: subject}
"""
FIGURES = ("credits_micros", "list_revenue_usd", "lots_revenue_usd", "cost_usd")


def words(dice: random.Random) -> str:
    """Usage of one charge: of each rule now and then."""
    tokens = f"input={dice.randrange(9_000)} output={dice.randrange(2_000)}"
    some = (
        f"anthropic/claude-sonnet-4-5 {tokens}",
        f"anthropic/claude-sonnet-4-5 {tokens} key=CUSTOMER by=acme/code-13b",
        f"sandbox {dice.randrange(1, 12)}m",
        f"h100 {dice.randrange(1, 90)}m",
        f"warehouse/m {dice.randrange(1, 90)}s run=run-{dice.randrange(3)}",
        f"voice_action {dice.randrange(5)}",
        f"ticket.resolved RESOLVED of=t-{dice.randrange(6)}",
    )
    return "; ".join(dice.choices(some, k=dice.randrange(1, 4)))


async def test_prices_that_know_a_past_are_replayed(presets):
    """Bundles, tiers, savings, allowances, runs, marks and pools come to what was booked, reversals too."""
    published = admin.PublishRateCardRequest(document=CARD)
    await presets.ledger.admin.PublishRateCard(published)
    dice = random.Random(SEED)  # noqa: S311 -- the same history each time
    customers = [await presets.account("counting"), await presets.account("counting", multiplier="0.85")]
    for customer in customers:
        await customer.grant("150", "9.87654321")
        await customer.grant("3.333333", "1", scope="pool:dbcu")
    for _ in range(60):
        customer = dice.choice(customers)
        if dice.random() < 0.4:
            hold = await customer.reserve("1")
            for part in range(parts := dice.randrange(1, 4)):
                await customer.commit(hold, words(dice), final=part == parts - 1)
        else:
            charge = await customer.charge(words(dice))
            if dice.random() < 0.2:
                await customer.reverse(charge)
    for customer in customers:
        usage = pb.UsageSelection(customer_id=customer.customer_id)
        found = await presets.ledger.finance.SimulateRates(pb.SimulateRatesRequest(usage=usage))
        booked, before = (
            {name: getattr(side, name) for name in FIGURES} for side in (found.booked, found.before)
        )
        assert before == booked
        assert found.after == found.before
        assert found.charges > 20
