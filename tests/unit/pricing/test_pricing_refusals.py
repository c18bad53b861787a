"""What is refused in cost books and cards: with file, line, column and what to write instead."""

import re
from pathlib import Path

import pytest
from pricing_world import COSTS, config, refusals

from pricing import CREDIT_PRICE_MAX_NANOUSD, ConfigError, CostBook, RateCard, load
from tests.cards import card_text

REFUSED = Path(__file__).parent / "refused"
GOOD = card_text("match: {tokens: '*'}, price: {per_million: {input: '1'}}")


def _only(problems):
    (problem,) = problems
    return problem


def _cases(name):
    """The cases of a file: what is written, and the problems that it has, one a line."""
    lines = (REFUSED / name).read_text(encoding="utf-8").splitlines()
    cases = []
    for line in lines[lines.index("") :]:
        if line.startswith("    "):
            cases[-1][1].append(line.strip())
        elif line:
            cases.append((line, []))
    return cases


def _written(text):
    return text.replace("\\n", "\n").replace("\\t", "\t")


def _card(case):
    how, _, text = case.partition(" ")
    text = _written(text)
    if how == "rule":
        return card_text(text)
    if how == "with":
        return f"{GOOD}{text}\n"
    assert how == "line", case
    number, _, text = text.partition(" ")
    lines = GOOD.splitlines()
    lines[int(number) - 1] = text
    return "\n".join(lines) + "\n"


def _shown(directory, problems):
    """The problems as they are shown, but for the directory that they are in."""
    return [str(problem).replace(f"{directory}/", "") for problem in problems]


@pytest.mark.parametrize(("case", "problems"), _cases("cards.txt"))
def test_a_card_is_refused_where_it_is_wrong(tmp_path, case, problems):
    """Each mistake is named at its own line and column, with what to write instead."""
    assert _shown(tmp_path, refusals(tmp_path, COSTS, _card(case))) == problems


@pytest.mark.parametrize(("case", "problems"), _cases("costs.txt"))
def test_a_cost_book_is_refused_where_it_is_wrong(tmp_path, case, problems):
    """Each mistake is named at its own line and column, with what to write instead."""
    assert _shown(tmp_path, refusals(tmp_path, _written(case), GOOD)) == problems


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
    assert problem.hint == f"give it a name of its own: {tmp_path}/cards/card0.yaml has this one"


def test_a_cost_book_that_knows_nothing_says_so(tmp_path):
    """Of machines and of units alike."""
    card = card_text(
        "match: {units: 'm*'}, price: {each: '1'}", "match: {compute: a}, price: {per_hour: '1'}"
    )
    assert _shown(tmp_path, refusals(tmp_path, "revision: 1", card)) == [
        "cards/card0.yaml:5:31: the cost book knows no unit 'm*' (it knows none)",
        (
            "cards/card0.yaml:6:33: the cost book knows no resource 'a' "
            '(it knows none; add to costs.yaml compute: {a: {per_hour: "2.49"}}, or {cost: none})'
        ),
    ]


def test_two_rules_of_one_name_are_refused(tmp_path):
    """Runs and reports tell rules apart by their names."""
    card = card_text("match: {units: mail}, price: {each: '1'}", "match: {units: hug}, price: {each: '1'}")
    problem = _only(refusals(tmp_path, COSTS, card.replace("r1", "r0")))
    assert (
        str(problem).partition(":")[2] == "6:6: two rules are named 'r0' (give each rule a name of its own)"
    )


def test_missing_files_are_refused(tmp_path):
    """A directory without costs.yaml, or without a card, cannot price."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert _shown(tmp_path, caught.value.problems) == [
        "cards: holds no rate card (add a file such as cards/basic.yaml)",
        "costs.yaml: cannot be read: No such file or directory",
    ]


def test_a_file_that_would_not_be_read_is_refused(tmp_path):
    """A card in a file named .yml is not passed over in silence."""
    config(tmp_path, COSTS, GOOD)
    (tmp_path / "cards" / "more.yml").write_text(GOOD)
    with pytest.raises(ConfigError, match=r"more\.yml: would not be read \(name it \.yaml\)"):
        load(tmp_path)


def test_only_cards_are_read(tmp_path):
    """Hidden files, which editors leave behind, and notes beside the cards are none."""
    config(tmp_path, COSTS, GOOD)
    for name in (".card0.yaml", "notes.txt", ".hidden"):
        (tmp_path / "cards" / name).write_text("card: [")
    assert set(load(tmp_path).cards) == {"test"}


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
        with pytest.raises(ConfigError) as caught:
            CostBook.from_document(text)
        (problem,) = caught.value.problems
        assert (problem.file, problem.line, problem.column, problem.hint) == ("<cost book>", 0, 0, "")
        assert re.match(r"is not the document of a cost book: \S", problem.message)
    for text, said in (
        ("", "<rate card>:1:1: is empty"),
        ("a: [", "<rate card>:2:1: is not YAML"),
        ("card: x\n", "<rate card>:1:1: "),
    ):
        with pytest.raises(ConfigError) as caught:
            RateCard.from_document(text)
        assert str(caught.value).startswith(said)


def test_everything_optional_may_be_absent(tmp_path):
    """revision, effective_from, catalog, unknown_cost, margin_floor, title, round: none is needed."""
    made = config(tmp_path, "units: {mail: {each: 1}}", GOOD)
    assert (made.costs.revision, made.cards["test"].revision) == (1, 1)
    assert made.costs.effective_from == made.cards["test"].effective_from
    assert made.costs.effective_from.year == 1970
    assert made.cards["test"].rounding == (1, "half_even")
    assert set(made.costs.units) == {"mail"}


def test_the_largest_price_of_a_credit_is_taken(tmp_path):
    """The price of a credit stands in each entry, in 64 bits: a billion dollars is taken, more is refused."""
    text = GOOD.replace("credit_price_usd: '1'", "credit_price_usd: '1000000000'")
    assert text != GOOD
    [card] = config(tmp_path, COSTS, text).cards.values()
    assert card.credit_price_nanousd == CREDIT_PRICE_MAX_NANOUSD
