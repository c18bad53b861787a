"""What is refused in cost books and cards: with file, line, column and what to write instead."""

import pytest
from pricing_world import COSTS, card_text, config, refusals

from pricing import ConfigError, CostBook, RateCard, load

GOOD = card_text("match: {tokens: '*'}, price: {per_million: {input: '1'}}")


def _rule(match: str, price: str) -> str:
    return card_text(f"match: {match}, price: {price}")


def _only(problems):
    (problem,) = problems
    return problem


def _text_at(problem, text):
    return [*text.splitlines(), ""][problem.line - 1][problem.column - 1 :]


CARDS = [
    # card, (line, what stands at the column), part of the message, part of the hint
    (
        _rule("{tokens: '*'}", "{per_million: {input: 1.5}}"),
        (5, "1.5"),
        "1.5 is a float",
        'write "1.5" in quotes',
    ),
    (_rule("{tokens: '*'}", "{per_million: {input: 1e3}}"), (5, "1e3"), "1e3 is a float", "in quotes"),
    (_rule("{tokens: '*'}", "{per_million: {input: .nan}}"), (5, ".nan"), ".nan is a float", "in quotes"),
    (_rule("{tokens: '*'}", "{per_million: {input: '-1'}}"), (5, "'-1'"), "-1 is negative", '"0" or more'),
    (_rule("{tokens: '*'}", "{per_million: {input: -1}}"), (5, "-1"), "-1 is negative", '"0" or more'),
    (
        _rule("{tokens: '*'}", "{per_million: {input: '1e3'}}"),
        (5, "'1e3'"),
        "'1e3' is not a rate",
        "decimal string",
    ),
    (
        _rule("{tokens: '*'}", "{per_million: {input: NaN}}"),
        (5, "NaN"),
        "'NaN' is not a rate",
        "decimal string",
    ),
    (
        _rule("{tokens: '*'}", "{per_million: {input: '0.1234567891'}}"),
        (5, "'0.1234567891'"),
        "is not a rate",
        "9 fractional",
    ),
    (
        _rule("{tokens: '*'}", "{per_million: {input: '1234567890123456'}}"),
        (5, "'1234567890123456'"),
        "is not a rate",
        "15 integer",
    ),
    (
        _rule("{tokens: '*'}", "{per_million: {input: true}}"),
        (5, "true"),
        "must be a number",
        "decimal string",
    ),
    (
        _rule("{tokens: '*'}", "{per_million: {inputs: '1'}}"),
        (5, "inputs:"),
        "unknown quantity 'inputs'",
        "input, cache_read",
    ),
    (
        _rule("{tokens: '*'}", "{per_million: '1'}"),
        (5, "per_million:"),
        "tokens need a rate for each quantity",
        "input:",
    ),
    (
        _rule("{tokens: '*'}", "{per_hour: '1'}"),
        (5, "per_hour:"),
        "per_hour cannot price tokens",
        "per_million, each, cost_plus",
    ),
    (
        _rule("{units: mail}", "{each: {input: '1'}}"),
        (5, "each:"),
        "units have but one quantity",
        'each: "1.5"',
    ),
    (
        _rule("{outcome: x}", "{cost_plus: {margin: 1%}}"),
        (5, "cost_plus:"),
        "cost_plus cannot price outcome",
        "outcome",
    ),
    (
        _rule("{compute: h100}", "{per_hour: '1', minimum: soon}"),
        (5, "soon"),
        "'soon' is not a duration",
        "60s",
    ),
    (_rule("{compute: h100}", "{per_hour: '1', minimum: 0}"), (5, "0"), "0 is not a duration", "60s"),
    (
        _rule("{units: mail}", "{each: '1', minimum: 60s}"),
        (5, "minimum:"),
        "'minimum' belongs to per_hour",
        "leave it out",
    ),
    (
        _rule("{compute: h100}", "{per_hour: '1', maximum: '2'}"),
        (5, "maximum:"),
        "unknown key 'maximum'",
        "per_hour, minimum",
    ),
    (
        _rule("{tokens: '*'}", "{cost_plus: {margin: 100%}}"),
        (5, "margin:"),
        "margin of 100% or more",
        "less than 100%",
    ),
    (
        _rule("{tokens: '*'}", "{cost_plus: {margin: 1%, markup: 1%}}"),
        (5, "{margin:"),
        "either markup or margin",
        "0.70",
    ),
    (_rule("{tokens: '*'}", "{cost_plus: {}}"), (5, "{}"), "either markup or margin", "markup:"),
    (
        _rule("{tokens: '*'}", "{cost_plus: {markup: '0.3'}}"),
        (5, "'0.3'"),
        "'0.3' is not a percentage",
        '"30%"',
    ),
    (_rule("{tokens: '*'}", "{cost_plus: {markup: '-3%'}}"), (5, "'-3%'"), "-3% is negative", '"0%" or more'),
    (
        _rule("{tokens: '*'}", "{cost_plus: {markup: 1%, on: served}}"),
        (5, "on:"),
        "unknown key 'on'",
        "markup, margin",
    ),
    (_rule("{outcome: x}", "{outcome: {}}"), (5, "{}"), "names no result", "resolved"),
    (
        _rule("{outcome: x}", "{outcome: {solved: '1'}}"),
        (5, "solved:"),
        "unknown key 'solved'",
        "resolved, failed",
    ),
    (
        _rule("{outcome: x}", "{outcome: {resolved: '1'}, once: subject}"),
        (5, "once:"),
        "unknown key 'once'",
        "plus",
    ),
    (_rule("{units: mail}", "{included: false}"), (5, "false"), "included", ""),
    (_rule("{units: mail}", "{}"), (5, "{}"), "names no scheme", "per_million"),
    (_rule("{units: mail}", "{each: '1', included: true}"), (5, "included:"), "names 2 schemes", "plus: ["),
    (_rule("{units: mail}", "{plus: []}"), (5, "[]"), "plus", ""),
    (_rule("{units: mail}", "{plus: [{included: true}]}"), (5, "{included:"), "cannot be a part of plus", ""),
    (
        _rule("{units: mail}", "{plus: [{per_hour: '1'}]}"),
        (5, "per_hour:"),
        "per_hour cannot price units",
        "each",
    ),
    (_rule("{}", "{each: '1'}"), (5, "{}"), "names no kind of usage", "tokens, compute"),
    (
        _rule("{units: mail, compute: h100}", "{each: '1'}"),
        (5, "{units:"),
        "names 2 kinds of usage",
        "one kind",
    ),
    (
        _rule("{units: mail, state: idle}", "{each: '1'}"),
        (5, "state:"),
        "state is a condition of compute",
        "leave",
    ),
    (
        _rule("{units: mail, served_by: x}", "{each: '1'}"),
        (5, "served_by:"),
        "unknown key 'served_by'",
        "key_owner",
    ),
    (_rule("{units: []}", "{each: '1'}"), (5, "[]"), "cannot be matched", "glob"),
    (_rule("{units: 5}", "{each: '1'}"), (5, "5"), "cannot be matched", "glob"),
    (
        _rule("{tokens: '*', key_owner: MINE}", "{included: true}"),
        (5, "MINE"),
        "'MINE' is not known",
        "OURS, CUSTOMER",
    ),
    (_rule("{outcome: x, result: [won]}", "{each: '1'}"), (5, "[won]"), "'won'", "RESOLVED, FAILED"),
    (_rule("{units: fax}", "{each: '1'}"), (5, "fax"), "knows no unit 'fax'", 'units: {fax: {each: "0.01"}}'),
    (
        _rule("{compute: 'gpu-*'}", "{per_hour: '1'}"),
        (5, "'gpu-*'"),
        "knows no resource 'gpu-*'",
        "h100, laptop",
    ),
    (
        _rule("{units: hug}", "{cost_plus: {markup: 9%}}"),
        (5, "{cost_plus:"),
        "would charge nothing",
        "included: true",
    ),
    (GOOD.replace("'1'\n", "1.0\n", 1), (3, "1.0"), "1.0 is a float", "quotes"),
    (
        GOOD.replace("credit_price_usd: '1'", "credit_price_usd: '0'"),
        (3, "credit_price_usd:"),
        "price above 0",
        "",
    ),
    (GOOD.replace("card: test", "card: 'a test'"), (1, "'a test'"), "is not the name of a card", "64"),
    (GOOD.replace("card: test", "name: test"), (1, "name:"), "unknown key 'name'", "card, revision"),
    (GOOD + "revision: 0\n", (6, "0"), "revision", ""),
    (GOOD + "effective_from: 2026-11-01\n", (6, "2026-11-01"), "is not an instant", "date, time and zone"),
    (GOOD + "effective_from: 1793491200\n", (6, "1793491200"), "is not an instant", "2026-11-01T00:00:00Z"),
    (GOOD + "round: {to: '0.0000001'}\n", (6, "to:"), "multiple of a micro-credit", "0.000001"),
    (GOOD + "round: {mode: nearest}\n", (6, "nearest"), "mode", ""),
    (GOOD + "discloses: serving_cost\n", (6, "discloses:"), "unknown key 'discloses'", "rules"),
    (GOOD + "rules: []\n", (6, "rules:"), "'rules' stands here twice", "keep one"),
    (GOOD + "credit: [\n", (7, ""), "is not YAML", ""),
]


@pytest.mark.parametrize(("card", "place", "message", "hint"), CARDS)
def test_a_card_is_refused_where_it_is_wrong(tmp_path, card, place, message, hint):
    """Each mistake is named at its own line and column, with what to write instead."""
    problem = next(each for each in refusals(tmp_path, COSTS, card) if message in each.message)
    line, token = place
    assert problem.line == line
    assert _text_at(problem, card).startswith(token)
    assert hint in problem.hint
    assert problem.file.endswith("cards/card0.yaml")


BOOKS = [
    ("compute: {h100: {per_hour: 2.49}}", (1, "2.49"), "2.49 is a float", "quotes"),
    ("compute: {h100: {}}", (1, "{}"), "must say what it costs", "cost: none"),
    (
        "compute: {h100: {per_hour: '1', cost: none}}",
        (1, "{per_hour:"),
        "must say what it costs",
        "cost: none",
    ),
    ("compute: {h100: {cost: free}}", (1, "free"), "cost", ""),
    ("compute: {cache: {per_hour: '1'}}", (1, "cache:"), "cannot be a resource", "another name"),
    ("units: {fax: {each: '1', per_million: '1'}}", (1, "{each:"), "must say what it costs", "cost: none"),
    ("units: {fax: {each: '-1'}}", (1, "'-1'"), "negative", ""),
    ("unit: {}", (1, "unit:"), "unknown key 'unit'", "tokens, compute, units, unknown_cost"),
    ("tokens: {catalog: litellm}", (1, "litellm"), "catalog", ""),
    ("tokens: {discounts: {openai: 5%}}", (1, "openai:"), "needs a catalog", "catalog: genai-prices"),
    ("tokens: {catalog: genai-prices, discounts: {nobody: 5%}}", (1, "nobody:"), "no provider 'nobody'", ""),
    ("tokens: {catalog: genai-prices, discounts: {openai: 101%}}", (1, "openai:"), "above 100%", "100%"),
    (
        "tokens: {models: {large: {per_million: {input: '1'}}}}",
        (1, "large:"),
        "'large' is not a model",
        "provider/name",
    ),
    ("tokens: {models: {a/b: {lever: x}}}", (1, "{lever:"), "names no rate", "per_million"),
    (
        "tokens: {models: {a/b: {per_million: {tokens: '1'}}}}",
        (1, "tokens:"),
        "unknown quantity 'tokens'",
        "input",
    ),
    (
        "tokens: {models: {a/b: {per_million: {input: '1'}, each: {input: '1'}}}}",
        (1, "input:"),
        "two rates",
        "keep one",
    ),
    ("unknown_cost: {each: {}}", (1, "{each:"), "names no rate", ""),
    ("revision: '7'", (1, "'7'"), "must be a whole number", ""),
]


@pytest.mark.parametrize(("book", "place", "message", "hint"), BOOKS)
def test_a_cost_book_is_refused_where_it_is_wrong(tmp_path, book, place, message, hint):
    """Each mistake is named at its own line and column, with what to write instead."""
    problem = next(each for each in refusals(tmp_path, book, GOOD) if message in each.message)
    line, token = place
    assert problem.line == line
    assert _text_at(problem, book).startswith(token)
    assert hint in problem.hint
    assert problem.file.endswith("costs.yaml")


def test_all_problems_of_all_files_are_collected(tmp_path):
    """One round is enough to learn of everything, in order of file and line."""
    problems = refusals(
        tmp_path,
        "compute:\n  h100: {per_hour: 2.49}\n  x: {per_hour: '-1', color: red}\n",
        card_text(
            "match: {tokens: '*'}, price: {per_million: {input: 1.5, output: '-1'}}",
            "match: {units: a}, price: {each: '1', maximum: '2'}",
        ),
        "card: [\n",
    )
    assert [(p.file.rsplit("/", 1)[1], p.line) for p in problems] == [
        ("card0.yaml", 5),
        ("card0.yaml", 5),
        ("card0.yaml", 6),
        ("card1.yaml", 2),
        ("costs.yaml", 2),
        ("costs.yaml", 3),
        ("costs.yaml", 3),
    ]


def test_a_shadowed_rule_is_refused(tmp_path):
    """A rule that can never match is named, with those that take all that it would."""
    problem = _only(
        refusals(
            tmp_path,
            COSTS,
            card_text(
                "match: {tokens: 'acme/*'}, price: {included: true}",
                "match: {tokens: acme/large}, price: {included: true}",
            ),
        )
    )
    assert (problem.line, problem.column) == (6, 5)
    assert problem.message == "the rule 'r1' can never match: 'r0' above it takes all that it would"
    assert problem.hint == "move it up, or leave it out"


@pytest.mark.parametrize(
    ("above", "below", "shadowed"),
    [
        (["tokens: '*'"], "tokens: 'a/*'", True),
        (["tokens: 'a/*'"], "tokens: '*'", False),
        (["tokens: '*', key_owner: OURS"], "tokens: a/b", False),
        (["tokens: '*', key_owner: OURS", "tokens: '*', key_owner: CUSTOMER"], "tokens: a/b", True),
        (["tokens: '*', service_tier: '*'"], "tokens: a/b", True),
        (["tokens: '*', service_tier: batch"], "tokens: a/b", False),
        (["compute: h100, state: [a, b]"], "compute: h100, state: b", True),
        (["compute: h100, state: a", "compute: h100, state: b"], "compute: h100, state: [b, a]", True),
        (["compute: h100", "compute: spot"], "compute: [spot, h100]", True),
        (["compute: h100"], "compute: [spot, h100]", False),
        (["compute: '*', labels: {t: a}"], "compute: h100", False),
        (["compute: '*', labels: {t: a}"], "compute: h100, labels: {t: a, u: b}", True),
        (["compute: '*', labels: {t: 'a*'}"], "compute: h100, labels: {t: [ab, a]}", True),
        (["compute: '*', labels: {t: 'a*'}"], "compute: h100, labels: {t: [ab, b]}", False),
        (
            [f"outcome: x, result: {r}" for r in ("RESOLVED", "FAILED", "[ESCALATED, ABANDONED]")],
            "outcome: x",
            True,
        ),
        (["outcome: x, result: RESOLVED"], "outcome: x", False),
        (["tokens: '*'"], "outcome: '*'", False),
    ],
)
def test_shadows_are_judged_case_by_case(tmp_path, above, below, shadowed):
    """A rule is shadowed when each of its names and conditions is taken by some rule above it."""
    card = card_text(*(f"match: {{{match}}}, price: {{included: true}}" for match in [*above, below]))
    if shadowed:
        assert "can never match" in _only(refusals(tmp_path, COSTS, card)).message
    else:
        assert config(tmp_path, COSTS, card).cards


def test_two_cards_of_one_name_are_refused(tmp_path):
    """The second one is named, and the file that has the name."""
    problem = _only(refusals(tmp_path, COSTS, GOOD, GOOD))
    assert problem.file.endswith("card1.yaml")
    assert (problem.line, problem.message) == (1, "two cards are named 'test'")
    assert "card0.yaml" in problem.hint


def test_two_rules_of_one_name_are_refused(tmp_path):
    """Runs and reports tell rules apart by their names."""
    card = card_text("match: {units: mail}, price: {each: '1'}", "match: {units: hug}, price: {each: '1'}")
    assert "two rules are named 'r0'" in _only(refusals(tmp_path, COSTS, card.replace("r1", "r0"))).message


def test_missing_files_are_refused(tmp_path):
    """A directory without costs.yaml, or without a card, cannot price."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert [problem.message for problem in caught.value.problems] == [
        "holds no rate card",
        "cannot be read: No such file or directory",
    ]


def test_a_file_that_would_not_be_read_is_refused(tmp_path):
    """A card in a file named .yml is not passed over in silence."""
    config(tmp_path, COSTS, GOOD)
    (tmp_path / "cards" / "more.yml").write_text(GOOD)
    with pytest.raises(ConfigError, match=r"more\.yml: would not be read \(name it \.yaml\)"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is empty"),
        (b"# only a comment\n", "is empty"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"- a\n- b\n", "must be a mapping"),
        (b"just text", "must be a mapping"),
        (b"a: &x {}\nb: *x\n", "an alias is not taken here"),
        (b"a: &x [*x]\n", "an alias is not taken here"),
        (b"a: !!python/object:os.system {}\n", "unknown key 'a'"),
        (b"a: !thing x\n", "the tag '!thing' is not taken here"),
        (b"? [a, b]\n: 1\n", "a key must be text"),
        (b"a: 1\n---\nb: 2\n", "is not YAML"),
        (b"a: \x00\n", "is not YAML"),
        (b"revision: 0x10\n", "0x10 is not a decimal number"),
    ],
)
def test_odd_texts_are_refused(tmp_path, text, message):
    """Nothing that is not plain YAML gets in, and none of it is a traceback."""
    config(tmp_path, COSTS, GOOD)
    (tmp_path / "costs.yaml").write_bytes(text)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert message in str(caught.value)


def test_bad_documents_are_refused():
    """What is no document of a version raises ConfigError, not a fault of some library."""
    for text in ("", "{}", "[]", '{"costs": {"compute": 1}, "catalog": null}'):
        with pytest.raises(ConfigError):
            CostBook.from_document(text)
    for text in ("", "a: [", "card: x\n"):
        with pytest.raises(ConfigError):
            RateCard.from_document(text)


def test_everything_optional_may_be_absent(tmp_path):
    """revision, effective_from, catalog, unknown_cost, margin_floor, title, round: none is needed."""
    made = config(tmp_path, "units: {mail: {each: 1}}", GOOD)
    assert (made.costs.revision, made.cards["test"].revision) == (1, 1)
    assert made.costs.effective_from == made.cards["test"].effective_from
    assert made.costs.effective_from.year == 1970
    assert made.cards["test"].rounding == (1, "half_even")
    assert set(made.costs.units) == {"mail"}
