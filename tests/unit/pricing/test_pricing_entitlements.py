"""Entitlements: what they allow by text tables, what is refused and what is doubted of them."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from pricing_world import NOW, config, refusals

from ledger.books.model.plans import Plan, PlanEntitlements
from ledger.prices.plan_entitlements import denied_items, refuse_denied
from pricing import Compute, Entitlements, Outcome, RateCard, Result, Tokens, Units
from pricing.cards import patterns as selectors
from pricing.cards.entitlements import EntitlementsDoc
from pricing.cards.patterns import compile_pattern, matches, meet
from tests.cards import card_text

TABLE = Path(__file__).with_name("entitlements.txt")
COSTS = """
tokens:
  models:
    acme/large: {per_million: {input: "3", output: "15"}}
    acme/small: {per_million: {input: "1", output: "4"}}
compute:
  sandbox: {per_hour: "0.12"}
"""
RULES = (
    'match: {tokens: "acme/*"}, price: {cost_plus: {markup: 1%}}',
    "match: {compute: sandbox}, price: {cost_plus: {markup: 1%}}",
)


def item_of(text: str):
    """An item of a kind and a name."""
    kind, name = text.split(":", 1)
    match kind:
        case "tokens":
            return Tokens(name, {"input": 1}, served_by="acme/cheapest")
        case "compute":
            return Compute(name, 1, served_by="spot")
        case "units":
            return Units(name, 1)
        case _:
            return Outcome(name, Result.RESOLVED)


def cases():
    """The cases of the table: the lists of each, and what is said of its items."""
    lists, items = {"allow": {}, "deny": {}}, []
    for line in TABLE.read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith(" "):
            items.append(tuple(line.split()))
            continue
        if items:
            yield lists, items
            lists, items = {"allow": {}, "deny": {}}, []
        head, patterns = line.split(": ")
        of_list, kind = head.split()
        lists[of_list][kind] = tuple(patterns.split())
    yield lists, items


@pytest.mark.parametrize(("lists", "items"), list(cases()))
def test_the_table_of_what_is_allowed(lists, items):
    """What is denied never is; of a kind allowed by names nothing else; what served is looked at by none."""
    stated = Entitlements(tuple(lists["allow"].items()), tuple(lists["deny"].items()))
    denied = {each.item: each for each in stated.denied([item_of(text) for text, _ in items])}
    found = [denied[n].of_list if n in denied else "ok" for n in range(len(items))]
    assert found == [said for _, said in items]
    assert all(f"{each.kind}:{each.name}" == items[n][0] for n, each in denied.items())


def card(extra: str = "") -> RateCard:
    """A card of the rules, with more at its head."""
    return RateCard.from_document(card_text(*RULES, extra=extra))


def test_a_plan_restricts_further_what_its_card_allows():
    """What the card denies no plan allows; of an item that both deny the card's list is reported."""
    narrow = card("entitlements: {deny: {tokens: acme/large}}\n")
    plan = Plan("p", None, entitlements=PlanEntitlements((("tokens", ("acme/large", "acme/small")),)))
    items = [item_of(f"tokens:{name}") for name in ("acme/small", "acme/large", "acme/other")]
    lists = {n: refusal.detail["list"] for n, refusal in denied_items(plan, narrow, items).items()}
    assert lists == {1: "rate_card.deny", 2: "plan.allow"}
    refusal = refuse_denied(plan, narrow, items)
    assert refusal.detail == {"item": "1", "kind": "tokens", "name": "acme/large", "list": "rate_card.deny"}
    assert refuse_denied(Plan("p", None), card(), items) is None


def test_entitlements_are_no_part_of_a_card_that_states_none():
    """A card without the section is the version that it always was."""
    assert card().entitlements is None
    assert card().version != card("entitlements: {deny: {compute: sandbox}}\n").version


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ("{}", "4:15: states nothing"),
        ("{allow: {}}", "4:23: names no kind of usage"),
        ("{deny: {models: '*'}}", "4:23: unknown key 'models'"),
        ("{allow: {tokens: []}}", "4:32: cannot be matched"),
        (
            "{allow: {tokens: [acme/a-1, acme/b]}, deny: {tokens: 'acme/a*'}}",
            "4:24: 'acme/a-1' can never be allowed: 'acme/a*' is denied",
        ),
    ],
)
def test_a_section_that_cannot_be_is_refused_in_its_place(tmp_path, section, problem):
    """What states nothing, and what is allowed and denied at once, is a mistake."""
    [made] = refusals(tmp_path, COSTS, card_text(*RULES, extra=f"entitlements: {section}\n"))
    assert f"{made.line}:{made.column}: {made.message}" == problem
    assert made.hint


def test_long_lists_are_compared_by_an_index(monkeypatch):
    """An allowed glob is tried with few of those that are denied: a document holds up whoever reads it."""
    tried = []

    def counting(pattern):
        test = compile_pattern(pattern)
        return lambda name: tried.append(pattern) or test(name)

    monkeypatch.setattr(selectors, "compile_pattern", counting)
    allow, deny = ({"tokens": [f"{of}-{n}-*" for n in range(300)]} for of in ("allowed", "denied"))
    EntitlementsDoc.model_validate({"allow": allow, "deny": deny})
    assert len(tried) <= 300


def test_names_without_effect_are_doubted(tmp_path):
    """A pattern that meets no rule of its kind is most likely misspelt; one that meets a rule is not."""
    section = "{allow: {tokens: [acme/large, '*-small', acm/*], compute: '*'}, deny: {units: web_search}}"
    made = config(tmp_path, COSTS, card_text(*RULES, extra=f"entitlements: {section}\n"))
    assert [str(each).partition(".yaml:")[2] for each in made.doubts(NOW)] == [
        "4:32: the card prices no tokens of 'acm/*' (correct it, or leave it out)",
        "4:93: the card prices no units of 'web_search' (correct it, or leave it out)",
    ]


def test_patterns_meet_where_some_name_is_matched_by_both():
    """As the names show that two letters make, of all short patterns of these and of globs."""
    names = ["".join(letters) for size in range(5) for letters in product("ab", repeat=size)]
    patterns = ["".join(letters) for size in range(1, 4) for letters in product("ab*", repeat=size)]
    for one, other in product(patterns, repeat=2):
        assert meet(one, other) == any(matches([one], name) and matches([other], name) for name in names)
