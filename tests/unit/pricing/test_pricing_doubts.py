"""What can be published and is likely a mistake: each warning at its place, and none without cause."""

from __future__ import annotations

from pathlib import Path

import pytest
from pricing_world import NOW, config

from pricing import doubts_of_card, load, read_costs_text
from pricing.planning.doubts import MIX
from tests.cards import card_text

SAMPLE = Path(__file__).parents[3] / "deploy" / "config"
COSTS = """
tokens:
  catalog: genai-prices
  models:
    acme/large: {per_million: {input: "3", cache_read: "0.3", output: "15"}}
    acme/words: {per_million: {input: "1"}}
compute:
  sandbox: {per_hour: "0.12"}
units:
  web_search: {each: "0.01"}
"""
MIXED = "a request of 4,000 input, 16,000 cache_read and 1,000 output tokens"
LARGE = "match: {tokens: acme/large}, price: "


def warnings(directory, *rules, extra="", costs=COSTS):
    """The warnings of a card of such rules, without the file."""
    made = config(directory, costs, card_text(*rules, extra=extra))
    return [str(doubt).partition(".yaml:")[2] for doubt in made.doubts(NOW)]


def test_the_shipped_configuration_has_none():
    """What ops begin with is no example of what they are warned of."""
    assert load(SAMPLE).doubts(NOW) == []


@pytest.mark.parametrize(
    ("rule", "reported"),
    [
        (
            "match: {tokens: antropic/claude-sonnet-4-5}, price: {cost_plus: {markup: 1%}}",
            (
                "5:32: neither the cost book nor its catalog knows a model 'antropic/claude-sonnet-4-5'"
                " (write anthropic/claude-sonnet-4-5)"
            ),
        ),
        (
            "match: {tokens: acme/larg}, price: {cost_plus: {markup: 1%}}",
            "5:32: neither the cost book nor its catalog knows a model 'acme/larg' (write acme/large)",
        ),
        (
            "match: {tokens: gpt-5}, price: {cost_plus: {markup: 1%}}",
            "5:32: 'gpt-5' is no name of a model, which is provider/name (write openai/gpt-5)",
        ),
        (
            "match: {tokens: 'claude-*'}, price: {cost_plus: {markup: 1%}}",
            "5:32: 'claude-*' is no name of a model, which is provider/name (write anthropic/claude-*)",
        ),
        (
            "match: {tokens: '*', service_tier: batches}, price: {cost_plus: {markup: 1%}}",
            "5:51: neither the cost book nor its catalog knows a tier of service 'batches' (write batch)",
        ),
        (
            "match: {compute: sandbox, served_by: sandbx}, price: {included: true}",
            "5:53: the cost book knows no resource 'sandbx' (write sandbox)",
        ),
    ],
)
def test_names_that_nothing_knows(tmp_path, rule, reported):
    """A model, provider, tier or machine of a misspelt name is shown with the nearest one."""
    assert (
        warnings(tmp_path, rule, extra="discloses: serving_cost\n")[0].partition(":")[2]
        == reported.partition(":")[2]
    )


def test_known_names_are_not_doubted(tmp_path):
    """Names, globs and pieces of names of the book and the catalog, and tiers that providers name."""
    models = "[acme/large, 'acme/*', 'openai/gpt-5*', anthropic/claude-sonnet-4-5, 'anthropic/claude-*', '*']"
    rule = (
        f"match: {{tokens: {models}, service_tier: [batch, flex, priority, '*'], key_owner: CUSTOMER}},"
        " price: {included: true}"
    )
    assert warnings(tmp_path, rule) == []


def test_tokens_without_a_rate_of_output(tmp_path):
    """A rule without a rate of output is doubted where what it matches has output, and nowhere else."""
    assert warnings(tmp_path, LARGE + "{per_million: {input: '4', cache_read: '4'}}") == [
        (
            "5:52: names no rate of output, which acme/large has: its usage would be unpriced"
            " (add output to the rates)"
        )
    ]
    assert warnings(tmp_path, "match: {tokens: acme/words}, price: {per_million: {input: '4'}}") == []


def test_rates_under_cost(tmp_path):
    """Each quantity is judged by itself, and the mix that the message states, at the list price."""
    assert warnings(tmp_path, LARGE + "{per_million: {input: '2', cache_read: '0.3', output: '15'}}") == [
        f"5:52: sells {MIXED} of acme/large at $0.0278, under a cost of $0.0318",
        "5:74: sells a million tokens of input of acme/large at $2, under a cost of $3",
    ]
    assert sum(MIX.values()) == 21_000
    assert warnings(tmp_path, LARGE + "{per_million: {input: '3', cache_read: '0.3', output: '15'}}") == []


def test_rates_under_the_margin_floor(tmp_path):
    """Above cost, and under what the card itself asks for; exactly at the floor is not under it."""
    rule = LARGE + "{per_million: {input: '6', cache_read: '0.6', output: 'OUTPUT'}}"
    floor = "margin_floor: 50%\n"
    assert warnings(tmp_path, rule.replace("OUTPUT", "30"), extra=floor) == []
    [reported] = warnings(tmp_path, rule.replace("OUTPUT", "29.9"), extra=floor)[1:]
    assert (
        "of output of acme/large at $29.9, with less than the margin_floor of 50% on a cost of $15"
        in reported
    )


@pytest.mark.parametrize(
    ("price", "hint"),
    [
        (
            "{per_million: {input: '0.000004', cache_read: '0.000001', output: '0.00002'}}",
            "if it is the rate of one token, write it under each",
        ),
        (
            "{each: {input: '4', cache_read: '1', output: '20'}}",
            "if it is the rate of a million tokens, write it under per_million",
        ),
    ],
)
def test_the_rate_of_another_number_of_tokens(tmp_path, price, hint):
    """A rate of one token under per_million, or the reverse, is named as what it most likely is."""
    found = warnings(tmp_path, LARGE + price)
    assert found
    assert all(hint in reported for reported in found)


def test_costs_of_another_number_of_tokens(tmp_path):
    """The same in a cost book, where nothing but what tokens can cost tells it."""
    costs = 'tokens: {models: {acme/large: {per_million: {input: "0.000003"}, each: {output: "15"}}}}'
    found = read_costs_text(costs)
    assert found
    assert warnings(tmp_path, "match: {tokens: '*'}, price: {cost_plus: {markup: 1%}}", costs=costs) == [
        (
            "1:53: a million tokens of input would cost $0.000003"
            " (if the rate is another's, write each: {input: ...})"
        ),
        (
            "1:81: a million tokens of output would cost $15000000"
            " (if the rate is another's, write per_million: {output: ...})"
        ),
    ]


def test_a_misspelt_provider_in_a_cost_book(tmp_path):
    """A provider of our own is none of the catalog's; one that is called nearly like one is doubted."""
    costs = 'tokens: {catalog: genai-prices, models: {MODEL: {per_million: {input: "3", output: "9"}}}}'
    rule = "match: {tokens: '*'}, price: {cost_plus: {markup: 1%}}"
    assert warnings(tmp_path, rule, costs=costs.replace("MODEL", "acme/own")) == []
    [reported] = warnings(tmp_path, rule, costs=costs.replace("MODEL", "antropic/own"))
    assert reported.endswith("(write anthropic/own, if that is meant)")


@pytest.mark.parametrize(
    ("rule", "reported"),
    [
        (
            "match: {compute: sandbox}, price: {per_hour: '0.1'}",
            "sells an hour of sandbox at $0.1, under a cost of $0.12",
        ),
        (
            "match: {units: web_search}, price: {each: '0.005'}",
            "sells a million units of web_search at $5000, under a cost of $10000",
        ),
        (
            (
                "match: {units: web_search}, price: {tiers: {count: quantity, per: month,"
                " graduated: [{up_to: '10', price: {each: '0.02'}}, {price: {each: '0.001'}}]}}"
            ),
            "sells a million units of web_search at $1000, under a cost of $10000",
        ),
        (
            (
                "match: {tokens: acme/large}, price:"
                " {measure: {unit: DBU, per_million: {input: '30', output: '150'}}, per_unit: '0.01'}"
            ),
            "sells a million tokens of input of acme/large at $0.3, under a cost of $3",
        ),
    ],
)
def test_other_prices_under_cost(tmp_path, rule, reported):
    """Hours, units, steps of tiers and prices in two steps are judged alike."""
    assert any(reported in found for found in warnings(tmp_path, rule))


@pytest.mark.parametrize(
    "rule",
    [
        "match: {tokens: '*', key_owner: CUSTOMER}, price: {per_million: {input: '0', output: '0'}}",
        "match: {tokens: '*'}, price: {included: true}",
        "match: {tokens: '*'}, price: {fee_on_cost: 1%}",
        "match: {tokens: acme/large}, price: {each: {input: '0', output: '0', requests: '1'}}",
        "match: {units: web_search}, price: {each: '1', bundle: {count: quantity, quantity: '9', per: day}}",
    ],
)
def test_what_is_sold_otherwise_is_not_doubted(tmp_path, rule):
    """The customer's own keys, what is included or follows cost, requests sold by the piece, bundles."""
    assert warnings(tmp_path, rule) == []


def test_a_model_is_judged_under_the_rule_that_prices_it(tmp_path):
    """What a rule above takes is no business of a glob below it."""
    above = LARGE + "{cost_plus: {markup: 1%}}"
    below = "match: {tokens: 'acme/*'}, price: {per_million: {input: '1', output: '1'}}"
    assert warnings(tmp_path, above, below) == []
    assert len(warnings(tmp_path, below)) == 3


COST_PLUS = ", price: {cost_plus: {markup: 1%}}"
ADVICE = " (write what they cost under models, in costs.yaml)"
NO_BATCH = "at the tier 'batch': that of the standard one stands in as the cost" + ADVICE
NO_HOUR = "that of cache_write stands in as the cost" + ADVICE


@pytest.mark.parametrize(
    ("match", "found"),
    [
        (
            "tokens: openrouter/openai/gpt-5, service_tier: batch",
            "5:71: the catalog has no price of openrouter/openai/gpt-5 " + NO_BATCH,
        ),
        ("tokens: azure/gpt-5, service_tier: batch", None),
        ("tokens: azure/gpt-5, service_tier: [default, standard, auto]", None),
        (
            "tokens: openrouter/google/gemini-2.5-flash",
            (
                "5:32: the catalog has no price of cache_write_1h of openrouter/google/gemini-2.5-flash: "
                + NO_HOUR
            ),
        ),
        (
            "tokens: '*', served_by: openrouter/google/gemini-2.5-flash",
            (
                "5:48: the catalog has no price of cache_write_1h of openrouter/google/gemini-2.5-flash: "
                + NO_HOUR
            ),
        ),
        ("tokens: openrouter/google/gemini-2.5-flash, key_owner: CUSTOMER", None),
        ("tokens: openrouter/anthropic/claude-sonnet-4.6", None),
        ("tokens: '*'", None),
    ],
)
def test_models_that_the_catalog_has_no_price_of(tmp_path, match, found):
    """Where another price stands in as the cost of what a rule is for, it is said at its place."""
    extra = "discloses: serving_cost\n" if "served_by" in match else ""
    shown = [
        text.partition(":")[2] for text in warnings(tmp_path, f"match: {{{match}}}{COST_PLUS}", extra=extra)
    ]
    assert shown == ([found.partition(":")[2]] if found is not None else [])


@pytest.mark.parametrize(
    ("match", "reported"),
    [
        ("tokens: 'openrouter/*'", "cache_write_1h of openrouter/"),
        ("tokens: '*', service_tier: batch", "at the tier 'batch'"),
    ],
)
def test_of_many_models_without_a_price_some_are_named(tmp_path, match, reported):
    """A rule for hundreds has one warning: three names, and how many more."""
    (shown,) = warnings(tmp_path, f"match: {{{match}}}{COST_PLUS}")
    assert reported in shown
    assert len(shown) < 300
    more = int(shown.partition("(and ")[2].partition(" more)")[0])
    assert more > 100


def test_a_stated_cost_stands_for_itself(tmp_path):
    """The advice taken: a model under `models` needs no stand-in."""
    rule = "match: {tokens: openrouter/openai/gpt-5, service_tier: batch}" + COST_PLUS
    stated = "    openrouter/openai/gpt-5: {per_million: {input: '1', output: '8'}}\ncompute:"
    assert warnings(tmp_path, rule, costs=COSTS.replace("compute:", stated)) == []


def test_what_is_told_is_bounded(tmp_path):
    """However much is doubtful, the first warnings are shown, and how many more there are."""
    rules = [f"match: {{tokens: acme/x{n}}}, price: {{per_million: {{input: '4'}}}}" for n in range(60)]
    costs = (
        "tokens: {models: {"
        + ", ".join(f'acme/y{n}: {{each: {{input: "5", output: "5"}}}}' for n in range(120))
        + "}}"
    )
    book = read_costs_text(costs)
    found = doubts_of_card(card_text(*rules), book, "card.yaml", NOW)
    assert len(found) == 50
    made = config(tmp_path, costs, card_text("match: {tokens: '*'}, price: {included: true}"))
    found = made.doubts(NOW)
    assert len(found) == 201
    assert "40 more warnings are not shown" in {doubt.message for doubt in found}
