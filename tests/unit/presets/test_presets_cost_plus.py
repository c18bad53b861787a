"""Markup and margin, discount and markup: what is added to a cost, and in which order."""

from __future__ import annotations

import pytest
from presets_world import priced

from pricing import RateCard, compile_terms, load

SEVEN_DOLLARS = "acme/code-13b output=17500000"
DISCOUNTED = """
tokens: {catalog: genai-prices, discounts: {openai: "5%"}}
"""
MARKED_UP = """
card: marked-up
credit: dollar
credit_price_usd: "1.00"
rules:
  - {name: models, match: {tokens: "*"}, price: {cost_plus: {markup: "10%"}}}
"""


@pytest.mark.parametrize(
    ("means", "in_credits", "price"), [("margin", "1000.000000", "$10.00"), ("markup", "910.000000", "$9.10")]
)
def test_a_markup_is_no_margin(presets, means, in_credits, price):
    """$7 at 30 % is $10.00 as a margin, $9.10 as a markup."""
    document = presets.cards["cost-plus"].document
    card = RateCard.from_document(document.replace("{margin:", f"{{{means}:"))
    found = priced(compile_terms(card, presets.costs), SEVEN_DOLLARS)
    assert (found.credits, found.price("$0.01")) == (in_credits, price)


def test_a_discount_comes_before_the_markup(tmp_path):
    """$1.00 less 5 %, and 10 % on that, is $1.045."""
    (tmp_path / "cards").mkdir()
    (tmp_path / "costs.yaml").write_text(DISCOUNTED, encoding="utf-8")
    (tmp_path / "cards" / "marked-up.yaml").write_text(MARKED_UP, encoding="utf-8")
    config = load(tmp_path)
    terms = compile_terms(config.cards["marked-up"], config.costs)
    assert priced(terms, "openai/gpt-5 input=800000").credits == "1.045000"
