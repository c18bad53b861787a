"""What a version changes, rate by rate."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pricing
from pricing import DifferenceKind
from tests.cards import card_text

NAMES = st.permutations("abcdefgh").flatmap(
    lambda names: st.integers(0, len(names)).map(lambda count: tuple(names[:count]))
)


def card(text: str) -> pricing.RateCard:
    return pricing.RateCard.from_document(text)


def differences(before: str | None, after: str) -> list[tuple[str, ...]]:
    """As (kind, rule, path, before, after, percent)."""
    found = pricing.differing_cards(card(before) if before else None, card(after))
    return [
        (one.kind, one.rule, ".".join(one.path), one.before, one.after, one.change_percent) for one in found
    ]


def named(names: tuple[str, ...]) -> str:
    rules = "".join(f"  - {{name: {name}, match: {{units: {name}}}, price: {{each: 1}}}}\n" for name in names)
    return f'card: test\ncredit: c\ncredit_price_usd: "1"\nrules:\n{rules}'


TOKENS = "match: {tokens: %s}, price: {per_million: {input: '%s', output: '%s'}}"


def test_each_rate_is_told():
    """Old and new, and by how much of the old one; exact, whatever the rate."""
    before = card_text(TOKENS % ("x", "1.5", "3"), TOKENS % ("y", "0", "7"))
    after = card_text(TOKENS % ("x", "1.50", "4"), TOKENS % ("y", "2", "0"), price="2.50")
    assert differences(before, after) == [
        (DifferenceKind.VALUE, "", "credit_price_usd", "1", "2.50", "+150"),
        (DifferenceKind.VALUE, "r0", "price.per_million.output", "3", "4", "+33.333333"),
        (DifferenceKind.VALUE, "r1", "price.per_million.input", "0", "2", ""),
        (DifferenceKind.VALUE, "r1", "price.per_million.output", "7", "0", "-100"),
    ]


@pytest.mark.parametrize(
    ("before", "after", "percent"),
    [
        ("3", "3.000000001", "+0"),
        ("0.000000003", "0.000000004", "+33.333333"),
        ("999999999999999", "1", "-100"),
        ("1000000", "1000001", "+0.0001"),
        ("8", "7", "-12.5"),
        ("1", "11", "+1000"),
    ],
)
def test_percentages_are_of_the_old_rate(before, after, percent):
    """To six decimals of a per cent."""
    [(*_, reported)] = differences(card_text(TOKENS % ("x", before, 1)), card_text(TOKENS % ("x", after, 1)))
    assert reported == percent


def test_rules_that_come_and_go():
    """A rule that is new says all that it says; so does one that is gone. Order tells which is which."""
    free = "match: {units: hug}, price: {included: true}"
    before, after = named(("a", "b")), named(("b", "c"))
    assert differences(before, after) == [
        ("RULE_REMOVED", "a", "", '{"match": {"units": "a"}, "price": {"each": 1}}', "", ""),
        ("RULE_ADDED", "c", "", "", '{"match": {"units": "c"}, "price": {"each": 1}}', ""),
    ]
    assert [each[:2] for each in differences(None, card_text(free))] == [
        *[("VALUE", "")] * 2,
        ("RULE_ADDED", "r0"),
    ]


def test_values_of_other_kinds():
    """A condition, a title, a list and a part of a sum are reported as text; a revision is no difference."""
    before = card_text("match: {compute: [a, b], state: idle}, price: {plus: [{per_hour: 1}]}")
    after = card_text(
        "title: T, match: {compute: [a, c]}, price: {plus: [{per_hour: 2, minimum: 60s}]}",
        extra="revision: 2\n",
    )
    assert differences(before, after) == [
        ("VALUE", "r0", "match.compute", "a, b", "a, c", ""),
        ("VALUE", "r0", "match.state", "idle", "", ""),
        ("VALUE", "r0", "price.plus.1.per_hour", "1", "2", "+100"),
        ("VALUE", "r0", "title", "", "T", ""),
        ("VALUE", "r0", "price.plus.1.minimum", "", "60s", ""),
    ]


@given(before=NAMES, after=NAMES)
def test_what_is_told_makes_the_new_order(before, after):
    """Take away what is removed or moved, put in what is moved or added: that is the new card."""
    if not before or not after:
        return
    found = pricing.differing_cards(card(named(before)), card(named(after)))
    kinds = {kind: [one for one in found if one.kind is kind] for kind in DifferenceKind}
    gone = {one.rule for one in (*kinds["RULE_REMOVED"], *kinds["RULE_MOVED"])}
    rules = [name for name in before if name not in gone]
    places = {one.rule: int(one.after) - 1 for one in kinds["RULE_MOVED"]}
    places |= {one.rule: after.index(one.rule) for one in kinds["RULE_ADDED"]}
    for name, place in sorted(places.items(), key=lambda item: item[1]):
        rules.insert(place, name)
    assert tuple(rules) == after
    assert all(before[int(one.before) - 1] == one.rule for one in kinds["RULE_MOVED"])
    assert not kinds["VALUE"]


def test_one_rule_that_goes_up_is_one_difference():
    """Those that it passes have not moved."""
    assert differences(named(("a", "b", "c", "d")), named(("d", "a", "b", "c"))) == [
        ("RULE_MOVED", "d", "", "4", "1", "")
    ]


def test_cost_books():
    """What the file states, then the catalog's prices by provider and model."""
    before = pricing.read_costs_text("compute: {h100: {per_hour: 2}}\ntokens: {catalog: genai-prices}")
    document = json.loads(before.document)
    document["costs"] = {"revision": 2, "compute": {"h100": {"per_hour": "2.5"}}, "tokens": {"catalog": None}}
    document["costs"]["tokens"] = {"catalog": "genai-prices"}
    provider = next(each for each in document["catalog"]["providers"] if each["id"] == "anthropic")
    match, prices, _ = provider["models"][0]
    prices[0][1]["input"] = "1000000"
    after = pricing.CostBook.from_document(json.dumps(document))
    reported = pricing.differing_costs(before, after)
    assert [(one.path[:3], one.after) for one in reported] == [
        (("compute", "h100", "per_hour"), "2.5"),
        (("catalog", "anthropic", json.dumps(match)), "1000000"),
    ]
    assert reported[0].change_percent == "+25"
    assert pricing.differing_costs(None, before)
