"""The customer's negotiated multiplier: what it pays, what it reads, what it keeps."""

from __future__ import annotations

import pytest
from api_world import CREDIT, sandbox, searches, tokens, usage

from ledger.finance.v1 import finance_service_pb2 as finance
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import wallet_service_pb2 as wallet

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_prices_are_multiplied_before_they_are_rounded(world, customer):
    """A third off searches of 0.01 is 0.00667 each: 3 of them are 0.02, and the cost is as it was."""
    before = (await world.charge(usage=usage(searches("3")))).charge
    await world.update(multiplier="0.666666667")
    charged = (await world.charge(usage=usage(searches("3"), tokens()))).charge
    assert before.charged_micros == 30_000
    assert [line.credits_micros for line in charged.lines] == [20_000, 6_666_667]
    explained = [
        await world.finance.ExplainCharge(
            finance.ExplainChargeRequest(customer_id=customer, charge_id=charge.charge_id)
        )
        for charge in (before, charged)
    ]
    assert [each.multiplier for each in explained] == ["1", "0.666666667"]
    assert explained[0].lines[0].cost_usd == explained[1].lines[0].cost_usd


async def test_a_minimum_is_of_the_multiplied_price(world, customer):
    """Everything that the customer pays is multiplied, a run's minimum too."""
    await world.update(multiplier="2")
    charged = (await world.charge(usage=usage(sandbox(1)))).charge
    assert charged.charged_micros == round(2 * 4 * CREDIT * 60 / 3600)


async def test_a_reservation_keeps_its_multiplier(world, customer):
    """What a customer pays does not change during a run; a quote and the next charge go by that of now."""
    named = await world.reservation(usage=usage(tokens()))
    await world.update(multiplier="0.5")
    stored = (await world.commit(named, usage=usage(tokens()), final=True)).charge
    quote = await world.credit.Quote(pb.QuoteRequest(customer_id=customer, usage=usage(tokens())))
    charged = (await world.charge(usage=usage(tokens()))).charge
    assert (stored.charged_micros, quote.credits_micros, charged.charged_micros) == (
        10 * CREDIT,
        5 * CREDIT,
        5 * CREDIT,
    )


async def test_the_price_list_is_the_customers_own(world, customer):
    """It shows the rates that the customer pays, exact."""
    await world.update(multiplier="0.333333333")
    listed = await world.wallet.GetPriceList(wallet.GetPriceListRequest(customer_id=customer))
    rates = {item.title: [rate.credits for rate in item.rates] for item in listed.items}
    assert rates["Web search"] == ["0.00333333333"]
    assert rates["Large model"] == ["3.33333333", "13.33333332"]
    answer = await world.update(multiplier="")
    assert answer.customer.multiplier == "1"
    listed = await world.wallet.GetPriceList(wallet.GetPriceListRequest(customer_id=customer))
    assert [rate.credits for item in listed.items for rate in item.rates][:2] == ["10", "40"]
