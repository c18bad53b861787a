"""Cards whose prices count over a period, one for each scheme, and usage that they price."""

from datetime import UTC, datetime
from fractions import Fraction

from hypothesis import strategies as st

from pricing import Compute, CostBook, Outcome, Result, Tokens, Units
from tests import cards

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
    "volumes": [({"units": "page"}, {"plus": [VOLUME, VOLUME, {"each": "0.5"}]})],
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

RESULTS = {"resolved": "2", "escalated": "3"}
OUTCOME_STEPS = [
    {"up_to": "3", "price": {"outcome": RESULTS}},
    {"price": {"outcome": {"resolved": "1", "escalated": "0.5"}}},
]
ONCE_SCHEMES = {
    "once": [({"outcome": "ticket"}, {"outcome": RESULTS, "once": "subject"})],
    "once in a bundle": [
        (
            {"outcome": "ticket"},
            {"outcome": RESULTS, "once": "subject", "bundle": {**PAGES, "quantity": "2"}},
        )
    ],
    "once in steps": [
        ({"outcome": "ticket"}, {"once": "subject", "tiers": {**PAGES, "graduated": OUTCOME_STEPS}})
    ],
    "once by volume": [
        ({"outcome": "ticket"}, {"once": "subject", "tiers": {**PAGES, "volume": OUTCOME_STEPS}})
    ],
    "once by volume beyond a bundle": [
        (
            {"outcome": "ticket"},
            {
                "once": "subject",
                "tiers": {**PAGES, "volume": OUTCOME_STEPS},
                "bundle": {**PAGES, "quantity": "2"},
            },
        )
    ],
}
"""Of outcomes that are charged once for each subject."""

tickets = st.builds(
    Outcome,
    st.just("ticket"),
    st.sampled_from([Result.RESOLVED, Result.ESCALATED, Result.FAILED]),
    st.sampled_from(["a", "b", "c", "d", "e", "f"]),
    st.integers(0, 2),
    st.none(),
)
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
    rules = cards.rules_of(*(SCHEMES | ONCE_SCHEMES)[name])
    made = cards.terms_of(cards.document_of(rules, discloses="serving_cost"), BOOK)
    return made.multiplied(int(Fraction(multiplier) * 10**9))
