"""Each scheme of a card: what it charges, and what it costs us."""

from fractions import Fraction

import pytest
from pricing_world import COSTS, compute, dollars, outcome, paid, priced, terms, tokens, units

from pricing import KeyOwner, Result, Treatment

LARGE = 'match: {tokens: acme/large}, price: {per_million: {input: "1.5", output: "7.5"}}'


def test_per_million_multiplies_each_quantity_by_its_rate(tmp_path):
    """per_million: the sum of quantity x rate / 1,000,000 over the quantities."""
    quote = priced(terms(tmp_path, LARGE), tokens(input=2_000_000, output=1_000))
    assert paid(quote) == Fraction("3.0075")
    assert dollars(quote) == Fraction("6.015")


@pytest.mark.parametrize(
    ("rates", "used", "expected"),
    [
        ('input: "2"', {"cache_write_1h": 1_000_000}, 2),
        ('input: "2", cache_write: "3"', {"cache_write_1h": 1_000_000}, 3),
        ('input: "2", cache_write: "3", cache_write_1h: "4"', {"cache_write_1h": 1_000_000}, 4),
        ('input: "2"', {"cache_write": 1_000_000}, 2),
        ('input: "2"', {"cache_read": 1_000_000}, 2),
        ('input: "2", cache_read: "0"', {"cache_read": 1_000_000}, 0),
        ('output: "2"', {"reasoning": 1_000_000}, 2),
        ('output: "2"', {"output_image": 1_000_000}, 2),
        ('output: "2"', {"output_audio": 1_000_000}, 2),
        ('output: "2", output_image: "3"', {"output_image": 1_000_000}, 3),
        ('input: "2"', {"input_image": 1_000_000}, 2),
        ('input: "2", input_audio: "3"', {"input_audio": 1_000_000, "input_image": 1_000_000}, 5),
        ('input: "2"', {"input": 0, "output": 0, "requests": 7}, 0),
    ],
)
def test_missing_rates_fall_back(tmp_path, rates, used, expected):
    """cache_write_1h -> cache_write; all of a side to its text, in price and in cost; requests cost 0."""
    book = COSTS.replace('input: "3", cache_read: "0.3", output: "15"', rates)
    rule = f"match: {{tokens: '*'}}, price: {{per_million: {{{rates}}}}}"
    quote = priced(terms(tmp_path, rule, costs=book), tokens(**used))
    assert quote.unpriced == ()
    assert (paid(quote), dollars(quote)) == (expected, expected)


@pytest.mark.parametrize("quantity", ["output", "reasoning", "output_audio", "output_image"])
def test_other_missing_rates_leave_a_line_unpriced(tmp_path, quantity):
    """A quantity without a rate, and nothing to fall back to, is never free; one that is 0 is no matter."""
    made = terms(tmp_path, "match: {tokens: '*'}, price: {per_million: {input: \"1\"}}")
    assert priced(made, tokens(**{"input": 5, quantity: 1})).unpriced == (0,)
    assert priced(made, tokens(**{"input": 5, quantity: 0})).unpriced == ()


def test_each_prices_requests_pieces_and_outcomes(tmp_path):
    """each: quantity x rate; of tokens by quantity, requests among them."""
    made = terms(
        tmp_path,
        "match: {tokens: '*'}, price: {plus: [{each: {requests: '0.5'}}, {per_million: {input: '0'}}]}",
        "match: {units: web_search}, price: {each: '0.25'}",
        "match: {units: mail}, price: {per_million: '100'}",
        "match: {outcome: lead}, price: {each: '2'}",
    )
    assert paid(priced(made, tokens(input=10, requests=3))) == Fraction("1.5")
    assert paid(priced(made, units("web_search", "2.5"))) == Fraction("0.625")
    assert paid(priced(made, units("mail", "5000"))) == Fraction("0.5")
    assert dollars(priced(made, units("mail", "5000"))) == 2
    assert paid(priced(made, outcome("lead", Result.FAILED, 3))) == 6
    assert not priced(made, outcome("lead")).outcome_charged


def test_per_hour_multiplies_duration_by_count(tmp_path):
    """per_hour: duration x count x rate; half a machine costs half."""
    made = terms(tmp_path, "match: {compute: h100}, price: {per_hour: '4'}")
    quote = priced(made, compute("h100", 900, "0.5"))
    assert (paid(quote), dollars(quote)) == (Fraction(1, 2), Fraction("2.49") / 8)


@pytest.mark.parametrize(
    ("scheme", "dollars_charged"), [("markup: 30%", Fraction("9.10")), ("margin: 30%", Fraction(10))]
)
def test_markup_and_margin_are_not_the_same(tmp_path, scheme, dollars_charged):
    """$7 at a markup of 30 % is $9.10 = 910 credits of $0.01, at a margin of 30 % $10.00 = 1,000."""
    made = terms(tmp_path, f"match: {{units: web_search}}, price: {{cost_plus: {{{scheme}}}}}", price="0.01")
    quote = priced(made, units("web_search", "700"))
    assert (dollars(quote), paid(quote)) == (7, dollars_charged * 100)


def test_a_discount_comes_before_the_markup(tmp_path):
    """$1.00 at list, -5 %, +10 % = $1.045."""
    book = "tokens: {catalog: genai-prices, discounts: {anthropic: 5%}}"
    rule = "match: {tokens: '*'}, price: {cost_plus: {markup: 10%}}"
    quote = priced(terms(tmp_path, rule, costs=book), tokens("anthropic/claude-haiku-4-5", input=1_000_000))
    assert (quote.lines[0].internal["list_nanousd"], dollars(quote)) == ("1000000000", Fraction("0.95"))
    assert paid(quote) == Fraction("1.045")


def test_cost_plus_builds_on_what_was_asked_for(tmp_path):
    """A saving is the seller's: cost_plus charges by the cost of what was asked, whatever served it."""
    made = terms(tmp_path, "match: {tokens: '*'}, price: {cost_plus: {markup: 100%}}")
    quote = priced(made, tokens(input=1_000_000, served_by="acme/small"))
    assert (paid(quote), dollars(quote)) == (6, Fraction("0.05"))


@pytest.mark.parametrize(
    ("scheme", "charged"),
    [("markup: 30%", Fraction("0.3")), ("margin: 30%", Fraction(3, 7)), ("margin: 0%", 0)],
)
def test_on_the_customers_key_cost_plus_charges_the_markup_alone_on_list_prices(tmp_path, scheme, charged):
    """The customer pays its provider; we post no cost, and our discount does not show in the charge."""
    book = "tokens: {catalog: genai-prices, discounts: {anthropic: 40%}}"
    rule = f"match: {{tokens: '*'}}, price: {{cost_plus: {{{scheme}}}}}"
    item = tokens("anthropic/claude-haiku-4-5", input=1_000_000, key_owner=KeyOwner.CUSTOMER)
    quote = priced(terms(tmp_path, rule, costs=book), item)
    assert (paid(quote), dollars(quote)) == (charged, 0)
    assert quote.lines[0].internal["cost_source"] == "customer_key"
    assert quote.lines[0].internal["asked_nanousd"] == "1000000000"


def test_per_million_charges_the_same_whoever_holds_the_key(tmp_path):
    """Only cost_plus looks at whose key it was; the cost on the customer's own key is 0."""
    made = terms(tmp_path, LARGE)
    ours, theirs = (priced(made, tokens(input=1000, key_owner=owner)) for owner in KeyOwner)
    assert paid(ours) == paid(theirs)
    assert dollars(theirs) == 0 < dollars(ours)


def test_outcomes_are_charged_by_their_result(tmp_path):
    """A result that is not named costs 0 and is charged, not unpriced; it is no charged outcome."""
    made = terms(
        tmp_path, "match: {outcome: 'ticket.*'}, price: {outcome: {resolved: '2', escalated: '0.5'}}"
    )
    assert made.has_outcome_rule
    resolved, escalated, failed, none = (
        priced(made, outcome("ticket.resolved", result, count))
        for result, count in [
            (Result.RESOLVED, 3),
            (Result.ESCALATED, 1),
            (Result.FAILED, 1),
            (Result.RESOLVED, 0),
        ]
    )
    assert [paid(quote) for quote in (resolved, escalated, failed, none)] == [6, Fraction(1, 2), 0, 0]
    assert [quote.outcome_charged for quote in (resolved, escalated, failed, none)] == [
        True,
        True,
        False,
        False,
    ]
    assert failed.lines[0].treatment is Treatment.CHARGED


def test_the_smallest_charge_for_an_outcome_is_one(tmp_path):
    """A billionth of a credit is charged for; an outcome that no rule matches charges nothing."""
    made = terms(tmp_path, "match: {outcome: a}, price: {outcome: {resolved: '0.000000001'}}")
    smallest = priced(made, outcome("a"))
    assert (paid(smallest), smallest.outcome_charged) == (Fraction(1, 10**9), True)
    unknown = priced(made, outcome("b"), tokens(input=5))
    assert (unknown.unpriced, unknown.outcome_charged, unknown.has_outcome_rule) == ((0, 1), False, True)


def test_included_is_free_knowingly_and_its_cost_is_posted(tmp_path):
    """included: 0 credits, treated as INCLUDED, its cost known and posted."""
    quote = priced(terms(tmp_path, "match: {compute: h100}, price: {included: true}"), compute("h100", 3600))
    assert (paid(quote), dollars(quote)) == (0, Fraction("2.49"))
    assert quote.lines[0].treatment is Treatment.INCLUDED
    assert not quote.has_outcome_rule


def test_plus_adds_schemes_up(tmp_path):
    """plus: the sum of its parts, for each kind of usage."""
    made = terms(
        tmp_path,
        "match: {tokens: '*'}, price: {plus: [{cost_plus: {markup: 0%}}, {each: {requests: '0.5'}}]}",
        "match: {compute: h100}, price: {plus: [{per_hour: '4'}, {per_hour: '60', minimum: 60s}, "
        "{cost_plus: {markup: 0%}}]}",
        "match: {units: mail}, price: {plus: [{each: '1'}, {per_million: '5'}, {cost_plus: {markup: 0%}}]}",
        "match: {outcome: x}, price: {plus: [{each: '0.1'}, {outcome: {resolved: '1'}}]}",
    )
    assert paid(priced(made, tokens(input=1_000_000))) == Fraction("3.5")
    assert paid(priced(made, compute("h100", 30))) == Fraction(4, 120) + 1 + Fraction("2.49") / 120
    assert paid(priced(made, units("mail", "1000000"))) == 1_000_405
    assert paid(priced(made, outcome("x"))) == Fraction("1.1")
    assert paid(priced(made, outcome("x", Result.FAILED))) == Fraction("0.1")
    assert made.has_outcome_rule
    assert not priced(made, outcome("x", Result.FAILED)).outcome_charged


def test_hourly_parts_of_plus_add_up_in_any_order(tmp_path):
    """Rates that bill the seconds alone are one rate; a part that is none of them ends nothing."""
    made = terms(
        tmp_path,
        "match: {compute: h100}, price: "
        "{plus: [{cost_plus: {markup: 0%}}, {per_hour: '4'}, {per_hour: '2'}]}",
        "match: {compute: spot}, price: {plus: [{per_hour: '3600', minimum: 2s}, {per_hour: '3600'}]}",
    )
    assert paid(priced(made, compute("h100", 3600))) == 6 + Fraction("2.49")
    assert paid(priced(made, compute("spot", 1))) == 2 + 1


def test_two_surcharges_are_twice_the_cost_and_both_markups(tmp_path):
    """Parts of plus add up, cost_plus too: on the customer's own key the surcharges alone."""
    made = terms(
        tmp_path,
        "match: {tokens: '*'}, price: {plus: [{cost_plus: {markup: 10%}}, {cost_plus: {margin: 50%}}]}",
        price="0.5",
    )
    assert paid(priced(made, tokens(input=1_000_000))) == 3 * (Fraction("1.1") + 2) * 2
    theirs = tokens(input=1_000_000, key_owner=KeyOwner.CUSTOMER)
    assert paid(priced(made, theirs)) == 3 * (Fraction("0.1") + 1) * 2


def test_rates_of_one_quantity_add_up_over_the_parts_of_plus(tmp_path):
    """By million and each alike."""
    made = terms(
        tmp_path,
        "match: {tokens: '*'}, price: {plus: [{per_million: {input: '1'}}, {per_million: {input: '2'}}, "
        "{each: {input: '0.000001'}}]}",
    )
    assert paid(priced(made, tokens(input=1_000_000))) == 4


def test_the_parts_of_plus_rate_what_another_does_not(tmp_path):
    """A quantity needs a rate in one part only; what no part rates is unpriced."""
    made = terms(
        tmp_path,
        "match: {tokens: '*'}, price: {plus: [{per_million: {input: '1'}}, {each: {requests: '2'}}]}",
    )
    assert paid(priced(made, tokens(input=1_000_000))) == 3
    assert priced(made, tokens(input=1, output=1)).unpriced == (0,)
