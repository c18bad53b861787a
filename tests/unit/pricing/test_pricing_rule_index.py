"""Patterns and rules that are found by an index: the same that a scan finds, by a few comparisons."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.cards import patterns as selectors
from pricing.cards import rule_index
from pricing.cards.patterns import Index, covers, is_glob
from pricing.cards.rule_index import Finder

letters = st.text("ab*", max_size=6)
patterns = letters.filter(bool)


def _slowly(wide, narrow):
    """Whether a pattern matches a text, letter by letter; only a `*` of the pattern is any text."""
    if not wide:
        return not narrow
    if wide[0] == "*":
        return _slowly(wide[1:], narrow) or (bool(narrow) and _slowly(wide, narrow[1:]))
    return bool(narrow) and wide[0] == narrow[0] and _slowly(wide[1:], narrow[1:])


def _expected(wide, narrow):
    return _slowly(wide, narrow) if is_glob(wide) else wide == narrow


@settings(max_examples=200, deadline=None)
@given(patterns, letters)
def test_a_pattern_covers_what_it_matches_letter_by_letter(wide, narrow):
    """Texts and patterns alike."""
    assert covers(wide, narrow) is _expected(wide, narrow)


@settings(max_examples=200, deadline=None)
@given(st.sets(patterns, max_size=12), letters)
def test_an_index_finds_the_patterns_that_match(many, name):
    """Each once, whatever piece of its text it is filed under."""
    found = Index((pattern, pattern) for pattern in many).find(name)
    assert sorted(found) == sorted(pattern for pattern in many if _expected(pattern, name))


rules = st.tuples(
    st.lists(patterns, min_size=1, max_size=3),
    st.dictionaries(st.sampled_from(["x", "y"]), st.lists(patterns, min_size=1, max_size=2)),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(rules, max_size=10), letters, st.dictionaries(st.sampled_from(["x", "y"]), letters))
def test_candidates_ascend_and_hold_every_rule_that_matches(many, name, values):
    """A rule that matches in all is among them; one whose name does not match is not."""
    found = list(Finder(many).candidates(name, values.get))
    assert found == sorted(found)

    def one_of(some, text):
        return any(_expected(pattern, text) for pattern in some)

    matching = {
        number
        for number, (names, facets) in enumerate(many)
        if one_of(names, name)
        and all(facet in values and one_of(some, values[facet]) for facet, some in facets.items())
    }
    assert matching <= set(found)
    assert all(one_of(many[number][0], name) for number in found)


def _comparisons(monkeypatch, size, rule_of):
    """How often a pattern is tried when every rule of so many is looked for among all."""
    tried = [0]

    def counting(pattern):
        def test(name):
            tried[0] += 1
            return covers(pattern, name)

        return test

    many = [rule_of(number) for number in range(size)]
    with monkeypatch.context() as patch:
        # Time is no measure on a busy machine: what is counted is the work.
        patch.setattr(selectors, "compile_pattern", counting)
        found = rule_index.Finder(many)
        patch.undo()
        for number, (names, facets) in enumerate(many):
            values = {facet: some[0] for facet, some in facets.items()}
            assert next(found.candidates(names[0], values.get)) == number
    return tried[0]


def test_work_grows_with_the_number_of_rules(monkeypatch):
    """Ten times the rules, ten times the comparisons: by names, globs of any kind, and labels."""
    for rule_of in (
        lambda n: ([f"acme/model-{n}"], {}),
        lambda n: ([f"acme/model-{n}-*"], {}),
        lambda n: ([f"*-{n}"], {}),
        lambda n: ([f"acme/*-{n}-*"], {}),
        lambda n: (["acme/*"], {"team": [f"t{n}"]}),
        lambda n: (["acme/*"], {"env": ["prod"], "team": [f"t{n}-*"]}),
    ):
        assert _comparisons(monkeypatch, 2000, rule_of) <= 12 * _comparisons(monkeypatch, 200, rule_of) + 100
