"""Prices that count over a period, against what the whole period amounts to: sums that a person can check.

However usage is ordered, and cut into items and calls, a period's charges less its surplus are what its
totals come to. The model shares no code with what it checks.
"""

from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise

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
    Units,
    free_marks,
    memory_keys,
    price,
    unwind,
)
from tests import cards

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
BOOK = CostBook(
    {
        "tokens": {
            "models": {
                "a/large": {"per_million": {"input": "3"}},
                "a/small": {"per_million": {"input": "0.05"}},
            }
        },
        "compute": {"host": {"per_hour": "1"}},
        "units": {"page": {"each": "0.01"}},
    },
    None,
)
PERIOD = {"per": "month", "zone": "Europe/Berlin"}
quantities = st.integers(0, 40 * 10**9)
rates = st.decimals(0, 10, places=3).map(str)
steps = st.lists(st.integers(1, 60), max_size=3, unique=True).map(sorted)


def terms_of(*rules):
    """Terms of a card of rules that stand as (match, price) or (match, price, group)."""
    return cards.terms_of(cards.document_of(cards.rules_of(*rules), discloses="serving_cost"), BOOK)


class Wallet:
    """What one customer paid, and the states as a caller keeps them."""

    def __init__(self, terms):
        self.terms, self.states, self.stored, self.lines = terms, {}, {}, []

    def use(self, items):
        """Price a call's items."""
        keys = memory_keys(items, {}, self.terms, NOW)
        known = {key: text for key, text in self.states.items() if key in keys}
        quote = price(items, {}, self.terms, Memory(known), now=NOW)
        assert set(quote.states) <= keys
        self.keep(quote.states)
        self.lines += quote.lines
        return quote.lines

    def keep(self, states):
        """Keep what changed."""
        self.stored |= states
        self.states |= {key: state.text for key, state in states.items()}

    @property
    def paid(self):
        """Credits charged."""
        return sum((line.exact_micros for line in self.lines), Fraction(0)) / 10**6

    @property
    def surplus(self):
        """Credits that are due when the period closes."""
        return sum((state.surplus_micros for state in self.stored.values()), Fraction(0)) / 10**6


@st.composite
def calls(draw, items):
    """Usage, in any order, in any number of calls."""
    rest, made = draw(st.permutations(draw(st.lists(items, min_size=1, max_size=8)))), []
    while rest:
        size = draw(st.integers(1, len(rest)))
        made.append(rest[:size])
        rest = rest[size:]
    return made


pages = st.builds(Units, st.just("page"), quantities, occurred_at=st.none())
hours = st.builds(
    lambda duration, count: Compute("host", duration, count),
    st.integers(0, 10**14),
    st.sampled_from([10**9, 5 * 10**8]),
)
requests = st.builds(
    Tokens,
    st.sampled_from(["a/large", "a/small"]),
    st.fixed_dictionaries({"input": st.integers(0, 10**6)}),
    served_by=st.sampled_from([None, "cache", "a/large", "a/small"]),
    key_owner=st.sampled_from(KeyOwner),
    service_tier=st.just(""),
    requests=st.integers(0, 5),
    occurred_at=st.none(),
)


def _tiers(ends, each, way, bundle):
    made = [{"up_to": str(end), "price": {"each": rate}} for end, rate in zip(ends, each, strict=False)]
    made.append({"price": {"each": each[len(ends)]}})
    counted = {"count": "quantity", **PERIOD}
    stated = {"tiers": {**counted, way: made}}
    return {**stated, "bundle": {**counted, "quantity": str(bundle)}} if bundle else stated


@settings(max_examples=80, deadline=None)
@given(calls(pages), steps, st.lists(rates, min_size=4, max_size=4), st.integers(0, 30))
def test_graduated_tiers_charge_what_lies_in_each_step(made, ends, each, bundle):
    """Whatever the order, the items and the calls; nothing is ever to come back."""
    wallet = Wallet(terms_of(({"units": "page"}, _tiers(ends, each, "graduated", bundle))))
    for items in made:
        wallet.use(items)
    used = sum(Fraction(item.quantity_nanos, 10**9) for items in made for item in items)
    bounds = [Fraction(bundle), *(Fraction(bundle + end) for end in ends), max(used, Fraction(10**6))]
    expected = sum(
        (max(min(used, high) - low, 0) * Fraction(each[n])) for n, (low, high) in enumerate(pairwise(bounds))
    )
    assert (wallet.paid, wallet.surplus) == (expected, 0)


@settings(max_examples=80, deadline=None)
@given(calls(pages), steps, st.lists(rates, min_size=4, max_size=4), st.integers(0, 30), st.data())
def test_volume_tiers_charge_all_by_the_step_reached(made, ends, each, bundle, data):
    """What was charged less the surplus; no line is negative. Undone lines leave the totals of the others."""
    wallet = Wallet(terms_of(({"units": "page"}, _tiers(ends, each, "volume", bundle))))

    def total(items):
        used = sum(Fraction(item.quantity_nanos, 10**9) for item in items) - bundle
        step = sum(used > end for end in ends)
        return max(used, 0) * Fraction(each[step])

    for items in made:
        assert all(line.price_micros[0] >= 0 for line in wallet.use(items))
    everything = [item for items in made for item in items]
    assert wallet.paid - wallet.surplus == total(everything)
    if bundle:  # what others had of it is not priced again when a line of it is undone
        return
    undone = data.draw(st.sampled_from(wallet.lines))
    wallet.keep(unwind(undone.effects, wallet.states))
    left = list(everything)
    left.remove(undone.item)
    carried, before = wallet.surplus, wallet.paid
    more = Units("page", data.draw(quantities))
    wallet.use([more])
    owed = total([*left, more]) - total(left)
    assert wallet.paid - before == max(owed - carried, 0)
    assert wallet.surplus == max(carried - owed, 0)


@settings(max_examples=80, deadline=None)
@given(calls(requests))
def test_a_share_of_savings_is_never_below_nothing_in_a_period(made):
    """P x the period's (asked - served), whoever's keys; the surplus is what a loss took from it."""
    wallet = Wallet(terms_of(({"tokens": "*"}, {"savings_share": {"share": "20%", **PERIOD}})))
    dollars = {"a/large": Fraction(3, 10**6), "a/small": Fraction(5, 10**8), "cache": Fraction(0)}
    saved = Fraction(0)
    for items in made:
        wallet.use(items)
        for item in items:
            used = item.quantities["input"]
            saved += used * (dollars[item.model] - dollars[item.served_by or item.model])
    assert wallet.paid - wallet.surplus == max(saved, 0) / 5
    assert wallet.surplus >= 0


@settings(max_examples=80, deadline=None)
@given(calls(st.one_of(pages, hours)), st.integers(1, 100))
def test_an_allowance_comes_to_w_and_what_c_exceeds_its_share(made, percent):
    """W + max(0, C - share x W), in any order; never less than nothing for a part."""
    allowance = {"share": f"{percent}%", "of": "hosts", **PERIOD}
    wallet = Wallet(
        terms_of(
            ({"compute": "host"}, {"per_hour": "2"}, "hosts"),
            ({"units": "page"}, {"each": "3", "allowance": allowance}),
        )
    )
    base = claimed = Fraction(0)
    for items in made:
        assert all(line.price_micros[0] >= 0 for line in wallet.use(items))
        for item in items:
            if isinstance(item, Units):
                claimed += 3 * Fraction(item.quantity_nanos, 10**9)
            else:
                base += 2 * Fraction(item.duration_nanos * item.count_nanos, 3600 * 10**18)
    assert wallet.paid == base + max(claimed - Fraction(percent, 100) * base, 0)


@settings(max_examples=60, deadline=None)
@given(calls(requests), st.integers(1, 8))
def test_a_fee_beyond_a_bundle_of_requests_is_split_pro_rata(made, included):
    """In order of sequence: each item pays for the share of its requests that lies beyond the bundle."""
    bundle = {"count": "requests", "quantity": str(included), **PERIOD}
    wallet = Wallet(terms_of(({"tokens": "*"}, {"fee_on_cost": "5%", "bundle": bundle})))
    dollars = {"a/large": Fraction(3, 10**6), "a/small": Fraction(5, 10**8)}
    before, expected = 0, Fraction(0)
    for items in made:
        wallet.use(items)
        for item in items:
            after = before + item.requests
            beyond = max(after - included, 0) - max(before - included, 0)
            share = Fraction(beyond, item.requests) if item.requests else Fraction(before >= included)
            expected += item.quantities["input"] * dollars[item.model] * share / 20
            before = after
    assert wallet.paid == expected


outcomes = st.builds(
    Outcome,
    st.just("done"),
    st.sampled_from([Result.RESOLVED, Result.FAILED]),
    st.sampled_from(["a", "a/b", "b"]),
    st.integers(0, 3),
    occurred_at=st.none(),
)


@settings(max_examples=60, deadline=None)
@given(calls(outcomes), st.booleans())
def test_each_subject_is_charged_once_until_it_is_freed(made, refunded):
    """Whatever the calls; a full refund and a reversal free it alike."""
    wallet = Wallet(terms_of(({"outcome": "*"}, {"outcome": {"resolved": "2"}, "once": "subject"})))
    for items in made:
        wallet.use(items)
    taken = {
        item.subject for items in made for item in items if item.result is Result.RESOLVED and item.count
    }
    assert wallet.paid == 2 * len(taken)
    for line in list(wallet.lines):
        wallet.keep(free_marks(line.effects) if refunded else unwind(line.effects, wallet.states))
    assert not any(wallet.states.values())


@settings(max_examples=60, deadline=None)
@given(calls(pages), steps, st.sampled_from(["graduated", "volume"]), st.integers(0, 9))
def test_usage_that_is_all_undone_has_counted_nothing(made, ends, way, bundle):
    """After it, more usage costs what it would have cost first."""
    terms = terms_of(({"units": "page"}, _tiers(ends, ["4", "3", "2", "1"], way, bundle)))
    wallet, fresh, more = Wallet(terms), Wallet(terms), [Units("page", 33 * 10**9)]
    for items in made:
        wallet.use(items)
    for line in reversed(wallet.lines):
        wallet.keep(unwind(line.effects, wallet.states))
    assert wallet.surplus == 0
    assert [line.exact_micros for line in wallet.use(more)] == [line.exact_micros for line in fresh.use(more)]
