"""Which rule prices an item, and what a card tells of its rules."""

import hashlib
import json

import pytest
from pricing_world import COSTS, compute, config, outcome, priced, terms, tokens, units

from pricing import KeyOwner, PriceListItem, Rate, RateCard, Result
from pricing.cards.patterns import covers
from tests.cards import card_text

PER = "price: {per_million: {input: '1', output: '1'}}"
HOUR = "price: {per_hour: '1'}"


def _rules(made, *items, labels=None):
    return [line.internal["rule"] for line in priced(made, *items, labels=labels).lines]


@pytest.mark.parametrize(
    ("wide", "narrow", "expected"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("*", "", True),
        ("*", "a/b", True),
        ("a*", "a", True),
        ("a*c", "abbbc", True),
        ("a*c", "abbb", False),
        ("a.c", "abc", False),
        ("a*", "ab*", True),
        ("ab*", "a*", False),
        ("*a*", "*ba*", True),
        ("a*b*", "a*b", True),
        ("a*b", "a*b*", False),
        ("**", "*", True),
    ],
)
def test_a_star_stands_for_any_text(wide, narrow, expected):
    """`*` stands for any text; nothing else is special; a pattern covers another if it matches all of it."""
    assert covers(wide, narrow) is expected


def test_the_first_rule_that_matches_prices(tmp_path):
    """Order decides; names are exact, globs, or lists of them."""
    made = terms(
        tmp_path,
        f"match: {{tokens: acme/large}}, {PER}",
        f"match: {{tokens: [acme/small, 'x/*-mini']}}, {PER}",
        f"match: {{tokens: 'acme/*'}}, {PER}",
    )
    items = [
        tokens(name) for name in ("acme/large", "acme/small", "x/y-mini", "acme/other", "Acme/large", "z/z")
    ]
    assert _rules(made, *items) == ["r0", "r1", "r1", "r2", "", ""]


def test_conditions_have_all_to_hold(tmp_path):
    """key_owner, service_tier, state, result and labels."""
    made = terms(
        tmp_path,
        f"match: {{tokens: '*', key_owner: CUSTOMER, service_tier: batch}}, {PER}",
        f"match: {{tokens: '*', key_owner: CUSTOMER}}, {PER}",
        f"match: {{tokens: '*', service_tier: [batch, 'flex*']}}, {PER}",
        f"match: {{compute: h100, state: [idle, asleep]}}, {HOUR}",
        f"match: {{compute: '*', labels: {{workload: 'job*', team: '*'}}}}, {HOUR}",
        f"match: {{compute: '*', labels: {{workload: [a, b]}}}}, {HOUR}",
        "match: {outcome: '*', result: [resolved, ESCALATED]}, price: {outcome: {resolved: '1'}}",
    )
    assert _rules(
        made,
        tokens("m/m", key_owner=KeyOwner.CUSTOMER, service_tier="batch"),
        tokens("m/m", key_owner=KeyOwner.CUSTOMER),
        tokens("m/m", service_tier="flexible"),
        tokens("m/m"),
        compute("h100", 1, state="idle"),
        compute("h100", 1),
        outcome("x"),
        outcome("x", Result.ESCALATED),
        outcome("x", Result.FAILED),
    ) == ["r0", "r1", "r2", "", "r3", "", "r6", "r6", ""]
    labels = [{}, {"workload": "jobs"}, {"workload": "jobs", "team": ""}, {"workload": "b", "other": "x"}]
    assert [_rules(made, compute("spot", 1), labels=each) for each in labels] == [[""], [""], ["r4"], ["r5"]]


def test_order_decides_among_hundreds_of_rules(tmp_path):
    """Exact names, lists and globs are found in different ways, but the first in the card's order prices."""
    exact = [f"match: {{tokens: a/{number}}}, {PER}" for number in range(100)]
    listed = [f"match: {{tokens: [b/{number}, '*/last-{number}']}}, {PER}" for number in range(100)]
    made = terms(
        tmp_path,
        f"match: {{tokens: 'a/7*', service_tier: batch}}, {PER}",
        *exact,
        f"match: {{tokens: 'a/*'}}, {PER}",
        *listed,
    )
    names = ("a/0", "a/70", "a/99", "a/100", "a/last-3", "b/5", "c/last-5", "b/100")
    for _ in range(2):  # found, and remembered
        assert _rules(made, *map(tokens, names)) == ["r1", "r71", "r100", "r101", "r101", "r107", "r107", ""]
        assert _rules(made, tokens("a/70", service_tier="batch")) == ["r0"]


def test_matches_are_remembered_by_the_labels_that_rules_look_at(tmp_path):
    """Labels come from callers: what is stored of them is bounded, nothing where no rule asks for them."""
    made = terms(
        tmp_path,
        f"match: {{compute: spot, labels: {{session: 's*'}}}}, {HOUR}",
        f"match: {{tokens: '*'}}, {PER}",
    )
    for number in range(10_000):
        labels = made.labels({"session": f"s{number}", "agent": "a"})
        assert made.rules["compute"].first(compute("spot", 1), labels).name == "r0"
        assert made.rules["tokens"].first(tokens(), labels).name == "r1"
    assert len(made.rules["compute"]._known) <= 8192
    assert len(made.rules["tokens"]._known) == 1


def test_kinds_do_not_mix(tmp_path):
    """A rule for one kind matches no other, whatever the name."""
    made = terms(tmp_path, f"match: {{compute: '*'}}, {HOUR}")
    assert _rules(made, tokens("h100"), units("h100", "1"), outcome("h100"), compute("h100", 1)) == [
        *[""] * 3,
        "r0",
    ]


def test_a_price_list_tells_prices_and_nothing_else(tmp_path):
    """Titles, names, conditions and rates; no rule name, margin, lever nor internal label."""
    card = config(
        tmp_path,
        COSTS,
        card_text(
            "title: Large, match: {tokens: acme/large, key_owner: OURS}, "
            "price: {per_million: {input: '1.50', cache_read: '0.1'}}",
            "match: {tokens: 'acme/*'}, price: {cost_plus: {margin: 42%}}",
            "match: {tokens: 'b/*', service_tier: batch}, price: {plus: "
            "[{per_million: {requests: '3', cache_write_1h: '1'}}, "
            "{each: {cache_read: '2', input_audio: '5'}}]}",
            "match: {tokens: '*'}, price: {plus: [{cost_plus: {markup: 7%}}, {each: {requests: 2}}]}",
            "match: {compute: h100, state: [idle, x], labels: {team: [a, 'b*'], internal.cohort: b}}, "
            "price: {per_hour: '4', minimum: 1m, increment: 500ms}",
            "match: {compute: [spot, sandbox]}, price: {included: true}",
            "match: {units: mail}, price: {per_million: '9'}",
            "match: {units: web_search}, price: {each: '0.5'}",
            "match: {outcome: done}, price: {outcome: {resolved: '1', failed: '0'}}",
        ),
    ).cards["test"]

    def item(title, kind, names, rates=(), conditions=None, varies=False, included=False):
        return PriceListItem(
            title, kind, names, conditions or {}, tuple(Rate(*r) for r in rates), varies, included
        )

    assert card.price_list() == (
        item(
            "Large",
            "tokens",
            ("acme/large",),
            [("1M input tokens", "1.5", ""), ("1M cache read tokens", "0.1", "")],
            {"key_owner": "OURS"},
        ),
        item("tokens: acme/*", "tokens", ("acme/*",), varies=True),
        item(
            "tokens: b/*",
            "tokens",
            ("b/*",),
            [
                ("1M requests", "3", ""),
                ("1M cache write 1h tokens", "1", ""),
                ("cache read token", "2", ""),
                ("input audio token", "5", ""),
            ],
            {"service_tier": "batch"},
        ),
        item("tokens: *", "tokens", ("*",), [("request", "2", "")], varies=True),
        item(
            "compute: h100",
            "compute",
            ("h100",),
            [("hour", "4", "minimum 60 s, increment 0.5 s")],
            {"state": "idle, x", "label team": "a, b*"},
        ),
        item("compute: spot, sandbox", "compute", ("spot", "sandbox"), included=True),
        item("units: mail", "units", ("mail",), [("1M", "9", "")]),
        item("units: web_search", "units", ("web_search",), [("each", "0.5", "")]),
        item("outcome: done", "outcome", ("done",), [("resolved", "1", ""), ("failed", "0", "")]),
    )


def test_a_card_is_restored_from_its_document(tmp_path):
    """The version is a hash of what the text says: comments make no new one, a rate does."""
    text = card_text(f"match: {{tokens: '*'}}, {PER}", extra="round: {to: '0.01', mode: up}\nrevision: 4\n")
    card = config(tmp_path, COSTS, text).cards["test"]
    assert RateCard.from_document(card.document).version == card.version
    assert RateCard.from_document("# a comment\n" + text).version == card.version
    assert RateCard.from_document(text.replace("input: '1'", "input: '2'")).version != card.version
    assert (card.revision, card.rounding, card.credit_price_nanousd) == (4, (10_000, "up"), 10**9)
    assert card.rules[0].name == "r0"


def test_a_version_is_the_hash_of_what_the_text_says_as_canonical_json(tmp_path):
    """Keys in order, no blanks, UTF-8: whoever has the document can check it, in any release."""
    rule = "title: Größe, match: {units: mail}, price: {each: '1'}"
    made = config(tmp_path, COSTS + "unknown_cost: {each: {input: '1'}}\n", card_text(rule))
    stated = {
        "card": "test",
        "credit": "credit",
        "credit_price_usd": "1",
        "rules": [
            {"name": "r0", "title": "Größe", "match": {"units": "mail"}, "price": {"each": "1"}},
        ],
    }
    canonical = json.dumps(stated, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    card = made.cards["test"]
    assert card.version == hashlib.sha256(canonical.encode()).hexdigest()
    assert card.price_texts == ('{"each": "1"}',)
    assert made.costs.version == hashlib.sha256(made.costs.document.encode()).hexdigest()
    assert made.costs.document.startswith('{"catalog":null,"costs":{"compute":{"h100":{"per_hour":"2.49"}')
