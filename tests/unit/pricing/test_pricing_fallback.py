"""What a card names to fall back on: the price of what has none, where the customer's plan says so."""

from fractions import Fraction

import pytest
from pricing_world import COSTS, compute, config, outcome, paid, priced, terms, tokens, units

from pricing import ConfigError, Treatment
from tests.cards import card_text

FOLLOWING = "match: {tokens: '*'}, price: {cost_plus: {markup: 10%}}"
DEAREST = "match: {tokens: '*'}, price: {per_million: {input: '20', output: '100'}}"
NAMED = "fallback: {tokens: r1}\n"
MILLION = 1_000_000


def _made(directory, *rules, extra=NAMED):
    return terms(directory, *rules, extra=extra)


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (FOLLOWING, "no_cost"),
        ("match: {tokens: 'acme/*'}, price: {per_million: {input: '1', output: '2'}}", "no_rule"),
        ("match: {tokens: 'who/*'}, price: {per_million: {output: '1'}}", "no_rate"),
    ],
)
def test_what_has_no_price_is_charged_by_the_rule_that_is_named(tmp_path, rule, reason):
    """As if that rule matched, whatever the reason is; it stays flagged, by its reason and that rule."""
    narrow = DEAREST.replace("'*'", "acme/small")
    if reason == "no_rate":
        narrow = narrow.replace("acme/small", "acme/other")
    made = _made(tmp_path, rule, narrow)
    (line,) = priced(made, tokens("who/knows", input=MILLION), falls_back=True).lines
    assert (line.treatment, line.exact_micros) == (Treatment.UNPRICED, 20 * MILLION)
    assert (line.internal["unpriced_reason"], line.internal["fallback"]) == (reason, "r1")
    assert line.public["title"] == "tokens: who/knows"


def test_a_fallback_may_stand_below_a_rule_that_takes_all(tmp_path):
    """A rule that is only fallen back on can match nothing itself; others that cannot are refused."""
    made = _made(tmp_path / "a", FOLLOWING, DEAREST)
    assert paid(priced(made, tokens("who/knows", input=MILLION), falls_back=True)) == 20
    with pytest.raises(ConfigError, match="can never match"):
        _made(tmp_path / "b", FOLLOWING, DEAREST, extra="")


def test_nothing_falls_back_where_the_plan_does_not_say_so(tmp_path):
    """Nor does what has a price, nor what is quoted, nor a kind for which nothing is named."""
    made = _made(tmp_path, FOLLOWING, DEAREST)
    unknown = tokens("who/knows", input=MILLION)
    assert (paid(priced(made, unknown)), priced(made, unknown).lines[0].fallback) == (0, "")
    assert paid(priced(made, tokens(input=MILLION), falls_back=True)) == Fraction("3.3")
    assert paid(priced(made, compute("h100", 3600), falls_back=True)) == 0
    assert paid(priced(made, unknown, estimate=True)) == 0


def test_each_kind_has_a_fallback_of_its_own(tmp_path):
    """Machines, units and outcomes, each at the rate that is named for them; multiplied as all prices are."""
    made = terms(
        tmp_path,
        "match: {compute: laptop}, price: {plus: [{per_hour: '7'}]}",
        "match: {units: mail}, price: {each: '2'}",
        "match: {outcome: done}, price: {outcome: {resolved: '5'}}",
        extra="fallback: {compute: r0, units: r1, outcome: r2}\n",
    ).multiplied(2 * 10**9)
    quote = priced(made, compute("h100", 3600), units("fax", "3"), outcome("other"), falls_back=True)
    assert [line.exact_micros / 10**6 for line in quote.lines] == [14, 12, 10]
    assert quote.unpriced == (0, 1, 2)


@pytest.mark.parametrize(
    ("price", "message"),
    [
        ("{cost_plus: {markup: 10%}}", "does not state rates alone"),
        (
            "{plus: [{per_million: {input: '1', output: '1'}}, {fee_on_cost: 5%}]}",
            "does not state rates alone",
        ),
        ("{per_million: {input: '1', output: '1'}, block: '1000'}", "does not state rates alone"),
        ("{included: true}", "does not state rates alone"),
        ("{per_million: {output: '1'}}", "has no rate of input or of output"),
        ("{each: {requests: '1'}}", "has no rate of input or of output"),
    ],
)
def test_a_fallback_has_a_price_whatever_is_reported(tmp_path, price, message):
    """It states rates alone, of tokens those of input and output: else it is refused, with its place."""
    card = card_text(f"match: {{tokens: '*'}}, price: {price}", extra="fallback: {tokens: r0}\n")
    with pytest.raises(ConfigError, match=message) as caught:
        config(tmp_path, COSTS, card)
    assert [(problem.line, problem.column) for problem in caught.value.problems] == [(4, 12)]


def test_a_card_need_not_name_one(tmp_path):
    """Then what has no price is charged nothing."""
    assert config(tmp_path, COSTS, card_text(DEAREST)).cards["test"].fallback == {}
