"""What if: the same usage at other costs, on other keys, served by another model."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from pricing import Compute, CostBook, KeyOwner, Memory, RateCard, Tokens, Units, compile_terms, price
from pricing.planning.what_if import ScaledCosts, on_own_keys, swapped

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
BOOK = CostBook(
    {
        "tokens": {"models": {"a/x": {"per_million": {"input": "3", "output": "15"}}}},
        "compute": {"m": {"per_hour": "2.49"}},
        "units": {"u": {"each": "0.01"}},
        "unknown_cost": {"per_million": {"input": "5", "output": "25"}},
    },
    None,
)
CARD = RateCard.from_document("""
card: all
credit: credit
credit_price_usd: "0.7"
rules:
  - {name: tokens, match: {tokens: "*"}, price: {cost_plus: {markup: "30%"}}}
  - {name: compute, match: {compute: m}, price: {cost_plus: {markup: "30%"}}}
  - {name: units, match: {units: u}, price: {each: "2"}}
""")

quantities = st.fixed_dictionaries({"input": st.integers(0, 10**9), "output": st.integers(0, 10**9)})
models = st.sampled_from(["a/x", "a/unknown"])
items = st.lists(
    st.one_of(
        st.builds(
            Tokens, models, quantities, st.none() | models | st.just("cache"), st.sampled_from(KeyOwner)
        ),
        st.builds(Compute, st.just("m"), st.integers(0, 10**15)),
        st.builds(Units, st.just("u"), st.integers(0, 10**15)),
    ),
    max_size=5,
)
factors = st.fractions(0, 3, max_denominator=10**6)


def lines(usage, book):
    return price(usage, {}, compile_terms(CARD, book), Memory(), now=NOW).lines


@given(items, factors)
def test_costs_are_scaled_exactly(usage, factor):
    """Every cost is so many times as much, and so is every price that follows costs; rates stay."""
    for before, after in zip(lines(usage, BOOK), lines(usage, ScaledCosts(BOOK, factor)), strict=True):
        assert after.cost_exact_nanousd == before.cost_exact_nanousd * factor
        by_cost = not isinstance(before.item, Units)
        assert after.exact_micros == before.exact_micros * (factor if by_cost else 1)
        assert after.treatment is before.treatment


@given(items)
def test_on_own_keys_tokens_cost_us_nothing(usage):
    """Tokens on the customers' keys are not ours to pay; all else stays as it is."""
    for before, after in zip(usage, lines(on_own_keys(usage), BOOK), strict=True):
        if isinstance(before, Tokens):
            assert after.cost_exact_nanousd == Fraction(0)
            assert after.item._replace(key_owner=before.key_owner) == before
        else:
            assert after.item == before


@given(items)
def test_what_serves_is_swapped_and_what_was_asked_for_stays(usage):
    """A model serves wherever the other one did, asked for or in another's place."""
    for before, after in zip(usage, swapped(usage, {"a/x": "a/y"}), strict=True):
        if isinstance(before, Tokens) and (before.served_by or before.model) == "a/x":
            assert (after.model, after.served_by) == (before.model, "a/y")
            assert after._replace(served_by=before.served_by) == before
        else:
            assert after == before
