"""Random histories of machines that start, stop and are resized, told in any order and in any pieces.

The model reads a finished history once, in order of time, one level of the hourly rate after the other, and
shares no code with what it checks. Instants and durations are small, so that edges are often met.
"""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import accumulate, pairwise
from math import ceil
from operator import itemgetter

from hypothesis import given, settings
from hypothesis import strategies as st

from pricing import Compute, CostBook, Memory, price, unwind
from tests.cards import document_of, terms_of

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
RATES = {"a": 1, "b": 2, "c": 4, "d": 4}
"""Credits a second: the levels of the model are those between whole numbers."""
BOOK = CostBook({"compute": {name: {"cost": "none"} for name in RATES}}, None)

bounds = st.fixed_dictionaries(
    {"minimum": st.integers(1, 12)},
    optional={"increment": st.integers(1, 5), "maximum": st.integers(0, 60), "minimum_again": st.just(True)},
)


def _card(rule):
    """One rule for each size, all with the same bounds."""
    price = {
        **{key: f"{rule[key]}s" for key in ("minimum", "increment") if key in rule},
        **({"maximum": str(rule["maximum"])} if "maximum" in rule else {}),
        **({"minimum_again": {"within": f"{rule['minimum']}s"}} if "minimum_again" in rule else {}),
    }
    rules = [
        {"name": name, "match": {"compute": name}, "price": {"per_hour": str(rate * 3600), **price}}
        for name, rate in RATES.items()
    ]
    return document_of(rules)


def _terms(rule):
    return terms_of(_card(rule), BOOK)


@st.composite
def histories(draw):
    """What one machine did: (since when, size, seconds, size before or None), in order of time."""
    history, now, size = [], draw(st.integers(0, 5)), None
    for _ in range(draw(st.integers(1, 7))):
        before = size if draw(st.booleans()) else None
        size = draw(st.sampled_from(list(RATES)))
        seconds = draw(st.integers(1, 15))
        history.append((now, size, seconds, before))
        now += seconds
        if draw(st.booleans()):
            now += draw(st.integers(1, 20))
            size = None
    return history


def _parts(history):
    """The usage that reports it."""
    return [
        Compute(
            size, seconds * 10**9, run_id="r", started_at=NOW + timedelta(seconds=at), resized_from=before
        )
        for at, size, seconds, before in history
    ]


# --- the model ---------------------------------------------------------------------------------------------


def _billed(rule, seconds):
    increment = rule.get("increment")
    billed = max(seconds, rule["minimum"])
    return ceil(Fraction(billed, increment)) * increment if increment else billed


def _model(rule, history):
    """Credits of a history: each level's stretches, by who began them, and then the maximum of each.

    Of a resized machine whose start is not told the size before began what it ran at.
    """
    spent = dict.fromkeys(RATES, 0)
    for level in range(max(RATES.values())):
        stretches = []
        for at, size, seconds, before in history:
            if RATES[size] <= level:
                continue
            goes_on = before is not None and RATES[before] > level
            last = stretches[-1] if stretches else None
            if (last and goes_on) or (
                last
                and "minimum_again" not in rule
                and last["by"] == size
                and at < last["at"] + rule["minimum"]
            ):
                last["seconds"] += seconds
            else:
                stretches.append({"at": at, "by": before if goes_on else size, "seconds": seconds})
        for stretch in stretches:
            spent[stretch["by"]] += _billed(rule, stretch["seconds"])
    return sum(min(amount, rule.get("maximum", amount)) for amount in spent.values())


# --- the properties ----------------------------------------------------------------------------------------


def _charged(terms, calls):
    """What each call is charged, in credits, and the state that is left."""
    memory, charged = Memory(), []
    for items in calls:
        quote = price(items, {}, terms, memory, now=NOW)
        states = {key: state.text for key, state in quote.states.items()}
        memory = Memory({**memory.states, **states}, quote.own_run)
        charged.append(quote.exact_micros / 10**6)
    return charged, json.loads(memory.states.get("run/r") or "{}")


def _pieces(draw, history):
    """The same stretches, each cut into some of the same segment."""
    for at, size, seconds, before in history:
        left = seconds
        while left:
            piece = draw(st.integers(1, left))
            yield at, size, piece, before
            left -= piece


def _told(pieces):
    """The history that pieces of it tell, in order of time."""
    seconds = Counter()
    for at, size, piece, before in pieces:
        seconds[at, size, before] += piece
    stretches = sorted(seconds, key=itemgetter(0))
    return [(at, size, seconds[at, size, before], before) for at, size, before in stretches]


def _calls(draw, pieces):
    """The same pieces, some in each call."""
    while pieces:
        size = draw(st.integers(1, len(pieces)))
        yield pieces[:size]
        pieces = pieces[size:]


@settings(max_examples=150, deadline=None)
@given(bounds, histories(), st.data())
def test_a_run_costs_what_the_model_says_however_it_is_told(rule, history, data):
    """In any order, in any pieces, in any number of calls it costs the same, but for what is carried on.

    What is reported late may show that less was due. So by each piece the run has been charged the most that
    what was reported has amounted to.
    """
    pieces = data.draw(st.permutations(list(_pieces(data.draw, history))))
    calls = list(_calls(data.draw, pieces))
    most = list(accumulate((_model(rule, _told(pieces[:n])) for n in range(len(pieces) + 1)), max))
    ends = accumulate(map(len, calls), initial=0)
    charged, state = _charged(_terms(rule), [_parts(call) for call in calls])
    assert charged == [most[end] - most[start] for start, end in pairwise(ends)]
    assert Fraction(state.pop("carried", 0), 3600 * 10**27) == most[-1] - _model(rule, history)
    whole, states = _charged(_terms(rule), [_parts(history)])
    assert state == states
    assert whole == [_model(rule, history)]


@settings(max_examples=60, deadline=None)
@given(bounds, histories())
def test_what_is_told_in_order_costs_at_each_step_what_the_model_says(rule, history):
    """A part costs the run after it less the run before it."""
    charged, state = _charged(_terms(rule), [[part] for part in _parts(history)])
    assert "carried" not in state
    sums = [_model(rule, history[:size]) for size in range(len(history) + 1)]
    assert charged == [after - before for before, after in pairwise(sums)]


@settings(max_examples=150, deadline=None)
@given(bounds, histories(), st.data())
def test_what_is_left_of_a_run_is_paid_whatever_is_undone(rule, history, data):
    """With each part that is reported the others have paid what they cost, but for what is carried on."""
    terms, reported, states = _terms(rule), {}, {}
    for number, part in enumerate(data.draw(st.permutations(_parts(history)))):
        quote = price([part], {}, terms, Memory(states), now=NOW)
        states |= {key: state.text for key, state in quote.states.items()}
        reported[number] = quote.lines[0], part
        carried = Fraction(json.loads(states["run/r"]).get("carried", 0), 3600 * 10**27)
        whole = price([part for _, part in reported.values()], {}, terms, Memory(), now=NOW)
        paid = sum(line.exact_micros for line, _ in reported.values()) / 10**6
        due = json.loads(whole.states["run/r"].text).get("carried", 0)
        assert carried >= 0
        assert paid - carried == whole.exact_micros / 10**6 - Fraction(due, 3600 * 10**27)
        for undone in data.draw(st.sets(st.sampled_from(sorted(reported)))):
            line, _ = reported.pop(undone)
            states |= {key: state.text for key, state in unwind(line.effects, states).items()}
        assert reported or states["run/r"] == ""
