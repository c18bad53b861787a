"""What cannot be priced, what is posted where no cost is known, and who may know of it."""

from datetime import UTC, datetime
from fractions import Fraction

import pytest
from pricing_world import COSTS, compute, config, dollars, outcome, paid, priced, terms, tokens, units

from pricing import KeyOwner, Treatment
from tests.cards import card_text

FOLLOWING = "match: {tokens: '*'}, price: {cost_plus: {markup: 10%}}"
ANY = "match: {tokens: '*'}, price: {per_million: {input: '1', output: '2'}}"
UNKNOWN = COSTS + 'unknown_cost: {per_million: {input: "5", output: "25"}}\n'
MILLION = 1_000_000


def _only(quote):
    (line,) = quote.lines
    return line


def test_an_item_that_no_rule_matches_is_unpriced_at_its_cost(tmp_path):
    """0 credits, UNPRICED, its known cost posted: never silently free."""
    made = terms(tmp_path, "match: {units: mail}, price: {each: '1'}")
    for item, cost in [
        (tokens(input=MILLION), Fraction(3)),
        (compute("h100", 3600), Fraction("2.49")),
        (units("web_search", "1"), Fraction("0.01")),
        (outcome("done"), Fraction(0)),
    ]:
        quote = priced(made, item)
        assert (quote.unpriced, paid(quote), dollars(quote)) == ((0,), 0, cost)
        assert _only(quote).internal["unpriced_reason"] == "no_rule"


def test_an_unknown_model_is_booked_at_the_unknown_cost(tmp_path):
    """By the card's rate it is charged, by a price that follows cost it has none; uncosted in both."""
    for name, rule, unpriced, credits_paid in (("a", ANY, (), 1), ("b", FOLLOWING, (0,), 0)):
        quote = priced(terms(tmp_path / name, rule, costs=UNKNOWN), tokens("who/knows", input=MILLION))
        assert (quote.unpriced, paid(quote), dollars(quote)) == (unpriced, credits_paid, 5)
        internal = _only(quote).internal
        assert (internal["cost_source"], internal["uncosted"]) == ("unknown_cost", True)
        assert internal["unpriced_reason"] == ("no_cost" if unpriced else "")


@pytest.mark.parametrize(
    "item",
    [tokens("who/knows", input=1), compute("nowhere", 1), units("nothing", "1")],
)
def test_without_an_unknown_cost_nothing_is_posted_and_flagged(tmp_path, item):
    """The cost is 0 with the source `none`: uncosted, not passed over."""
    internal = _only(priced(terms(tmp_path, ANY), item)).internal
    assert (internal["cost_source"], internal["uncosted"]) == ("none", True)
    assert internal["served_nanousd"] is None


def test_an_unknown_server_of_a_known_model_is_posted_at_the_unknown_cost(tmp_path):
    """The price looks at what was asked for, so it is charged; the cost is a guess, and says so."""
    quote = priced(terms(tmp_path, ANY, costs=UNKNOWN), tokens(input=MILLION, served_by="who/knows"))
    assert (quote.unpriced, paid(quote), dollars(quote)) == ((), 1, 5)
    assert _only(quote).internal["cost_source"] == "unknown_cost"
    assert _only(quote).internal["uncosted"]


@pytest.mark.parametrize(
    ("item", "cost"),
    [
        (tokens(input=MILLION, served_by="who/knows"), Fraction(3)),
        (compute("h100", 3600, served_by="nowhere"), Fraction("2.49")),
    ],
)
def test_an_unknown_server_without_an_unknown_cost_is_posted_at_what_was_asked(tmp_path, item, cost):
    """The price looks at what was asked for; of the cost the best that is known is posted, uncosted."""
    made = terms(tmp_path, ANY, "match: {compute: '*'}, price: {per_hour: '1'}")
    quote = priced(made, item)
    assert (quote.unpriced, paid(quote), dollars(quote)) == ((), 1, cost)
    assert (_only(quote).internal["cost_source"], _only(quote).internal["uncosted"]) == ("asked", True)


def test_what_is_included_is_so_whatever_served_it(tmp_path):
    """Free knowingly, where nobody knows its cost too."""
    made = terms(tmp_path, "match: {compute: '*'}, price: {included: true}")
    for item in (compute("h100", 1, served_by="nowhere"), compute("nowhere", 1)):
        line = _only(priced(made, item))
        assert (line.treatment, line.costs.known) == (Treatment.INCLUDED, False)


@pytest.mark.parametrize("price", ["per_million: {input: '1'}", "cost_plus: {markup: 10%}"])
@pytest.mark.parametrize(
    "item",
    [tokens(input=MILLION), tokens("acme/none", input=MILLION), tokens(input=MILLION, input_audio=1)],
)
def test_a_price_is_the_same_whatever_served_it(tmp_path, price, item):
    """Known or not, dearer or cheaper: price, treatment and public line are those of what was asked for."""
    made = terms(tmp_path, f"match: {{tokens: '*'}}, price: {{{price}}}", costs=UNKNOWN)
    as_asked = _only(priced(made, item))
    for served_by in ("acme/small", "acme/other", "who/knows", "cache", item.model):
        line = _only(priced(made, item._replace(served_by=served_by)))
        assert (line.treatment, line.exact_micros) == (as_asked.treatment, as_asked.exact_micros)
        assert (line.public, line.unpriced_reason) == (as_asked.public, as_asked.unpriced_reason)


def test_a_name_that_only_the_card_knows_is_priced_where_its_server_is_known(tmp_path):
    """The cost is that of what ran; only cost_plus needs one of what was asked."""
    item = tokens("acme/brand", input=MILLION, served_by="acme/small")
    assert priced(terms(tmp_path / "a", ANY), item).unpriced == ()
    plus = terms(tmp_path / "b", "match: {tokens: '*'}, price: {cost_plus: {markup: 10%}}")
    quote = priced(plus, item)
    assert (quote.unpriced, dollars(quote)) == ((0,), Fraction("0.05"))
    assert _only(quote).internal["unpriced_reason"] == "no_cost"


def test_on_the_customers_key_our_cost_is_known(tmp_path):
    """It is 0, so a rate is enough to price an unknown model; cost_plus has nothing to build on."""
    item = tokens("who/knows", input=MILLION, key_owner=KeyOwner.CUSTOMER)
    assert priced(terms(tmp_path / "a", ANY), item).unpriced == ()
    plus = terms(tmp_path / "b", "match: {tokens: '*'}, price: {cost_plus: {markup: 10%}}", costs=UNKNOWN)
    assert (priced(plus, item).unpriced, dollars(priced(plus, item))) == ((0,), 0)


def test_the_public_side_does_not_tell_why(tmp_path):
    """A missing rule, rate and cost look the same from outside, title included."""
    titled = "title: Our large models, match: {tokens: 'acme/*'}, price: {per_million: {input: '1'}}"
    other = "match: {units: mail}, price: {each: '1'}"
    no_rate = _only(priced(terms(tmp_path / "a", titled), tokens(input=1, output=1)))
    no_rule = _only(priced(terms(tmp_path / "b", other), tokens(input=1, output=1)))
    following = titled.replace("per_million: {input: '1'}", "cost_plus: {markup: 10%}")
    unknown = terms(tmp_path / "c", following, costs=COSTS.replace("acme/large", "x/y"))
    no_cost = _only(priced(unknown, tokens(input=1, output=1)))
    assert no_rate.public == no_rule.public == no_cost.public
    reasons = [line.internal["unpriced_reason"] for line in (no_rate, no_rule, no_cost)]
    assert reasons == ["no_rate", "no_rule", "no_cost"]


def test_zero_usage_of_a_known_thing_costs_nothing(tmp_path):
    """Zero quantities are priced, at 0."""
    made = terms(tmp_path, ANY, "match: {compute: h100}, price: {per_hour: '1'}")
    quote = priced(made, tokens(input=0), tokens(), compute("h100", 0), compute("h100", 5, "0"))
    assert (quote.unpriced, paid(quote), dollars(quote)) == ((), 0, 0)


@pytest.mark.parametrize(
    ("served_by", "lever", "cost"),
    [
        (None, "", "3"),
        ("acme/large", "", "3"),
        ("cache", "caching", "0"),
        ("acme/small", "distillation", "0.05"),
        ("acme/other", "routing", "1"),
    ],
)
def test_the_lever_is_what_saved_the_difference(tmp_path, served_by, lever, cost):
    """Caching for a cache, else the lever that the book names for the server, else routing."""
    quote = priced(terms(tmp_path, ANY), tokens(input=MILLION, served_by=served_by))
    assert (paid(quote), dollars(quote)) == (1, Fraction(cost))
    internal = _only(quote).internal
    assert (internal["lever"], internal["asked_nanousd"]) == (lever, "3000000000")
    assert internal["served_nanousd"] == str(int(Fraction(cost) * 10**9))


@pytest.mark.parametrize(
    ("served_by", "lever", "cost"),
    [("cache", "caching", "0"), ("spot", "spot", "0.80"), ("sandbox", "routing", "0.12")],
)
def test_machines_have_levers_too(tmp_path, served_by, lever, cost):
    """The same rule for compute."""
    made = terms(tmp_path, "match: {compute: '*'}, price: {per_hour: '4'}")
    quote = priced(made, compute("h100", 3600, served_by=served_by))
    assert (paid(quote), dollars(quote), _only(quote).internal["lever"]) == (4, Fraction(cost), lever)


def test_an_estimate_ignores_what_served(tmp_path):
    """A quote tells nothing of routing: priced and costed as asked for."""
    made = terms(tmp_path, ANY, "match: {compute: '*'}, price: {per_hour: '4'}")
    for item, plain in [
        (tokens(input=9, served_by="who/knows"), tokens(input=9)),
        (tokens(input=9, served_by="cache"), tokens(input=9)),
        (compute("h100", 9, served_by="nowhere"), compute("h100", 9)),
    ]:
        reported = priced(made, item, estimate=True)
        assert [line.costs for line in reported.lines] == [line.costs for line in priced(made, plain).lines]
        assert reported.exact_micros == priced(made, plain).exact_micros


def test_public_lines_are_free_of_cost(tmp_path):
    """title, kind, name and quantities; nothing of rules, servers, levers or dollars."""
    made = terms(tmp_path, "title: Large, " + ANY)
    assert _only(priced(made, tokens(input=9, requests=2, served_by="acme/small"))).public == {
        "title": "Large",
        "kind": "tokens",
        "name": "acme/large",
        "quantities": {"input": "9", "requests": "2"},
    }
    assert _only(priced(made, compute("h100", 1.5, "0.5"))).public["quantities"] == {
        "duration_seconds": "1.5",
        "count": "0.5",
    }


def test_cost_is_posted_by_the_book_in_force_then_and_charged_by_the_pinned_one(tmp_path):
    """A dearer provider during a run is ours to bear: cost_plus goes on by the pinned book."""
    made = terms(tmp_path / "old", "match: {tokens: '*'}, price: {cost_plus: {markup: 0%}}")
    dearer = config(
        tmp_path / "new",
        COSTS.replace('input: "3"', 'input: "4"'),
        card_text("match: {units: mail}, price: {each: '1'}"),
    ).costs
    march = datetime(2026, 3, 1, tzinfo=UTC)
    asked = []

    def costs_at(instant):
        asked.append(instant)
        return dearer

    quote = priced(made, tokens(input=MILLION, occurred_at=march), costs_at=costs_at)
    assert (paid(quote), dollars(quote), asked) == (3, 4, [march])


def test_lines_are_exact(tmp_path):
    """Amounts that do not end as decimals are fractions, inside and in the internal text."""
    line = _only(priced(terms(tmp_path, "match: {compute: '*'}, price: {per_hour: '1'}"), compute("spot", 1)))
    assert line.exact_micros == Fraction(10**6, 3600)
    assert line.internal["served_nanousd"] == str(Fraction(8 * 10**8, 3600))
    assert line.treatment is Treatment.CHARGED
