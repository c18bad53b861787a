"""`plans.yaml`: what it says of work without a price, and what is refused of that."""

from pathlib import Path

import pytest

import ledger
import pricing
from ledger.books.model.plans import OverCapture, Unpriced, UsedCredits
from ledger.prices.plans import BUILT_IN, PlanBook, read_files, read_plans_text

SAMPLE = Path(ledger.__file__).parent / "sample" / "config"
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


def test_a_plan_says_what_work_without_a_price_is_charged() -> None:
    """Nothing, unless it says otherwise; on its card's fallback where that names one."""
    text = (
        "plans:\n  a: {card: basic}\n  b: {card: basic, unpriced: CHARGE_HOLD}\n"
        "  c: {card: basic, unpriced: FALLBACK}\n  d: {unpriced: FALLBACK}\n"
    )
    book = read_plans_text(text, _cards("fallback: {tokens: dearest}\n"))
    assert [plan.unpriced for plan in book.plans.values()] == [
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
def test_a_policy_that_cannot_be_is_refused_in_its_place(plan: str, problem: str) -> None:
    """File, line and column, and what to write instead."""
    with pytest.raises(pricing.ConfigError) as caught:
        read_plans_text(f"plans:\n  a: {plan}\n", _cards(), "plans.yaml")
    assert [str(each) for each in caught.value.problems] == [f"plans.yaml:{problem}"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("revision: 0\nplans: {a: {}}", "1:11: 'revision': should be greater than or equal to 1"),
        (f"plans: {{{'a' * 129}: {{}}}}", "1:9: is no name of a plan (write 1 to 128 printable characters)"),
        ('plans: {"a\\tb": {}}', "1:9: is no name of a plan (write 1 to 128 printable characters)"),
        ("revision: 2", "1:1: the key 'plans' is missing"),
    ],
)
def test_plans_that_cannot_be_are_refused_in_their_place(text: str, problem: str) -> None:
    """A name that no customer can state is none; a version has a revision, and plans."""
    with pytest.raises(pricing.ConfigError) as caught:
        PlanBook.from_document(text)
    assert [str(each) for each in caught.value.problems] == [f"<plans>:{problem}"]


def test_plans_are_a_version_by_what_they_say() -> None:
    """A comment makes no other one, a revision does; without a revision it is the first."""
    book, commented, next_one = (
        PlanBook.from_document(text)
        for text in ("plans: {a: {}}", "# same\nplans: {a: {}}", "revision: 2\nplans: {a: {}}")
    )
    assert (book.revision, next_one.revision) == (1, 2)
    assert book.version == commented.version != next_one.version
    assert book.effective_from.year == 1970


def test_the_plans_that_are_built_in_name_no_card() -> None:
    """Where nothing is published each customer names its own."""
    assert {name: plan.over_capture for name, plan in BUILT_IN.plans.items()} == {
        "standard": OverCapture.ALLOW_IF_AVAILABLE,
        "capped": OverCapture.CAP,
        "overdraft": OverCapture.ALLOW_WITH_OVERDRAFT,
    }
    assert BUILT_IN.plans["overdraft"].overdraft_limit_micros == 100_000_000
    assert {plan.card for plan in BUILT_IN.plans.values()} == {None}


def test_entitlements_of_which_the_card_prices_nothing_are_doubted() -> None:
    """Of the plan's own card; each at its place. A plan without one is not judged."""
    text = (
        "plans:\n  a: {card: basic, entitlements: {allow: {tokens: acme/*}, deny: {compute: 'gpu-*'}}}\n"
        "  b: {entitlements: {deny: {units: nothing}}}\n"
    )
    doubts = read_plans_text(text, _cards(), "plans.yaml").doubts(_cards())
    assert [str(each) for each in doubts] == [
        "plans.yaml:2:76: the card prices no compute of 'gpu-*' (correct it, or leave it out)"
    ]


BUDGETS = (
    "budgets: {a: {where: {team: x}, limit: '5', window: TOTAL}, b: {by: [team], limit: '4', window: DAY},"
    " c: {where: {team: x, user: y}, limit: '7', window: MONTH}}"
)


@pytest.mark.parametrize(
    ("plan", "at", "doubt"),
    [
        (
            "budgets: {day: {limit: '5', window: DAY}, agent: {by: [agent], limit: '5.0', window: HOUR}}",
            "'5.0'",
            "is never reached: 'day' counts all that it counts, and has no more",
        ),
        (BUDGETS, "'7'", "is never reached: 'a' counts all that it counts, and has no more"),
        (
            "topup: {below: '50', add: '20', credit_price_usd: '1', monthly_cap: '100'}",
            "'20'",
            "is less than below: one top-up may leave need of the next one, a cool_down later",
        ),
        (
            "topup: {below: '5', up_to: '20', credit_price_usd: '10.1', monthly_cap: '100'}",
            "'10.1'",
            "a credit would be paid 10.1 USD for, and is 1 on the card 'basic'",
        ),
        (
            "grants: {month: {amount: '1000', paid_usd: '1', every: month}}",
            "'1'",
            "a credit would be paid 0.001 USD for, and is 1 on the card 'basic'",
        ),
        (
            "grants: {gift: {amount: '1', kind: PROMO, every: day}}, expiring_notice: 24h",
            "{amount",
            "its credits are reported to expire as soon as they are granted",
        ),
    ],
)
def test_what_is_likely_a_mistake_is_doubted(plan: str, at: str, doubt: str) -> None:
    """Each at its place, under the plan's card, with what to write instead."""
    text = f"plans:\n  a: {{card: basic, {plan}}}\n"
    [found] = read_plans_text(text, _cards(), "plans.yaml").doubts(_cards())
    assert text.splitlines()[found.line - 1][found.column - 1 :].startswith(at)
    assert found.message == doubt
    assert found.hint


@pytest.mark.parametrize(
    "plan",
    [
        "budgets: {a: {limit: '5', window: MONTH}, b: {limit: '5', window: WEEK}}",
        "budgets: {a: {limit: '5', window: DAY}, b: {limit: '6', window: DAY, notify: [50]}}",
        "budgets: {a: {by: [user], limit: '5', window: DAY}, b: {by: [agent], limit: '6', window: DAY}}",
        "grants: {month: {amount: '1000', paid_usd: '100', every: month}}",
        "grants: {month: {amount: '1000', kind: PROMO, every: month}}, expiring_notice: 27d",
    ],
)
def test_what_is_only_unusual_is_not_doubted(plan: str) -> None:
    """A week may lie in two months, thresholds notify though no limit is met, and many give discounts."""
    text = f"plans:\n  a: {{card: basic, {plan}}}\n"
    assert read_plans_text(text, _cards(), "plans.yaml").doubts(_cards()) == []


def test_the_shipped_plans_are_not_doubted() -> None:
    """What ops begin with is no example of what they are warned of."""
    files = read_files(SAMPLE)
    assert files.plans is not None
    assert files.plans.doubts(files.config.cards) == []


def test_a_plan_says_what_becomes_of_used_credits_of_a_voided_grant() -> None:
    """They stay paid, unless it says otherwise; anything else is refused in its place."""
    text = "plans: {a: {used_when_voided: BECOME_DEBT}, b: {}}"
    used = {name: plan.used_when_voided for name, plan in read_plans_text(text, {}).plans.items()}
    assert used == {"a": UsedCredits.BECOME_DEBT, "b": UsedCredits.STAY_PAID}
    with pytest.raises(
        pricing.ConfigError, match="1:31: is nothing that used credits of a voided grant become"
    ):
        read_plans_text("plans: {a: {used_when_voided: CONSUMED}}", {})
