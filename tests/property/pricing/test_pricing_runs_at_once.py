"""Many parts of a run in one call cost what a reading of the whole run, before and after each, says they do.

The plain way here reads all of a run anew for each part, from the keys of its state. Sizes of several meters,
counts, states of a machine, starts at one instant and parts without a start are mixed as they come.
"""

import json
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from pricing import Compute, CostBook, Memory, price
from pricing.rating.meters import CREDIT
from tests.cards import document_of, terms_of

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
RATES = {"a": 1, "b": 2, "c": 4, "d": 4, "e": 0}
BOOK = CostBook({"compute": {name: {"cost": "none"} for name in (*RATES, "gone")}}, None)

bounds = st.fixed_dictionaries(
    {"minimum": st.integers(1, 12)},
    optional={"increment": st.integers(1, 5), "maximum": st.integers(0, 60), "minimum_again": st.just(True)},
)
parts = st.builds(
    Compute,
    st.sampled_from(list(RATES)),
    st.integers(0, 15).map(lambda seconds: seconds * 10**9),
    st.sampled_from([10**9, 2 * 10**9]),
    run_id=st.sampled_from(["r", "s"]),
    started_at=st.none() | st.integers(0, 60).map(lambda seconds: NOW + timedelta(seconds=seconds)),
    resized_from=st.none() | st.sampled_from([*RATES, "gone"]),
)


def _price_of(rule):
    """Return what makes an hourly price with these bounds."""
    bounds = {
        **{key: f"{rule[key]}s" for key in ("minimum", "increment") if key in rule},
        **({"maximum": str(rule["maximum"])} if "maximum" in rule else {}),
        **({"minimum_again": {"within": f"{rule['minimum']}s"}} if "minimum_again" in rule else {}),
    }
    return lambda rate: {"per_hour": str(rate * 3600), **bounds}


def _terms(rules):
    """One rule for each size, with bounds of its own; the last has two meters."""
    made = []
    for (name, rate), rule in zip(RATES.items(), rules, strict=True):
        price_of = _price_of(rule)
        whole = {"plus": [price_of(rate), price_of(rate + 1)]} if name == "e" else price_of(rate)
        made.append({"name": name, "match": {"compute": name}, "price": whole})
    return terms_of(document_of(made), BOOK)


# --- the plain way -----------------------------------------------------------------------------------------


def _whole(state, meters):
    """What all of a run amounts to, as rate x time x count."""
    amounts, stacks = {}, {}
    for key, duration in state.items():
        if key.startswith("["):
            part, count, started, size, before = json.loads(key)
            stretch = (started, meters[size], meters.get(before), duration)
            stacks.setdefault((part, count), []).append(stretch)
        else:
            name, count = key.rsplit("@", 1)
            meter = meters[name]
            amount = meter.rate_nanos * meter.billed(duration) * int(count)
            amounts[meter] = amounts.get(meter, 0) + amount
    for (_, count), stretches in stacks.items():
        for meter, amount in _layers(stretches):
            amounts[meter] = amounts.get(meter, 0) + amount * count
    return sum(
        amount if meter.maximum_nanos is None else min(amount, meter.maximum_nanos * CREDIT)
        for meter, amount in amounts.items()
    )


def _layers(stretches):
    ordered = sorted(stretches, key=lambda stretch: (stretch[0], stretch[2] is not None))
    rates = {meter.rate_nanos for _, size, before, _ in ordered for meter in (size, before) if meter}
    for low, high in pairwise(sorted({0, *rates})):
        meter, began, ran = None, 0, 0
        for started, size, before, duration in ordered:
            if size.rate_nanos <= low:
                continue
            goes_on = before is not None and before.rate_nanos > low
            starts = before if goes_on else size
            if meter is None or not (goes_on or (meter == starts and meter.covers(started - began))):
                if meter is not None:
                    yield meter, (high - low) * meter.billed(ran)
                meter, began, ran = starts, started, 0
            ran += duration
        if meter is not None:
            yield meter, (high - low) * meter.billed(ran)


def _expected(lines, states, meters):
    """What each line costs, from what it added to the states; those are changed."""
    for line in lines:
        total = 0
        for effect in line.effects:
            state = states.setdefault(effect.key, {})
            total -= _whole(state, meters) + states.pop(("carried", effect.key), 0)
            for key, duration in json.loads(effect.text).items():
                if key == "charged":
                    continue
                state[key] = state.get(key, 0) + duration
            total += _whole(state, meters)
            if total < 0:
                states["carried", effect.key] = -total
        yield Fraction(max(total, 0), CREDIT * 1000)


@settings(max_examples=300, deadline=None)
@given(st.lists(bounds, min_size=5, max_size=5), st.lists(parts, max_size=25), st.integers(0, 25))
def test_many_parts_of_a_run_cost_what_the_plain_way_says(rules, items, first):
    """In two calls, the memory carried along."""
    terms, memory, states = _terms(rules), Memory(), {}
    meters = {meter.key: meter for case in terms.rules["compute"]._cases for meter in case.rule.meters}
    for some in (items[:first], items[first:]):
        quote = price(some, {}, terms, memory, now=NOW)
        memory = Memory({**memory.states, **{key: state.text for key, state in quote.states.items()}})
        # The order of a state's keys decides between starts at one instant.
        states = {
            key: dict(sorted(state.items())) if isinstance(key, str) else state
            for key, state in states.items()
        }
        expected = list(_expected(quote.lines, states, meters))
        assert [line.exact_micros for line in quote.lines] == expected
