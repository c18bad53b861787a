"""Random cards, books and usage, against a model that a person can check: plain fractions, no compiling.

The model shares no code with what it checks: it reads the documents, finds the rule by scanning, and adds up.
"""

import json
from collections import defaultdict
from datetime import UTC, datetime
from fractions import Fraction
from math import ceil
from re import escape, fullmatch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing import (
    Compute,
    CostBook,
    KeyOwner,
    Memory,
    Outcome,
    Result,
    Tokens,
    Treatment,
    Units,
    price,
)
from tests.cards import after, terms_of

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
QUANTITIES = ("input", "cache_read", "cache_write", "cache_write_1h", "output", "reasoning", "input_audio")
FALLBACKS = {
    "cache_write_1h": ("cache_write", "input"),
    "cache_write": ("input",),
    "cache_read": ("input",),
    "reasoning": ("output",),
    "input_audio": ("input",),
}
MODELS, MACHINES, METERS, OUTCOMES = ("a/x", "a/y", "b/x"), ("m1", "m2", "n1"), ("u", "v"), ("o1", "o2")

# --- documents ---------------------------------------------------------------------------------------------

decimals = st.one_of(
    st.integers(0, 10**4).map(str), st.decimals(0, 1000, places=9).map(lambda value: f"{value:f}")
)
percents = st.integers(0, 99).map(lambda value: f"{value}%")
tables = st.builds(
    lambda usual, more: {**usual, **more},
    st.sampled_from([{"input": "3", "output": "15"}, {"input": "0.5"}, {}]),
    st.dictionaries(st.sampled_from((*QUANTITIES, "requests")), decimals, min_size=1, max_size=4),
)
selectors = {
    "tokens": st.sampled_from(["a/x", "a/*", "*", ["a/y", "b/*"], "*/x"]),
    "compute": st.sampled_from(["m1", "m*", "*", ["m2", "n1"]]),
    "units": st.sampled_from(["u", "*"]),
    "outcome": st.sampled_from(["o1", "o*"]),
}
conditions = {
    "tokens": {"key_owner": st.sampled_from(KeyOwner), "service_tier": st.sampled_from(["batch", "*"])},
    "compute": {"state": st.sampled_from(["active", "idle", ["idle", "asleep"]])},
    "units": {},
    "outcome": {"result": st.sampled_from([*Result, [Result.FAILED, Result.ABANDONED]])},
}
seconds = st.integers(1, 300).map(lambda value: f"{value}s")
cost_plus = st.sampled_from(["markup", "margin"]).flatmap(
    lambda way: st.fixed_dictionaries({"cost_plus": st.fixed_dictionaries({way: percents})})
)
per_hour = st.fixed_dictionaries({"per_hour": decimals}, optional={"minimum": seconds, "increment": seconds})
schemes = {
    "tokens": st.one_of(
        st.fixed_dictionaries({"per_million": tables}), st.fixed_dictionaries({"each": tables}), cost_plus
    ),
    "compute": st.one_of(per_hour, cost_plus),
    "units": st.one_of(
        st.fixed_dictionaries({"each": decimals}), st.fixed_dictionaries({"per_million": decimals}), cost_plus
    ),
    "outcome": st.one_of(
        st.fixed_dictionaries({"each": decimals}),
        st.fixed_dictionaries(
            {"outcome": st.dictionaries(st.sampled_from([r.lower() for r in Result]), decimals, min_size=1)}
        ),
    ),
}
labels = st.dictionaries(st.sampled_from(["team", "job"]), st.sampled_from(["red", "blue"]))


@st.composite
def rules(draw, kinds):
    """A rule of one of some kinds, without a name."""
    kind = draw(st.sampled_from(kinds))
    match = {kind: draw(selectors[kind])}
    if draw(st.integers(0, 3)) == 0:
        match |= draw(st.fixed_dictionaries({}, optional=conditions[kind]))
    if draw(st.integers(0, 3)) == 0:
        match["labels"] = draw(labels)
    scheme = schemes[kind]
    plus = st.fixed_dictionaries({"plus": st.lists(scheme, min_size=1, max_size=3)})
    return {"match": match, "price": draw(st.one_of(scheme, plus, plus, st.just({"included": True})))}


def cards(*kinds):
    """Cards whose rules are of some kinds."""
    return st.fixed_dictionaries(
        {
            "card": st.just("random"),
            "credit": st.just("credit"),
            "credit_price_usd": st.decimals("0.01", 10, places=2).map(str),
            "rules": st.lists(rules(kinds), min_size=1, max_size=4).map(
                lambda found: [{"name": f"r{number}", **rule} for number, rule in enumerate(found)]
            ),
        }
    )


def _mostly(names, values):
    """Something of each name, but of one perhaps."""
    return st.tuples(
        st.fixed_dictionaries(dict.fromkeys(names, values)), st.sampled_from((None, *names))
    ).map(lambda drawn: {name: value for name, value in drawn[0].items() if name != drawn[1]})


books = st.fixed_dictionaries(
    {
        "tokens": st.fixed_dictionaries(
            {"models": _mostly(MODELS, st.fixed_dictionaries({"per_million": tables}))}
        ),
        "compute": _mostly(
            MACHINES, st.one_of(st.fixed_dictionaries({"per_hour": decimals}), st.just({"cost": "none"}))
        ),
        "units": _mostly(METERS, st.fixed_dictionaries({"each": decimals})),
    },
    optional={"unknown_cost": st.fixed_dictionaries({"per_million": tables})},
)

# --- usage -------------------------------------------------------------------------------------------------

token_items = st.builds(
    Tokens,
    st.sampled_from(MODELS),
    st.dictionaries(st.sampled_from(QUANTITIES), st.integers(0, 10**6), max_size=3),
    served_by=st.sampled_from([None, None, "cache", *MODELS]),
    key_owner=st.sampled_from(KeyOwner),
    service_tier=st.sampled_from(["", "batch"]),
    requests=st.integers(0, 5),
    occurred_at=st.none(),
)
compute_items = st.builds(
    Compute,
    st.sampled_from(MACHINES),
    st.integers(0, 400 * 10**9),
    st.sampled_from([0, 5 * 10**8, 10**9, 3 * 10**9]),
    served_by=st.sampled_from([None, None, None, "cache", *MACHINES]),
    run_id=st.sampled_from([None, "run1", "run2"]),
    state=st.sampled_from(["active", "idle"]),
    started_at=st.none(),  # see the model of runs
    resized_from=st.none(),
    occurred_at=st.none(),
)
unit_items = st.builds(Units, st.sampled_from(METERS), st.integers(0, 10**12), occurred_at=st.none())
outcome_items = st.builds(
    Outcome,
    st.sampled_from(OUTCOMES),
    st.sampled_from(Result),
    count=st.integers(0, 5),
    occurred_at=st.none(),
)
ITEMS = {"tokens": token_items, "compute": compute_items, "units": unit_items, "outcome": outcome_items}
any_card = cards(*ITEMS)
any_usage = st.lists(st.one_of(*ITEMS.values()), max_size=8)

# --- the model ---------------------------------------------------------------------------------------------


def _listed(value):
    return value if isinstance(value, list) else [value]


def _matches(patterns, text):
    return any(
        fullmatch(".*".join(escape(part) for part in pattern.split("*")), text)
        for pattern in _listed(patterns)
    )


def _kind(item):
    return {Tokens: "tokens", Compute: "compute", Units: "units", Outcome: "outcome"}[type(item)]


def _name(item):
    return {"tokens": "model", "compute": "resource", "units": "meter", "outcome": "name"}[_kind(item)]


def _rule(card, item, given_labels):
    for rule in card["rules"]:
        match = dict(rule["match"])
        wanted = match.pop("labels", {})
        patterns = match.pop(_kind(item), None)
        if patterns is None or not _matches(patterns, getattr(item, _name(item))):
            continue
        if not all(_matches(value, getattr(item, key)) for key, value in match.items()):
            continue
        if all(key in given_labels and _matches(value, given_labels[key]) for key, value in wanted.items()):
            return rule
    return None


def _rate(table, key):
    found = next((table[name] for name in (key, *FALLBACKS.get(key, ())) if name in table), None)
    return Fraction(found) if found is not None else Fraction(0) if key == "requests" else None


def _sum(table, item, per):
    """What the tokens come to, and the quantities that have no rate."""
    used = {**item.quantities, "requests": item.requests}
    rates = {key: _rate(table, key) for key in used}
    total = sum((rates[key] * used[key] / per for key in used if rates[key] is not None), Fraction(0))
    return total, {key for key, quantity in used.items() if quantity and rates[key] is None}


def _tokens_cost(table, item):
    if table is None:
        return None
    total, missing = _sum(table["per_million"], item, 10**6)
    return None if missing else total


def _hours(item):
    return Fraction(item.duration_nanos, 10**9 * 3600) * Fraction(item.count_nanos, 10**9)


def _costs(book, item):
    """(asked, posted, whether that is what it costs), in dollars."""
    kind = _kind(item)
    if kind == "outcome":
        return Fraction(0), Fraction(0), True
    if kind == "units":
        rate = book["units"].get(item.meter)
        cost = rate and Fraction(rate["each"]) * Fraction(item.quantity_nanos, 10**9)
        return cost, cost or Fraction(0), cost is not None
    if kind == "tokens":
        models = book["tokens"]["models"]
        asked = _tokens_cost(models.get(item.model), item)
        ran = item.served_by or item.model
        served = Fraction(0) if ran == "cache" else _tokens_cost(models.get(ran), item)
        if item.key_owner is KeyOwner.CUSTOMER:
            return asked, Fraction(0), True
        unknown = _tokens_cost(book.get("unknown_cost"), item)
    else:
        asked, served = (
            Fraction(0)
            if name == "cache"
            else Fraction(book["compute"][name].get("per_hour", 0)) * _hours(item)
            if name in book["compute"]
            else None
            for name in (item.resource, item.served_by or item.resource)
        )
        unknown = None
    if served is not None:
        return asked, served, True
    if unknown is not None:
        return asked, unknown, False
    return asked, asked or Fraction(0), False


def _meter(part, total):
    if not total:
        return 0
    minimum, increment = (int(part.get(key, "0s")[:-1]) * 10**9 for key in ("minimum", "increment"))
    billed = max(total, minimum)
    return ceil(Fraction(billed, increment)) * increment if increment else billed


def _parts_price(card, rule, item, asked, past):
    """The price in credits; None if there is none. `past` is how long each meter of each run has run."""
    parts = rule["price"].get("plus", [rule["price"]])
    if asked is None and any("cost_plus" in part for part in parts):
        return None
    total, unrated = Fraction(0), None
    for index, part in enumerate(parts):
        (scheme,) = set(part) - {"minimum", "increment"}
        missing = set()
        if scheme == "cost_plus":
            (way, percent) = next(iter(part["cost_plus"].items()))
            share = Fraction(percent[:-1]) / 100
            factor = 1 + share if way == "markup" else 1 / (1 - share)
            theirs = getattr(item, "key_owner", KeyOwner.OURS) is KeyOwner.CUSTOMER
            total += asked * (factor - 1 if theirs else factor) / Fraction(card["credit_price_usd"])
        elif isinstance(item, Tokens):
            added, missing = _sum(part[scheme], item, 10**6 if scheme == "per_million" else 1)
            total += added
        elif isinstance(item, Compute):
            key = (item.run_id, rule["name"], index, item.count_nanos)
            before = past[key]
            if item.count_nanos:
                past[key] += item.duration_nanos
            billed = _meter(part, past[key]) - _meter(part, before)
            total += Fraction(part["per_hour"]) * billed / (3600 * 10**9) * item.count_nanos / 10**9
        elif isinstance(item, Units):
            per = 10**6 if scheme == "per_million" else 1
            total += Fraction(part[scheme]) * Fraction(item.quantity_nanos, 10**9) / per
        elif scheme == "each":
            total += Fraction(part["each"]) * item.count
        else:
            total += Fraction(part["outcome"].get(item.result.lower(), 0)) * item.count
        unrated = missing if unrated is None else unrated & missing
    return None if unrated else total


def _expected(card, book, item, given_labels, past):
    asked, posted, _ = _costs(book, item)
    rule = _rule(card, item, given_labels)
    if rule is None:
        return Treatment.UNPRICED, Fraction(0), posted
    if "included" in rule["price"]:
        return Treatment.INCLUDED, Fraction(0), posted
    charged = _parts_price(card, rule, item, asked, past)
    if charged is None:
        return Treatment.UNPRICED, Fraction(0), posted
    return Treatment.CHARGED, charged, posted


# --- the properties ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*ITEMS, "any"])
@settings(max_examples=200, deadline=None)
@given(data=st.data(), book=books, given_labels=labels)
def test_prices_and_costs_are_those_of_the_model(kind, data, book, given_labels):
    """Treatment, exact price and exact posted cost of each line, over any card, book and usage."""
    card = data.draw(cards(kind) if kind in ITEMS else any_card)
    items = data.draw(st.lists(ITEMS[kind], min_size=1, max_size=8) if kind in ITEMS else any_usage)
    quote = price(items, given_labels, terms_of(card, CostBook(book, None)), Memory(), now=NOW)
    past = defaultdict(int)
    expected = [_expected(card, book, item, given_labels, past) for item in items]
    assert [
        (line.treatment, line.exact_micros / 10**6, line.cost_exact_nanousd / 10**9) for line in quote.lines
    ] == expected
    assert [line.costs.known for line in quote.lines] == [_costs(book, item)[2] for item in items]
    assert quote.exact_micros == sum(line.exact_micros for line in quote.lines)
    assert quote.unpriced == tuple(n for n, line in enumerate(expected) if line[0] is Treatment.UNPRICED)


@settings(max_examples=40, deadline=None)
@given(cards("compute"), books, st.lists(compute_items, max_size=8), labels, st.data())
def test_however_a_session_is_cut_it_costs_the_same(card, book, items, given_labels, data):
    """One call or many, the states carried as text: the same lines, the same states at the end."""
    terms = terms_of(card, CostBook(book, None))
    whole = price(items, given_labels, terms, Memory(), now=NOW)
    memory, lines, rest = Memory(), [], list(items)
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        part = price(rest[:size], given_labels, terms, memory, now=NOW)
        memory, lines, rest = after(memory, part), lines + list(part.lines), rest[size:]
    assert [line.exact_micros for line in lines] == [line.exact_micros for line in whole.lines]
    assert (dict(memory.states), memory.own_run) == (
        {key: state.text for key, state in whole.states.items()},
        whole.own_run,
    )


@settings(max_examples=40, deadline=None)
@given(any_card, books, any_usage, labels)
def test_an_estimate_does_not_depend_on_what_served(card, book, items, given_labels):
    """`served_by` changes nothing of what an estimate says in public."""
    terms = terms_of(card, CostBook(book, None))

    def reported(some):
        quote = price(some, given_labels, terms, Memory(), now=NOW, estimate=True)
        return [(line.public, line.exact_micros, line.treatment) for line in quote.lines]

    def plain(item):
        if isinstance(item, Tokens):
            return Tokens(item.model, item.quantities, None, item.key_owner, item.service_tier, item.requests)
        if isinstance(item, Compute):
            return Compute(
                item.resource, item.duration_nanos, item.count_nanos, None, item.run_id, item.state
            )
        return item

    assert reported(items) == reported([plain(item) for item in items])


@settings(max_examples=40, deadline=None)
@given(any_card, books, any_usage)
def test_nothing_is_negative_and_public_lines_are_json(card, book, items):
    """No price and no cost is below 0; what leaves is plain JSON without a word of cost."""
    quote = price(items, {}, terms_of(card, CostBook(book, None)), Memory(), now=NOW)
    for line in quote.lines:
        assert line.exact_micros >= 0
        assert line.cost_exact_nanousd >= 0
        assert set(json.loads(json.dumps(line.public))) == {"title", "kind", "name", "quantities"}
        assert json.loads(json.dumps(line.internal)) == line.internal
