"""YAML into any model: where a problem is shown, and in what words."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from pricing import ConfigError, Problem, Result, load_model
from pricing.cards.card_document import _members
from pricing.documents.field_types import Duration, Name
from pricing.documents.validate import Places, RefusedError, Strict, read_file, read_text


class Part(Strict):
    """A part of a document."""

    size: int
    life: Duration | None = None


class Document(Strict):
    """A document with parts at every kind of place."""

    first: Part
    more: Annotated[list[Part], Field(min_length=1)] | None = None
    by_name: Mapping[Name, Part] = Field(default_factory=dict)
    mode: Literal["a", "b"] = "a"
    on: bool = True


def _problems(text, model=Document):
    with pytest.raises(ConfigError) as caught:
        read_text(text, model, "f.yaml")
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("more: [{size: 1}]\n", ["f.yaml:1:1: the key 'first' is missing"]),
        ("\n  first:\n    life: 1s\n", ["f.yaml:2:3: the key 'size' is missing"]),
        (
            "first: {size: 1}\nmore:\n  - {size: 1}\n  - {life: 1s}\n",
            ["f.yaml:4:5: the key 'size' is missing"],
        ),
        ("first: {size: 1}\nby_name:\n  x: {}\n", ["f.yaml:3:3: the key 'size' is missing"]),
        (
            "first: {size: 1}\nmore: [{size: 1, sizes: 2}]\n",
            ["f.yaml:2:18: unknown key 'sizes' (allowed here: size, life)"],
        ),
        (
            "first: {size: 1}\nby_name: {x: {size: 1, sizes: 2}}\n",
            ["f.yaml:2:24: unknown key 'sizes' (allowed here: size, life)"],
        ),
        ("first: {size: 1, on: true}", ["f.yaml:1:18: unknown key 'on' (allowed here: size, life)"]),
        (
            "first: {size: 1}\nby_name: {'a b': {size: 1}}\n",
            ["f.yaml:2:11: 'a b' is not a name (write 1 to 128 characters without blanks)"],
        ),
        (
            "first: {size: '1'}",
            ["f.yaml:1:15: 'size': must be a whole number (write size: 1, without quotes)"],
        ),
        ("first: {size: 1}\non: 'yes'\n", ["f.yaml:2:5: 'on': must be true or false (write on: true)"]),
        ("first: {size: 1}\nmode: c\n", ["f.yaml:2:7: 'mode': should be 'a' or 'b'"]),
        (
            "first: {size: 1}\nmore: {}\n",
            ["f.yaml:2:7: 'more': must be a list (write more: [...], or each entry in a line after a dash)"],
        ),
        ("first: {size: 1}\nmode:\n", ["f.yaml:2:6: 'mode': is empty (write a value)"]),
        ("first:\n", ["f.yaml:1:7: 'first': is empty (write a value)"]),
        ("first: 5", ["f.yaml:1:8: 'first': must be a mapping (write {size: ...})"]),
        (
            "5",
            ["f.yaml:1:1: the document: must be a mapping (write first: ..., each in a line of its own)"],
        ),
        ("", ["f.yaml:1:1: is empty (write first: ...)"]),
        ("~", ["f.yaml:1:1: is empty (write first: ...)"]),
        (
            "first: {size: 0x1, life: 0}\nmode: 2.5\n",
            [
                "f.yaml:1:15: 0x1 is not a decimal number (write decimal digits)",
                'f.yaml:1:26: 0 is not a duration (write seconds above 0, or "500ms", "60s", "1m", "1h")',
                'f.yaml:2:7: 2.5 is a float, and floats are not exact (write "2.5" in quotes)',
            ],
        ),
    ],
)
def test_a_problem_is_shown_at_the_nearest_part_that_the_document_holds(text, problems):
    """What is missing at what it is missing in; a key that is wrong at the key, a value at the value."""
    assert _problems(text) == problems


@pytest.mark.parametrize(
    ("text", "life"),
    [
        ("5", 5 * 10**9),
        ("'5'", 5 * 10**9),
        ("0.5s", 5 * 10**8),
        ("500ms", 5 * 10**8),
        ("500 ms", 5 * 10**8),
        ("1m", 60 * 10**9),
        ("1.5h", 5400 * 10**9),
        ("0.000000001s", 1),
        ("0.000001ms", 1),
    ],
)
def test_a_duration_is_a_number_with_its_unit(text, life):
    """Seconds where it names none; down to a nanosecond."""
    assert read_text(f"first: {{size: 1, life: {text}}}", Document, "f").model.first.life == life


class Named(Strict):
    """Names of results."""

    result: Annotated[tuple[str, ...], _members(Result)]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("resolved", ("RESOLVED",)),
        ("[Failed, ABANDONED]", ("FAILED", "ABANDONED")),
        (f"[{', '.join(Result)}]", tuple(Result)),
    ],
)
def test_members_are_named_in_either_case_alone_or_in_a_list(text, names):
    """All of them may be named."""

    class Fresh(Strict):
        result: Annotated[tuple[str, ...], _members(Result)]

    for model in (Named, Fresh):
        assert read_text(f"result: {text}", model, "f").model.result == names


@pytest.mark.parametrize("text", ["won", "[]", "[resolved, won]", "5"])
def test_what_is_no_member_is_refused_with_all_that_are(text):
    """None at all is refused too."""

    class Fresh(Strict):
        result: Annotated[tuple[str, ...], _members(Result)]

    shown = {"won": "'won'", "[]": "[]", "[resolved, won]": "['resolved', 'won']", "5": "5"}[text]
    said = f"f.yaml:1:9: {shown} is not known here (allowed here: RESOLVED, FAILED, ESCALATED, ABANDONED)"
    assert _problems(f"result: {text}", Fresh) == [said]


PLACES = Places(
    "f.yaml",
    {(): (1, 1), ("a",): (2, 4), ("a", 0): (3, 3), ("b",): (9, 4)},
    {("a",): (2, 1), ("b",): (9, 1)},
)


@pytest.mark.parametrize(
    ("loc", "key", "place"),
    [
        (("a",), False, (2, 4)),
        (("a",), True, (2, 1)),
        (("a", 0), False, (3, 3)),
        (("a", 0), True, (2, 1)),
        (("a", 0, "x", 5), False, (3, 3)),
        (("a", 1, "x"), False, (2, 4)),
        (("c", "x"), False, (1, 1)),
        (("c", "x"), True, (1, 1)),
        ((), True, (1, 1)),
    ],
)
def test_what_a_document_does_not_hold_is_shown_above(loc, key, place):
    """At the nearest part above it, or at the nearest key; at the whole document where there is none."""
    assert PLACES.problem(loc, "wrong", key=key) == Problem("f.yaml", *place, "wrong", "")


def test_a_document_without_places_begins_at_its_beginning():
    """Line and column count from 1."""
    assert Places("f", {}, {}).problem(("a",), "wrong", "right") == Problem("f", 1, 1, "wrong", "right")


def test_a_refusal_says_what_is_wrong():
    """The message is the exception's text; a hint and a place are reported where there are any."""
    refused = RefusedError("wrong")
    assert (str(refused), refused.hint, refused.at) == ("wrong", "", ())


def test_a_problem_is_one_line():
    """File, line, column, message and hint, each where there is one."""
    assert str(Problem("f", 3, 4, "wrong", "right")) == "f:3:4: wrong (right)"
    assert str(Problem("f", 0, 0, "wrong", "")) == "f: wrong"
    both = ConfigError([Problem("f", 1, 1, "a", ""), Problem("g", 2, 2, "b", "")])
    assert str(both) == "f:1:1: a\ng:2:2: b"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    """A missing file, a directory: each a problem of the file as a whole."""
    for name, said in (
        ("none.yaml", "cannot be read: No such file or directory"),
        (".", "cannot be read: Is a directory"),
    ):
        with pytest.raises(ConfigError) as caught:
            read_file(tmp_path / name, Document)
        assert caught.value.problems == (Problem(str(tmp_path / name), 0, 0, said, ""),)


def test_bytes_that_are_no_text_are_told_with_their_place(tmp_path: Path):
    """The first of them; columns count letters."""
    path = tmp_path / "f.yaml"
    for text, place in ((b"\xff\xfe", (1, 1)), ("a: 1\ngröße: ".encode() + b"\xe4\n", (2, 8))):
        path.write_bytes(text)
        with pytest.raises(ConfigError) as caught:
            read_file(path, Document)
        assert caught.value.problems == (Problem(str(path), *place, "is not UTF-8 text", "save it as UTF-8"),)


def test_only_files_are_read_and_links_to_files(tmp_path: Path):
    """A pipe without a writer, or a device without an end, would be read for ever."""
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "zeros.yaml").symlink_to("/dev/zero")
    (tmp_path / "text").write_text("first: {size: 1}")
    (tmp_path / "link.yaml").symlink_to("text")
    assert load_model(tmp_path / "link.yaml", Document).first.size == 1
    for name in ("pipe.yaml", "zeros.yaml"):
        said = "is a pipe or a device, and is not read (put a file there, or a link to one)"
        with pytest.raises(ConfigError, match=re.escape(f"{name}: {said}")):
            read_file(tmp_path / name, Document)


def test_text_that_cannot_be_read_as_yaml_is_a_problem_of_the_whole():
    """Where the reader knows no place, none is shown."""
    with pytest.raises(ConfigError) as caught:
        read_text("first: \x00", Document, "f.yaml")
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.column, problem.hint) == ("f.yaml", 0, 0, "")
    assert problem.message.startswith("is not YAML: ")


def test_what_is_read_keeps_its_text_and_its_places(tmp_path: Path):
    """The model, the plain values, the text itself and where each part stands."""
    path = tmp_path / "f.yaml"
    text = "# größe\nfirst: {size: 1}\nmore: [{size: 2}]\n"
    path.write_text(text, encoding="utf-8")
    located = read_file(path, Document)
    assert load_model(path, Document) == located.model
    assert located.model.first.size == 1
    assert (located.plain, located.text) == ({"first": {"size": 1}, "more": [{"size": 2}]}, text)
    assert located.places.file == str(path)
    assert located.places.values[("more", 0, "size")] == (3, 15)
    assert located.places.keys[("more", 0, "size")] == (3, 9)
