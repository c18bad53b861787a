"""YAML into plain values: what words mean, where they stand, what is not taken."""

import pytest

from pricing.documents.yaml_reader import NotYamlError, read_plain


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("on", "on"),
        ("True", True),
        ("false", False),
        ("~", None),
        ("", None),
        ("'true'", "true"),
        ('"5"', "5"),
        ("5", 5),
        ("-07", -7),
        ("1_000", 1000),
        ("+3", 3),
        ("1:30", "1:30"),
        ("2026-11-01", "2026-11-01"),
        ("2026-11-01T00:00:00Z", "2026-11-01T00:00:00Z"),
        ("1.2.3", "1.2.3"),
        ("-", [None]),
        ("<<", "<<"),
        ("!!str 5", "5"),
        ("!!int '5'", 5),
        ("!!bool 'true'", True),
        ("|\n  a\n  b\n", "a\nb\n"),
        ("[a, [b], {c: d}]", ["a", ["b"], {"c": "d"}]),
        ("- 1\n- a: 2\n  b:\n", [1, {"a": 2, "b": None}]),
        ("1: a\ntrue: b\n~: c\n", {"1": "a", "true": "b", "~": "c"}),
    ],
)
def test_words_mean_what_yaml_1_2_says(text, value):
    """Only true and false are booleans, a date is text; a key is text, whatever it looks like."""
    found = read_plain(text)
    assert (found.value, found.refused) == (value, [])


@pytest.mark.parametrize(
    "text", ["1.5", "1.", ".5", "-1e3", "1e+3", "1.5E-3", ".inf", "-.Inf", ".nan", "!!float 5"]
)
def test_floats_are_refused(text):
    """In every way of writing them, and with the way out."""
    (refused,) = read_plain(f"a: {text}").refused
    word = text.removeprefix("!!float ")
    assert refused[:3] == (
        (1, 4),
        f"{word} is a float, and floats are not exact",
        f'write "{word}" in quotes',
    )


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a: 0x1F", (1, 4), "0x1F is not a decimal number"),
        ("a: 0o17", (1, 4), "0o17 is not a decimal number"),
        ("a: !!int x", (1, 4), "x is not a decimal number"),
        ("a: !thing x", (1, 4), "the tag '!thing' is not taken here"),
        ("a: !!bool x", (1, 4), "the tag 'bool' is not taken here"),
        ("a: !!binary x", (1, 4), "the tag 'binary' is not taken here"),
        ("a: &x 1\nb: *x", (2, 4), "an alias is not taken here"),
        ("a: *x", (1, 4), "an alias is not taken here"),
        ("a: 1\nb: 2\na: [1.5]", (3, 1), "the key 'a' stands here twice"),
        ("{a: 1, a: {b: {c: [1.5]}}, d: 2}", (1, 8), "the key 'a' stands here twice"),
        ("? [a, 1.5]\n: {b: [1.5]}\n", (1, 3), "a key must be text"),
        ("*x : 1", (1, 1), "a key must be text"),
        ('a: ["b", "c\\0d"]', (1, 10), "the control character U+0000 is not taken here"),
        ('a: 1\n"b\\e": 1', (2, 1), "the control character U+001B is not taken here"),
        ('a: "\\x7f"', (1, 4), "the control character U+007F is not taken here"),
        ('a: "\\N"', (1, 4), "the control character U+0085 is not taken here"),
    ],
)
def test_what_is_not_plain_is_refused_at_its_place(text, place, message):
    """Once; of a key that is not taken the value is read over."""
    (refused,) = read_plain(text).refused
    assert (refused.place, refused.message) == (place, message)


def test_text_may_have_line_breaks_and_tabs():
    """And whatever else is to be seen, in any script."""
    assert read_plain('a: "b\\n\\tgröße \u200d"\nc: |\n  d\n').refused == []


def test_what_follows_a_refused_key_is_read():
    """One problem hides no other, and what is taken keeps its place."""
    found = read_plain("{a: 1, a: {b: [c]}, ? [x] : [y], d: 2}")
    assert found.value == {"a": 1, "d": 2}
    assert (found.keys[("d",)], found.values[("d",)]) == ((1, 34), (1, 37))
    assert len(found.refused) == 2


def test_every_part_has_its_place():
    """Lines and columns from 1, columns in letters; of keys and of values."""
    found = read_plain('größe:\n  - {"ä": x, b: y}\n  - |\n    text\n')
    assert found.values == {
        (): (1, 1),
        ("größe",): (2, 3),
        ("größe", 0): (2, 5),
        ("größe", 0, "ä"): (2, 11),
        ("größe", 0, "b"): (2, 17),
        ("größe", 1): (3, 5),
    }
    assert found.keys == {("größe",): (1, 1), ("größe", 0, "ä"): (2, 6), ("größe", 0, "b"): (2, 14)}


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a: b: c", (1, 5), "mapping values are not allowed in this context"),
        ("a: 'x", (1, 4), "not closed to the end of the text: found unexpected end of stream"),
        ("a: 1\nb: [1, 2\n\n", (2, 4), "not closed to the end of the text: did not find expected ',' or ']'"),
        ("a: {b: 1\nc: [", (2, 2), "did not find expected ',' or '}'"),
        ("a: 1\n---\nb: 2", (2, 1), "expected one document, but found another"),
        ("[" * 51 + "]" * 51, (1, 51), "lists and mappings go deeper than 50"),
        ("a: \x00", (0, 0), None),
    ],
)
def test_text_that_is_not_yaml_is_refused(text, place, message):
    """With the place that the parser names, if it does."""
    with pytest.raises(NotYamlError) as caught:
        read_plain(text)
    assert caught.value.place == place
    assert message is None or str(caught.value) == message


def test_lists_and_mappings_may_go_fifty_deep():
    """One after another as often as one likes."""
    text = "[" * 50 + "]" * 50
    assert read_plain(text).refused == []
    assert read_plain("\n".join(f"k{n}: {text[1:-1]}" for n in range(60))).refused == []
