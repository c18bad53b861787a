"""Reversals under a period: in whatever order lines are charged and undone, what is left is paid.

What was charged of the lines that are left, less what goes back when the period closes (or with what is due
then), is what these lines would have cost if they alone had been used, in their order.
"""

import json
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing import (
    Compute,
    CostBook,
    Memory,
    RateCard,
    Tokens,
    Units,
    compile_terms,
    memory_keys,
    price,
    unwind,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
BOOK = CostBook(
    {
        "tokens": {
            "models": {
                "a/large": {"per_million": {"input": "3", "output": "15"}},
                "a/small": {"per_million": {"input": "0.05", "output": "0.2"}},
            }
        },
        "compute": {"host": {"per_hour": "1"}},
        "units": {"page": {"each": "0.01"}},
    },
    None,
)
MONTH = {"per": "month"}
PAGES = {"count": "quantity", **MONTH}
REQUESTS = {"count": "requests", **MONTH}
STEPS = [
    {"up_to": "5", "price": {"each": "4"}},
    {"up_to": "12", "price": {"each": "2"}},
    {"price": {"each": "1"}},
]
FEES = [{"up_to": "5", "price": {"fee_on_cost": "9%"}}, {"price": {"fee_on_cost": "4%"}}]
RISING = [{"up_to": "6", "price": {"each": "1"}}, {"price": {"each": "3"}}]
BUNDLE = {**PAGES, "quantity": "7"}
BUNDLED = {"each": "2", "bundle": BUNDLE}
HOSTS = ({"compute": "host"}, {"per_hour": "2"}, "hosts")
VOLUME, GRADUATED = {"tiers": {**PAGES, "volume": STEPS}}, {"tiers": {**PAGES, "graduated": STEPS}}
ALLOWED = {"allowance": {"share": "30%", "of": "hosts", **MONTH}}

SCHEMES = {
    "bundle": [({"units": "page"}, BUNDLED)],
    "graduated": [({"units": "page"}, GRADUATED)],
    "volume": [({"units": "page"}, VOLUME)],
    "volume that rises": [({"units": "page"}, {"tiers": {**PAGES, "volume": RISING}})],
    "bundle and graduated": [({"units": "page"}, {**GRADUATED, "bundle": BUNDLE})],
    "bundle and volume": [({"units": "page"}, {**VOLUME, "bundle": BUNDLE})],
    "times": [({"units": "page"}, {**VOLUME, "times": "0.7"})],
    "plus": [({"units": "page"}, {"plus": [VOLUME, {"each": "0.5"}, BUNDLED, {**GRADUATED, "times": "3"}]})],
    "measure": [
        ({"units": "page"}, {"measure": {"unit": "u", "plus": [{"each": "1"}, BUNDLED]}, "per_unit": "0.3"})
    ],
    "pool": [({"units": "page"}, {"pool": "p", "ratio": "0.4", "then": {"each": "3"}, "bundle": BUNDLE})],
    "bundle in a step": [
        (
            {"units": "page"},
            {
                "tiers": {
                    **PAGES,
                    "volume": [
                        {"up_to": "9", "price": {"plus": [{"each": "1"}, BUNDLED]}},
                        {"price": {"each": "1"}},
                    ],
                }
            },
        )
    ],
    "share of savings": [({"tokens": "*"}, {"savings_share": {"share": "20%", **MONTH}})],
    "fee beyond a bundle": [
        ({"tokens": "*"}, {"fee_on_cost": "5%", "bundle": {**REQUESTS, "quantity": "7"}})
    ],
    "graduated fees": [({"tokens": "*"}, {"tiers": {**REQUESTS, "graduated": FEES}})],
    "volume of fees": [
        ({"tokens": "*"}, {"tiers": {**REQUESTS, "volume": FEES}, "bundle": {**REQUESTS, "quantity": "3"}})
    ],
    "allowance": [HOSTS, ({"units": "page"}, {"each": "3", **ALLOWED})],
    "allowance of tiers": [
        (
            {"compute": "host"},
            {
                "tiers": {
                    "count": "duration",
                    **MONTH,
                    "volume": [{"up_to": "4h", "price": {"per_hour": "2"}}, {"price": {"per_hour": "1"}}],
                }
            },
            "hosts",
        ),
        ({"units": "page"}, {**VOLUME, **ALLOWED}),
    ],
    "allowance of a bundle": [HOSTS, ({"units": "page"}, {**BUNDLED, **ALLOWED, "times": "1.5"})],
}

items = st.one_of(
    st.builds(Units, st.just("page"), st.integers(0, 9 * 10**9), occurred_at=st.none()),
    st.builds(
        Compute,
        st.just("host"),
        st.integers(0, 3 * 3600 * 10**9),
        st.just(10**9),
        state=st.just("active"),
        started_at=st.none(),
        occurred_at=st.none(),
    ),
    st.builds(
        Tokens,
        st.sampled_from(["a/large", "a/small"]),
        st.fixed_dictionaries({"input": st.integers(0, 10**6), "output": st.integers(0, 10**5)}),
        served_by=st.sampled_from([None, "a/large", "a/small"]),
        requests=st.integers(0, 5),
        occurred_at=st.none(),
    ),
)
actions = st.lists(st.one_of(items, st.integers(0, 20)), min_size=1, max_size=16)


def terms_of(name, multiplier="1"):
    """Terms of a card of one scheme; what it has no rule for is priced by a rule without a past."""
    rules = [
        {"name": f"r{n}", "match": match, "price": priced, **({"group": group[0]} if group else {})}
        for n, (match, priced, *group) in enumerate(SCHEMES[name])
    ]
    card = {
        "card": "c",
        "credit": "credit",
        "credit_price_usd": "1",
        "discloses": "serving_cost",
        "rules": rules,
    }
    made = compile_terms(RateCard.from_document(json.dumps(card)), BOOK)
    return made.multiplied(int(Fraction(multiplier) * 10**9))


class Period:
    """One customer's usage in one period, and what was paid of the lines that are left."""

    def __init__(self, terms):
        self.terms, self.states, self.surplus, self.lines = terms, {}, {}, []
        self.is_closed, self.paid = False, Fraction(0)

    def use(self, item):
        """Charge an item: never less than nothing."""
        keys = memory_keys([item], {}, self.terms, NOW)
        known = {key: text for key, text in self.states.items() if key in keys}
        quote = price([item], {}, self.terms, Memory(known), now=NOW)
        [line] = quote.lines
        assert line.exact_micros >= 0
        self.keep(quote.states)
        self.paid += line.exact_micros
        self.lines.append(line)

    def undo(self, which):
        """Reverse one of the lines that are left, if any are: what it paid goes back."""
        if self.lines:
            line = self.lines.pop(which % len(self.lines))
            self.paid -= line.exact_micros
            self.keep(unwind(line.effects, self.states, self.states if self.is_closed else ()))
            if self.is_closed:
                self.close()

    def keep(self, states):
        """Keep what changed."""
        self.states |= {key: state.text for key, state in states.items()}
        self.surplus |= {key: state.surplus_micros for key, state in states.items()}

    def close(self):
        """What was charged too much goes back, what is due is charged; nothing is carried from then on."""
        self.is_closed = True
        self.paid -= sum(self.surplus.values(), Fraction(0))
        self.surplus.clear()


def assert_pays_what_is_left(period):
    """Compare what was paid with what the lines that are left cost by themselves, in their order.

    To the last fraction: what is rounded is rounded by the books.
    """
    alone = Period(period.terms)
    for line in period.lines:
        alone.use(line.item)
    alone.close()
    assert period.paid == alone.paid


@pytest.mark.parametrize("name", SCHEMES)
@settings(max_examples=60, deadline=None)
@given(actions, st.sampled_from(["1", "0.5", "3"]), st.lists(st.integers(0, 20), max_size=3))
def test_what_is_paid_is_the_price_of_what_is_left(name, done, multiplier, after_the_close):
    """Numbers reverse; also after the close, where what remains is settled at once."""
    period = Period(terms_of(name, multiplier))
    for action in done:
        if isinstance(action, int):
            period.undo(action)
        else:
            period.use(action)
    period.close()
    assert_pays_what_is_left(period)
    for which in after_the_close:
        period.undo(which)
        assert_pays_what_is_left(period)
