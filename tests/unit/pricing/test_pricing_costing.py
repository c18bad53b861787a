"""What finance sees of a line: every cost by name, its source, and what saved the difference."""

from fractions import Fraction

import pytest
from pricing_world import COSTS, compute, config, dollars, outcome, priced, terms, tokens, units

from pricing import KeyOwner
from pricing.exact import NOTHING, add, times
from tests.cards import card_text

MILLION = 1_000_000
CARD = (
    "match: {tokens: '*'}, price: {per_million: {input: '1'}}",
    "match: {compute: '*'}, price: {per_hour: '1'}",
    "match: {units: '*'}, price: {each: '1'}",
    "match: {outcome: '*'}, price: {each: '1'}",
)
UNKNOWN = COSTS + 'unknown_cost: {per_million: {input: "5"}}\n'
MARKUP = COSTS.replace("laptop: {cost: none}", "laptop: {cost: none, lever: idle}")


def _theirs(**more):
    return tokens(key_owner=KeyOwner.CUSTOMER, input=MILLION, **more)


@pytest.mark.parametrize(
    ("item", "costs", "reported"),
    [
        # list, asked, served, posted in dollars; source; lever
        (tokens(input=MILLION), COSTS, ("3", "3", "3", "3", "models", "")),
        (tokens(input=MILLION, served_by="cache"), COSTS, ("3", "3", "0", "0", "cache", "caching")),
        (tokens(input=MILLION, served_by="acme/other"), COSTS, ("3", "3", "1", "1", "models", "routing")),
        (tokens(input=MILLION, served_by="a/b"), COSTS, ("3", "3", None, "3", "asked", "routing")),
        (tokens(input=MILLION, served_by="a/b"), UNKNOWN, ("3", "3", None, "5", "unknown_cost", "routing")),
        (tokens("a/b", input=MILLION), COSTS, (None, None, None, "0", "none", "")),
        (tokens("a/b", input=MILLION), UNKNOWN, (None, None, None, "5", "unknown_cost", "")),
        (_theirs(), COSTS, ("3", "3", "3", "0", "customer_key", "")),
        (_theirs(served_by="cache"), COSTS, ("3", "3", "0", "0", "customer_key", "caching")),
        (_theirs(served_by="acme/small"), COSTS, ("3", "3", "0.05", "0", "customer_key", "distillation")),
        (_theirs(served_by="a/b"), COSTS, ("3", "3", None, "0", "customer_key", "routing")),
        (compute("spot", 3600), COSTS, ("0.8", "0.8", "0.8", "0.8", "compute", "")),
        (compute("spot", 3600, served_by="spot"), COSTS, ("0.8", "0.8", "0.8", "0.8", "compute", "")),
        (compute("spot", 3600, served_by="cache"), COSTS, ("0.8", "0.8", "0", "0", "cache", "caching")),
        (
            compute("h100", 3600, served_by="spot"),
            COSTS,
            ("2.49", "2.49", "0.8", "0.8", "compute", "spot"),
        ),
        (compute("h100", 3600, served_by="laptop"), MARKUP, ("2.49", "2.49", "0", "0", "free", "idle")),
        (compute("h100", 3600, served_by="moon"), COSTS, ("2.49", "2.49", None, "2.49", "asked", "routing")),
        (compute("moon", 3600, served_by="spot"), COSTS, (None, None, "0.8", "0.8", "compute", "spot")),
        (compute("moon", 3600, served_by="cache"), COSTS, (None, None, "0", "0", "cache", "caching")),
        (compute("moon", 3600, served_by="mars"), COSTS, (None, None, None, "0", "none", "routing")),
        (compute("moon", 3600), COSTS, (None, None, None, "0", "none", "")),
        (compute("laptop", 3600), COSTS, ("0", "0", "0", "0", "free", "")),
        (units("web_search", "2"), COSTS, ("0.02", "0.02", "0.02", "0.02", "units", "")),
        (units("mail", "5000"), COSTS, ("2", "2", "2", "2", "units", "")),
        (units("hug", "2"), COSTS, ("0", "0", "0", "0", "free", "")),
        (units("fax", "2"), COSTS, (None, None, None, "0", "none", "")),
        (outcome("done"), COSTS, ("0", "0", "0", "0", "free", "")),
    ],
)
def test_finance_sees_what_was_listed_asked_served_and_posted(tmp_path, item, costs, reported):
    """Unknown amounts are None and never 0; what is posted then, and why, is said by its source."""
    quote = priced(terms(tmp_path, *CARD, costs=costs), item)
    (line,) = quote.lines
    internal = line.internal
    exact = [
        None if internal[name] is None else Fraction(internal[name]) / 10**9
        for name in ("list_nanousd", "asked_nanousd", "served_nanousd")
    ]
    listed, asked, served, posted, source, lever = reported
    assert exact == [None if amount is None else Fraction(amount) for amount in (listed, asked, served)]
    assert dollars(quote) == Fraction(posted)
    assert (internal["cost_source"], internal["lever"]) == (source, lever)
    on_own_key = source == "customer_key"
    is_known = bool(lever) and asked is not None and served is not None
    saved = Fraction(asked) - Fraction(served) if is_known else 0
    assert Fraction(*line.saved_nanousd) == saved * 10**9
    assert Fraction(*line.own_key_nanousd) == (Fraction(served or 0) * 10**9 if on_own_key else 0)


def test_internal_lines_tell_what_served_by_which_rule(tmp_path):
    """The rule, its price as the card states it, the server and the key; empty where there is none."""
    made = terms(tmp_path, *CARD[:2])
    lines = [
        line.internal
        for line in priced(
            made, _theirs(served_by="cache"), compute("spot", 1, served_by="h100"), units("fax", "1")
        ).lines
    ]
    names = ("rule", "price", "name", "served_by", "key_owner", "unpriced_reason")
    assert [tuple(line[name] for name in names) for line in lines] == [
        ("r0", '{"per_million": {"input": "1"}}', "acme/large", "cache", "CUSTOMER", ""),
        ("r1", '{"per_hour": "1"}', "spot", "h100", "", ""),
        ("", "", "fax", "", "", "no_rule"),
    ]


def test_public_lines_tell_names_and_quantities_of_every_kind(tmp_path):
    """Quantities as they were reported, under the names of their kind; durations in seconds."""
    made = terms(tmp_path, *CARD)
    lines = priced(
        made,
        tokens(input=1000, output=0, requests=2),
        compute("spot", 1.5, "0.5"),
        units("mail", "2.25"),
        outcome("done", count=3),
    ).lines
    reported = [line.public for line in lines]
    assert [(line["kind"], line["name"], line["title"], line["quantities"]) for line in reported] == [
        (
            "tokens",
            "acme/large",
            "tokens: *",
            {"input": "1000", "output": "0", "requests": "2"},
        ),
        ("compute", "spot", "compute: *", {"duration_seconds": "1.5", "count": "0.5"}),
        ("units", "mail", "units: *", {"quantity": "2.25"}),
        ("outcome", "done", "outcome: *", {"count": "3"}),
    ]


@pytest.mark.parametrize(
    ("rule", "item", "reason", "credits_charged"),
    [
        ("match: {compute: '*'}, price: {per_hour: '1'}", compute("fpga", 3600), "", 1),
        (
            "match: {compute: '*'}, price: {plus: [{per_hour: '1'}, {cost_plus: {markup: 0%}}]}",
            compute("fpga", 3600),
            "no_cost",
            0,
        ),
        ("match: {units: '*'}, price: {each: '1'}", units("fax", "1"), "", 1),
        ("match: {units: '*'}, price: {cost_plus: {markup: 0%}}", units("fax", "1"), "no_cost", 0),
        ("match: {tokens: '*'}, price: {per_million: {input: '1'}}", tokens("a/b", input=MILLION), "", 1),
        (
            "match: {tokens: '*'}, price: {cost_plus: {markup: 0%}}",
            tokens("a/b", input=MILLION),
            "no_cost",
            0,
        ),
    ],
)
def test_what_only_a_later_book_knows_is_charged_unless_the_price_builds_on_its_cost(
    tmp_path, rule, item, reason, credits_charged
):
    """Posted by the book in force, priced by the pinned one: a rate needs no cost, cost_plus has none."""
    made = terms(tmp_path / "pinned", rule)
    later = COSTS.replace("laptop:", 'fpga: {per_hour: "2"}\n  laptop:').replace(
        "mail:", 'fax: {each: "2"}\n  mail:'
    )
    later = later.replace("acme/other:", 'a/b: {per_million: {input: "2"}}\n    acme/other:')
    book = config(tmp_path / "later", later, card_text(CARD[0])).costs
    quote = priced(made, item, costs_at=lambda _: book)
    assert (quote.lines[0].internal["unpriced_reason"], quote.exact_micros) == (
        reason,
        credits_charged * 10**6,
    )
    assert dollars(quote) == 2


def test_sums_and_products_of_pairs_are_exact():
    """Whatever the denominators; nothing leaves the other as it is."""
    assert add((1, 3), (1, 3)) == (2, 3)
    assert Fraction(*add((1, 3), (1, 4))) == Fraction(7, 12)
    assert add((0, 5), (3, 7)) == (3, 7)
    assert add(NOTHING, NOTHING) == NOTHING
    assert times((2, 3), (5, 7)) == (10, 21)
