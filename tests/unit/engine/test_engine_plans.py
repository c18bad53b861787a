"""`plans.yaml`: what it says of work without a price, and what is refused of that."""

from pathlib import Path

import pytest

import pricing
from ledger.books.model import Unpriced
from ledger.prices.plans import load_plans

CARD = """\
card: basic
credit: credit
credit_price_usd: "1"
{extra}rules:
  - {{name: dearest, match: {{tokens: "*"}}, price: {{per_million: {{input: "20", output: "100"}}}}}}
"""
FALLBACK_HINT = "write fallback: {tokens: <name of a rule>} in the card, or unpriced: CHARGE_HOLD"


def _cards(extra: str = "") -> dict[str, pricing.RateCard]:
    return {"basic": pricing.RateCard.from_document(CARD.format(extra=extra))}


def test_a_plan_says_what_work_without_a_price_is_charged(tmp_path: Path) -> None:
    """Nothing, unless it says otherwise; on its card's fallback where that names one."""
    (tmp_path / "plans.yaml").write_text(
        "plans:\n  a: {card: basic}\n  b: {card: basic, unpriced: CHARGE_HOLD}\n"
        "  c: {card: basic, unpriced: FALLBACK}\n  d: {unpriced: FALLBACK}\n"
    )
    plans = load_plans(tmp_path, _cards("fallback: {tokens: dearest}\n"))
    assert [plan.unpriced for plan in plans.values()] == [
        *(Unpriced.BOOK, Unpriced.CHARGE_HOLD, Unpriced.FALLBACK, Unpriced.FALLBACK)
    ]


@pytest.mark.parametrize(
    ("plan", "problem"),
    [
        (
            "{card: basic, unpriced: FALLBACK}",
            f"2:30: the card 'basic' names no rule to fall back on ({FALLBACK_HINT})",
        ),
        (
            "{card: basic, unpriced: HOLD}",
            "2:30: is no way to charge what has no price (write BOOK, CHARGE_HOLD, FALLBACK)",
        ),
        (
            "{card: basic, unpriced: {fallback: dearest}}",
            "2:30: is no way to charge what has no price (write BOOK, CHARGE_HOLD, FALLBACK)",
        ),
    ],
)
def test_a_policy_that_cannot_be_is_refused_in_its_place(tmp_path: Path, plan: str, problem: str) -> None:
    """File, line and column, and what to write instead."""
    (tmp_path / "plans.yaml").write_text(f"plans:\n  a: {plan}\n")
    with pytest.raises(pricing.ConfigError) as caught:
        load_plans(tmp_path, _cards())
    assert [str(each) for each in caught.value.problems] == [f"{tmp_path / 'plans.yaml'}:{problem}"]
