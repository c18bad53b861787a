"""A customer's own fields of its plan: written as the plan writes them, checked alone and with the rest."""

import json
from datetime import timedelta

import pytest

from ledger.books.model.plans import OverCapture, Plan, Unpriced
from ledger.books.top_up_rules import TopUpRules
from ledger.prices.plan_overrides import (
    doubts_of_overrides,
    overridden,
    read_overrides,
    refuse_overrides,
    unreadable_fields,
)
from ledger.prices.plans import PlanBook, PlanPolicies
from pricing.cards.rate_card import RateCard
from pricing.documents.validate import ConfigError

BOOK = PlanBook.from_document(
    "plans:\n"
    "  plain: {card: basic, max_ttl: 1h, low_balance: '7'}\n"
    "  owing: {over_capture: ALLOW_WITH_OVERDRAFT, overdraft_limit: '5'}\n"
)
RULES = TopUpRules(1, 1, None, 10_000_000, 1)
AMOUNT_HINT = 'write a quoted decimal with at most 6 places, e.g. "100"'


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("", ""),
        ("  \n", ""),
        ("{}", ""),
        ('overdraft_limit: "50"', '{"overdraft_limit": "50"}'),
        ("max_ttl: 2h\nlow_balance: '0.5' # half", '{"low_balance": "0.5", "max_ttl": "2h"}'),
        ("entitlements: {deny: {compute: ü}}", '{"entitlements": {"deny": {"compute": "ü"}}}'),
    ],
)
def test_what_is_stated_is_stored_as_json(text: str, stated: str) -> None:
    """In one order, without comments, and once read the same when it is read again."""
    assert read_overrides(text) == stated
    assert read_overrides(stated) == stated


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("overdraft_limit: 50", f"1:18: is no amount of credits ({AMOUNT_HINT})"),
        ("max_ttl: 25h", "1:10: is too short or too long (write 1s to 24h)"),
        ("unpriced: FREE", "1:11: is no way to charge what has no price (write BOOK, CHARGE_HOLD, FALLBACK)"),
        ("card: agents", f"1:1: unknown key 'card' (allowed here: {', '.join(PlanPolicies.model_fields)})"),
        ("- 50", "1:1: the document: must be a mapping (write over_capture: ..., each in a line of its own)"),
    ],
)
def test_a_field_that_cannot_be_is_refused_in_its_place(text: str, problem: str) -> None:
    """As in a plan: line, column, and what to write instead. Its card a customer has by another field."""
    with pytest.raises(ConfigError) as caught:
        read_overrides(text)
    assert [str(each) for each in caught.value.problems] == [f"<overrides>:{problem}"]


@pytest.mark.parametrize(
    ("plan", "text", "message"),
    [
        ("plain", '{"overdraft_limit": "50"}', "an overdraft_limit that over_capture does not use"),
        ("owing", '{"over_capture": "CAP"}', "an overdraft_limit that over_capture does not use"),
        ("owing", '{"overdraft_limit": "50"}', ""),
        ("plain", '{"default_ttl": "2h"}', "default_ttl is longer than max_ttl"),
        ("owing", '{"default_ttl": "2h"}', ""),
    ],
)
def test_own_fields_go_with_the_rest_of_the_plan(plan: str, text: str, message: str) -> None:
    """What contradicts under one plan may be right under another."""
    if not message:
        refuse_overrides(BOOK, plan, text)
        return
    with pytest.raises(ConfigError, match=message):
        refuse_overrides(BOOK, plan, text)


CARD = RateCard.from_document(
    """
card: basic
credit: credit
credit_price_usd: "0.01"
rules:
  - {name: dearest, match: {tokens: "*"}, price: {per_million: {input: "20", output: "100"}}}
"""
)


@pytest.mark.parametrize(
    ("text", "doubts"),
    [
        ("{max_ttl: 2h}", []),
        (
            "topup: {below: '20', add: '10', credit_price_usd: '0.5', monthly_cap: '100'}",
            [
                "topup.add: is less than below: one top-up may leave need of the next one, a cool_down later",
                "topup.credit_price_usd: a credit would be paid 0.5 USD for, and is 0.01 on the card 'basic'",
            ],
        ),
        (
            "grants: {gift: {amount: '5', paid_usd: '50', every: day}}",
            ["grants.gift.paid_usd: a credit would be paid 10 USD for, and is 0.01 on the card 'basic'"],
        ),
        (
            "expiring_notice: 25h",
            ["grants.daily: its credits are reported to expire as soon as they are granted"],
        ),
        (
            "budgets: {a: {limit: '5', window: DAY}, b: {limit: '5', window: DAY, by: [agent]}}",
            ["budgets.b.limit: is never reached: 'a' counts all that it counts, and has no more"],
        ),
        (
            "entitlements: {allow: {compute: gpu}}",
            ["entitlements.allow.compute: the card prices no compute of 'gpu'"],
        ),
    ],
)
def test_own_fields_are_doubted_as_the_plans_are(text: str, doubts: list[str]) -> None:
    """What is likely a mistake in them, beside the rest of the plan; not what the plan has by itself."""
    book = PlanBook.from_document(
        "plans:\n  doubted:\n    card: basic\n"
        "    grants: {daily: {amount: '5', every: day}, dear: {amount: '1', paid_usd: '1', every: month}}\n"
    )
    assert len(book.doubts({"basic": CARD})) == 1
    found = doubts_of_overrides(book, "doubted", read_overrides(text), CARD)
    assert [each.message for each in found] == doubts


def test_own_fields_replace_the_plans_and_the_rest_stays() -> None:
    """Each whole, in micro-credits and durations as the books have them."""
    text = read_overrides(
        "{over_capture: ALLOW_WITH_OVERDRAFT, overdraft_limit: '50', default_ttl: 1m, unpriced: CHARGE_HOLD}"
    )
    assert overridden(BOOK.plans["plain"], text) == Plan(
        "plain",
        "basic",
        OverCapture.ALLOW_WITH_OVERDRAFT,
        50_000_000,
        timedelta(minutes=1),
        timedelta(hours=1),
        Unpriced.CHARGE_HOLD,
        7_000_000,
    )


@pytest.mark.parametrize("field", ["topup", "expiring_notice", "entitlements"])
def test_a_customer_may_have_none_of_what_its_plan_has(field: str) -> None:
    """Null in place of the plan's: no top-ups, no notices, whatever the card allows."""
    text = read_overrides(f"{field}: null")
    plan = overridden(Plan("plain", "basic", top_up=RULES, expiring_notice=timedelta(days=1)), text)
    assert getattr(plan, "top_up" if field == "topup" else field) is None


@pytest.mark.parametrize(
    ("stored", "unreadable"),
    [
        ({"spend_limit": "5"}, ("spend_limit",)),
        ({"over_capture": "ASK", "max_ttl": "1w"}, ("max_ttl", "over_capture")),
        ({"budgets": {"daily": {"limit": "5", "window": "QUARTER"}}}, ("budgets",)),
        ({"grants": {"new": {"amount": "5", "every": "fortnight", "tax": "7"}}}, ("grants",)),
    ],
)
def test_what_a_newer_version_wrote_is_named(stored: dict[str, object], unreadable: tuple[str, ...]) -> None:
    """The fields that can be read hold; for the rest what has begun is charged no more than its hold."""
    text = json.dumps({"low_balance": "3", **stored})
    owing = Plan("owing", None, OverCapture.ALLOW_WITH_OVERDRAFT, 5_000_000, unpriced=Unpriced.CHARGE_HOLD)
    assert unreadable_fields(text) == unreadable
    assert overridden(owing, text) == Plan(
        "owing",
        None,
        OverCapture.CAP,
        0,
        unpriced=Unpriced.BOOK,
        low_balance_micros=3_000_000,
        unreadable=unreadable,
    )
    assert not unreadable_fields('{"low_balance": "3"}')


def test_every_field_can_be_a_customers_own() -> None:
    """Whatever is added to what plans state, beside the card, is read by its name."""
    values = {
        "over_capture": "REJECT",
        "overdraft_limit": "1",
        "default_ttl": "1s",
        "max_ttl": "2s",
        "unpriced": "FALLBACK",
        "low_balance": "3",
        "entitlements": {"allow": {"tokens": "*"}},
        "budgets": {"daily": {"limit": "5", "window": "DAY"}},
        "topup": {"below": "20", "add": "100", "credit_price_usd": "0.01", "monthly_cap": "1000"},
        "expiring_notice": "7d",
        "used_when_voided": "BECOME_DEBT",
        "grants": {"monthly": {"amount": "5", "every": "month"}},
    }
    assert values.keys() == PlanPolicies.model_fields.keys()
    text = read_overrides(str(values))
    before, after = BOOK.plans["plain"], overridden(BOOK.plans["plain"], text)
    changed = [each for each in Plan._fields if getattr(before, each) != getattr(after, each)]
    assert len(changed) == len(values)
