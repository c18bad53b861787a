"""Prices round other prices, prices of what was served, and units of measure."""

from fractions import Fraction

import pytest
from pricing_world import COSTS, compute, config, outcome, paid, priced, terms, tokens, units

from pricing import KeyOwner, Measured, Rate, Result
from tests.cards import card_text

TOLD = "discloses: serving_cost\n"


def test_a_fee_on_cost_is_charged_whoever_pays_the_provider(tmp_path):
    """fee_on_cost: p x cost / credit price; of list prices on the customer's own key."""
    made = terms(
        tmp_path,
        "match: {tokens: '*'}, price: {fee_on_cost: 5%}",
        "match: {compute: h100}, price: {plus: [{per_hour: '1'}, {fee_on_cost: 10%}]}",
        "match: {units: web_search}, price: {fee_on_cost: 50%}",
        price="0.01",
    )
    assert [paid(priced(made, tokens(input=1_000_000, key_owner=owner))) for owner in KeyOwner] == [15, 15]
    assert paid(priced(made, compute("h100", 3600))) == 1 + Fraction("24.9")
    assert paid(priced(made, units("web_search", "2"))) == 1
    assert priced(made, tokens("acme/none", input=1, served_by="acme/small")).unpriced == (0,)


@pytest.mark.parametrize(("owner", "share"), [(KeyOwner.OURS, 2), (KeyOwner.CUSTOMER, 1)])
def test_cost_plus_on_served_passes_savings_through(tmp_path, owner, share):
    """on: served builds on the cost of what ran; an estimate, which knows nothing of it, on what is asked."""
    made = terms(tmp_path, "match: {tokens: '*'}, price: {cost_plus: {markup: 100%, on: served}}", extra=TOLD)
    item = tokens(input=1_000_000, served_by="acme/small", key_owner=owner)
    assert paid(priced(made, item)) == Fraction("0.05") * share
    assert paid(priced(made, item, estimate=True)) == 3 * share
    assert paid(priced(made, item._replace(served_by="cache"))) == 0
    unknown = priced(made, item._replace(served_by="acme/none"))
    assert (unknown.unpriced, paid(unknown)) == ((), 3 * share), "what nobody knows passes no saving on"
    for served_by in (None, "cache", "acme/small", "acme/none"):
        quote = priced(made, item._replace(model="acme/none", served_by=served_by))
        assert (quote.unpriced, quote.lines[0].unpriced_reason) == ((0,), "no_cost")


def test_a_rule_may_look_at_what_served(tmp_path):
    """served_by matches what ran, which is what was asked for if nothing is said; in estimates always."""
    made = terms(
        tmp_path,
        "match: {tokens: '*', served_by: cache}, price: {each: {input: '1'}}",
        "match: {tokens: '*', served_by: ['*/large']}, price: {each: {input: '2'}}",
        "match: {tokens: '*'}, price: {each: {input: '3'}}",
        "match: {compute: h100, served_by: spot}, price: {per_hour: '1'}",
        "match: {compute: h100}, price: {per_hour: '2'}",
        extra=TOLD,
    )
    served = [tokens(input=1, served_by=by) for by in ("cache", "acme/large", None, "acme/small")]
    assert [paid(priced(made, item)) for item in served] == [1, 2, 2, 3]
    assert [paid(priced(made, item, estimate=True)) for item in served] == [2] * 4
    hour = compute("h100", 3600)
    assert [paid(priced(made, hour._replace(served_by=by))) for by in ("spot", None)] == [1, 2]


def test_times_multiplies_any_scheme(tmp_path):
    """times: a factor round rates, cost and sums; exact."""
    made = terms(
        tmp_path,
        "match: {tokens: '*'}, price: {plus: [{each: {input: '1'}, times: '3'}, {each: {output: '1'}}]}",
        "match: {compute: h100}, price: {per_hour: '4', minimum: 60s, times: '1.5'}",
        "match: {units: web_search}, price: {cost_plus: {markup: 0%}, times: '2'}",
        "match: {units: mail}, price: {plus: [{each: '1'}, {each: '2'}], times: '0.5'}",
        "match: {outcome: '*'}, price: {outcome: {resolved: '7'}, times: '0.000000001'}",
    )
    assert paid(priced(made, tokens(input=2, output=1))) == 7
    assert paid(priced(made, tokens(input=2, output=1, input_audio=1))) == 10
    assert paid(priced(made, compute("h100", 30))) == Fraction(4 * 60, 3600) * Fraction("1.5")
    assert paid(priced(made, units("web_search", "1"))) == Fraction("0.02")
    assert paid(priced(made, units("mail", "1"))) == Fraction("1.5")
    quote = priced(made, outcome("x"))
    assert (paid(quote), quote.outcome_charged) == (Fraction(7, 10**9), True)
    assert not priced(made, outcome("x", Result.FAILED)).outcome_charged


@pytest.mark.parametrize(
    ("used", "blocks"), [("0", 0), ("0.1", 1), ("10000", 1), ("10000.1", 2), ("25001", 3)]
)
def test_a_block_is_charged_whole(tmp_path, used, blocks):
    """One action of 25,001 tokens in blocks of 10,000 is three times 20 credits."""
    made = terms(tmp_path, "match: {units: mail}, price: {each: '0.002', block: '10000'}")
    assert paid(priced(made, units("mail", "25001"))) == 60
    assert paid(priced(made, units("mail", used))) == 20 * blocks


def test_each_quantity_of_tokens_is_rounded_up_by_itself(tmp_path):
    """Requests and tokens alike; the cost is that of what was used."""
    made = terms(
        tmp_path,
        "match: {tokens: '*'}, price: {plus: [{per_million: {input: '1', output: '2', requests: '5'}, "
        "block: 1000}, {cost_plus: {markup: 0%}}]}",
    )
    quote = priced(made, tokens(input=1001, output=1, requests=1))
    assert paid(quote) == Fraction(2000 + 2 * 1000 + 5 * 1000, 10**6) + Fraction(3 * 1001 + 15, 10**6)


def test_measured_usage_keeps_both_its_units_and_its_credits(tmp_path):
    """measure: usage to units of a name, times what one costs; nine digits leave by the public door."""
    made = terms(
        tmp_path,
        "match: {compute: h100, labels: {workload: jobs}}, "
        "price: {measure: {unit: DBU, per_hour: '24', times: '2'}, per_unit: '0.15'}",
        "match: {compute: h100}, price: {plus: [{measure: {unit: DBU, per_hour: '24'}, per_unit: '0.70'}, "
        "{per_hour: '1'}], times: '0.5'}",
        "match: {tokens: '*'}, price: {measure: {unit: DBU, per_million: {input: '7', output: '21'}}, "
        "per_unit: '0.07'}",
    )
    hour = compute("h100", 437)
    quote = priced(made, hour)
    assert quote.lines[0].measured == Measured("DBU", Fraction(24 * 437, 3600))
    assert quote.lines[0].public["measured"] == {"unit": "DBU", "quantity": "2.913333333"}
    assert paid(quote) == (Fraction(24 * 437, 3600) * Fraction("0.7") + Fraction(437, 3600)) / 2
    jobs = priced(made, hour, labels={"workload": "jobs"})
    assert jobs.lines[0].measured == Measured("DBU", Fraction(48 * 437, 3600))
    assert paid(jobs) == Fraction(48 * 437, 3600) * Fraction("0.15")
    both = priced(made, tokens(input=1_000_000), units("mail", "1"))
    assert (both.lines[0].public["measured"]["quantity"], both.lines[1].measured) == ("7", None)


def test_the_price_list_tells_units_blocks_and_products_but_not_what_served(tmp_path):
    """Of what follows cost only that it varies."""
    card = config(
        tmp_path,
        COSTS,
        card_text(
            "match: {compute: h100}, price: {measure: {unit: DBU, per_hour: '4', increment: 1s, "
            "times: '1.5'}, per_unit: '0.15'}",
            "match: {units: mail}, price: {each: '0.002', block: '10000', times: '2'}",
            "match: {tokens: '*', served_by: cache}, price: {fee_on_cost: 3%}",
            extra=TOLD,
        ),
    ).cards["test"]
    machine, mail, cached = card.price_list()
    assert machine.rates == (Rate("hour", "6", "increment 1 s", "DBU"), Rate("DBU", "0.15", ""))
    assert mail.rates == (Rate("each", "0.004", "in blocks of 10000"),)
    assert (cached.rates, cached.varies, cached.conditions) == ((), True, {})
