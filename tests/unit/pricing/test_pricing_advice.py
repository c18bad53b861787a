"""Advice that a message gives is taken: what it says to write is not refused where it was written."""

from __future__ import annotations

import json
import re

import pytest
from pricing_world import COSTS
from test_pricing_refusals import GOOD, _card, _cases, _written

from pricing import ConfigError, load
from pricing.documents.yaml_reader import read_plain
from tests.cards import write_config

_QUOTED = re.compile(r'(?:^write |^write seconds above 0, |such as |, |or |write )"([^"]+)"')


def _values(hint):
    """What is to stand in place of a value, as the hint quotes it, all alternatives."""
    if not re.match(r'write ("|a percentage|a rate|a decimal|seconds above)', hint):
        return []
    return _QUOTED.findall(hint) or re.findall(r'"([^"]+)"', hint)


def _advised():
    for name in ("cards.txt", "costs.txt"):
        for case, problems in _cases(name):
            text = _card(case) if name == "cards.txt" else _written(case)
            for problem in problems:
                place, _, said = problem.partition(": ")
                *_, line, column = place.split(":")
                hint = re.search(r"\((write .*|leave it out)\)$", said)
                if hint is None:
                    continue
                wanted = [None] if hint[1] == "leave it out" else _values(hint[1])
                for value in wanted:
                    yield pytest.param(
                        name, text, (int(line), int(column)), value, id=f"{name} {case}: {value}"
                    )


def _problems(directory, costs, card):
    try:
        load(write_config(directory, costs, card))
    except ConfigError as error:
        return error.problems
    return ()


def _replaced(document, loc, value):
    """The document with another value at a place, or without what stands there."""
    *above, last = loc
    part = document
    for key in above:
        part = part[key]
    if value is None:
        del part[last]
    else:
        part[last] = value
    return document


@pytest.mark.parametrize(("name", "text", "place", "value"), list(_advised()))
def test_advice_is_taken(tmp_path, name, text, place, value):
    """Where the message stands, what it says to write is written, and nothing is refused there any more."""
    document = read_plain(text)
    places = [*(document.values.items() if value is not None else ()), *document.keys.items()]
    found = [loc for loc, stands in places if stands == place and loc]
    assert found
    loc = found[0]
    mended = json.dumps(_replaced(document.value, loc, value))
    costs, card = (COSTS, mended) if name == "cards.txt" else (mended, GOOD)
    file = "card0.yaml" if name == "cards.txt" else "costs.yaml"
    stands = read_plain(mended)
    at = {place for place in (stands.values.get(loc), stands.keys.get(loc)) if place}
    problems = _problems(tmp_path, costs, card)
    refused = [each for each in problems if each.file.endswith(file) and (each.line, each.column) in at]
    assert refused == []


@pytest.mark.parametrize(
    ("written", "advice"),
    [
        ("0.4", 'write "40%", or "0.4%" if that is meant'),
        ("'0.4'", 'write "40%", or "0.4%" if that is meant'),
        ("40", 'write "40%"'),
        ("1e-1", 'write a percentage of at most 9 fractional digits, such as "30%"'),
    ],
)
def test_a_share_without_its_sign_is_advised_what_it_most_likely_is(tmp_path, written, advice):
    """A number below 1 is most likely a ratio, one above a percentage."""
    with pytest.raises(ConfigError) as caught:
        load(write_config(tmp_path, COSTS, f"{GOOD}margin_floor: {written}\n"))
    [problem] = caught.value.problems
    assert problem.hint == advice
