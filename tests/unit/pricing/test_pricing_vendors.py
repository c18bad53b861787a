"""What vendors publish, reproduced by cards of today's schemes: credits rounded once to six decimals."""

from datetime import timedelta

import pytest
from pricing_world import NOW, compute, config, credits_6, priced, tokens

from pricing import Memory, compile_terms
from tests.cards import card_text

COSTS = """
tokens: {models: {acme/model: {per_million: {input: "0.1", output: "0.3"}}}}
compute:
  xs: {per_hour: "0.4"}
  m: {per_hour: "1.6"}
  l: {per_hour: "3.2"}
  xl: {per_hour: "6.4"}
  5xl: {per_hour: "102.4"}
  sql/m: {per_hour: "8"}
  i3.xlarge: {per_hour: "0.31"}
  sandbox: {per_hour: "0.12"}
"""
WAREHOUSES = [
    f"match: {{compute: {size}}}, price: {{per_hour: '{rate}', minimum: 60s, increment: 1s}}"
    for size, rate in [("xs", 1), ("m", 4), ("l", 8), ("xl", 16), ("5xl", 256)]
]


@pytest.fixture
def made(tmp_path):
    """Compile a card of rules over the costs of this module."""

    def make(*rules: str):
        found = config(tmp_path, COSTS, card_text(*rules))
        return compile_terms(found.cards["test"], found.costs)

    return make


@pytest.mark.parametrize(
    ("size", "seconds", "count", "expected"),
    [
        ("xs", 5, "1", "0.016667"),
        ("xl", 61, "1", "0.271111"),
        ("xl", 120, "1", "0.533333"),
        ("5xl", 60, "1", "4.266667"),
        ("m", 7200, "3", "24.000000"),
    ],
)
def test_warehouses_bill_by_the_second_after_a_minute(made, size, seconds, count, expected):
    """Snowflake: credits an hour by size, per second, 60 s at least, each cluster by itself."""
    assert credits_6(priced(made(*WAREHOUSES), compute(size, seconds, count))) == expected


def test_each_resume_bills_a_minimum(made):
    """Snowflake: XS, three runs of 10 s, each resumed: 0.05 credits."""
    items = [compute("xs", 10, run_id=run) for run in "abc"]
    assert credits_6(priced(made(*WAREHOUSES), *items)) == "0.050000"


def test_a_resume_within_the_minute_bills_a_minimum_too(made):
    """The same as three starts of one run: the minimum again, or (an older page) once."""
    items = [compute("xs", 10, run_id="w", started_at=NOW + timedelta(seconds=at)) for at in (0, 15, 30)]
    again = [rule.replace("60s,", "60s, minimum_again: {within: 60s},") for rule in WAREHOUSES]
    assert credits_6(priced(made(*again), *items)) == "0.050000"
    assert credits_6(priced(made(*WAREHOUSES), *items)) == "0.016667"


@pytest.mark.parametrize(("seconds", "expected"), [(120, "0.600000"), (10, "0.411111")])
def test_a_resize_up_bills_a_minimum_of_what_is_added(made, seconds, expected):
    """Snowflake: M for 300 s, resized to L, 120 s more: 0.6 credits; 10 s more are 60 s of 4 an hour."""
    items = [
        compute("m", 300, run_id="w", started_at=NOW),
        compute("l", seconds, run_id="w", started_at=NOW + timedelta(seconds=300), resized_from="m"),
    ]
    assert credits_6(priced(made(*WAREHOUSES), *items)) == expected


def test_models_at_credits_per_million(made):
    """Snowflake: 12 credits per million tokens, 1,000,000 in and 234,567 out."""
    rule = "match: {tokens: acme/model}, price: {per_million: {input: '12', output: '12'}}"
    assert credits_6(priced(made(rule), tokens("acme/model", input=1_000_000, output=234_567))) == "14.814804"


@pytest.mark.parametrize(
    ("resource", "rate", "seconds", "count", "expected"),
    [("sql/m", 24, 437, "1", "2.913333"), ("i3.xlarge", 1, 7200, "4", "8.000000")],
)
def test_units_an_hour_without_a_minimum(made, resource, rate, seconds, count, expected):
    """Databricks: DBU an hour by type, per second."""
    rule = f"match: {{compute: {resource}}}, price: {{per_hour: '{rate}'}}"
    assert credits_6(priced(made(rule), compute(resource, seconds, count))) == expected


def test_tokens_in_units(made):
    """Databricks: 2M in and 0.5M out of Llama 70B at 7.143 and 21.429 DBU per million."""
    rule = "match: {tokens: acme/model}, price: {per_million: {input: '7.143', output: '21.429'}}"
    assert credits_6(priced(made(rule), tokens("acme/model", input=2_000_000, output=500_000))) == "25.000500"


def test_agent_time_in_parts(made):
    """Devin: 67 active minutes in pieces, 40 of waiting: 4.466667 ACU at 15 minutes each."""
    card = made(
        "match: {compute: sandbox, state: active}, price: {per_hour: '4'}",
        "match: {compute: sandbox, state: [waiting, asleep]}, price: {included: true}",
    )
    parts = [compute("sandbox", 60) for _ in range(67)]
    waiting = compute("sandbox", 2400, state="waiting")
    assert credits_6(priced(card, *parts, waiting, memory=Memory())) == "4.466667"
