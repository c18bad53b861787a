"""A small catalog in plain data: how names are matched, and which price holds when."""

from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction

import pytest
from pricing_world import tokens

from pricing.costs.catalog import Catalog

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MILLION = 1_000_000


def _model(match, *prices, variants=()):
    return [match, [list(price) for price in prices], [list(variant) for variant in variants]]


def _catalog(*models, **more):
    provider = {"id": "acme", "match": None, "fallback": [], "models": list(models)}
    return Catalog({"providers": [provider | more]})


def _dollars(price, *, at=NOON, **used):
    """What tokens come to at an instant, in dollars; None: a quantity has no price."""
    amount = price.at(at).amount(tokens(**used))
    return None if amount is None else Fraction(*amount) / 10**9


@pytest.mark.parametrize(
    ("clause", "taken", "left"),
    [
        (["equals", "Large-1"], ["large-1", "LARGE-1"], ["large", "large-11", "a-large-1"]),
        (["starts_with", "Large"], ["large", "LARGE-2"], ["a-large", "larg"]),
        (["ends_with", "Large"], ["large", "x-LARGE"], ["large-1", "arge"]),
        (["contains", "Large"], ["large", "x-LARGE-1"], ["larg-e"]),
        (["regex", "^la?rge$"], ["large", "lrge"], ["larges", "laarge"]),
        (["or_", [["equals", "a"], ["equals", "b"]]], ["a", "b"], ["ab", "c"]),
        (["and", [["starts_with", "a"], ["ends_with", "b"]]], ["ab", "axb"], ["a", "b", "ba"]),
        (["or_", []], [], ["a", ""]),
    ],
)
def test_each_clause_takes_the_names_that_it_says_in_any_letters(clause, taken, left):
    """Names of models are compared in small letters; `or_` needs one part, `and` all of them."""
    catalog = _catalog(_model(clause, [None, {"input": "1"}]))
    assert [catalog.find("acme", name, "") is not None for name in taken] == [True] * len(taken)
    assert [catalog.find("acme", name, "") is not None for name in left] == [False] * len(left)


def test_a_provider_is_known_by_its_id_and_by_what_its_clause_takes():
    """In any letters, without the blanks around it; ids go before clauses, and a provider may have none."""
    first = {"id": "first", "match": ["contains", "ac"], "fallback": [], "models": []}
    second = {"id": "acme", "match": None, "fallback": [], "models": []}
    third = {"id": "third", "match": ["starts_with", "zz"], "fallback": [], "models": []}
    catalog = Catalog({"providers": [first, second, third]})
    names = ("acme", " ACME ", "first", "vac", "zz-top", "top-zz", "")
    assert [catalog.provider(name) for name in names] == [
        "acme",
        "acme",
        "first",
        "first",
        "third",
        None,
        None,
    ]


def test_a_date_without_dashes_finds_the_model_with_them():
    """As written first, then dashed; what is no date stays as it is."""
    dated = _model(["equals", "m-2026-11-05"], [None, {"input": "1"}])
    plain = _model(["equals", "m-20261106"], [None, {"input": "2"}])
    catalog = _catalog(dated, plain)
    assert _dollars(catalog.find("acme", "M-20261105", ""), input=MILLION) == 1
    assert _dollars(catalog.find("acme", "m-20261106", ""), input=MILLION) == 2
    assert _dollars(catalog.find("acme", "m-20261105", ""), input=MILLION) == 1
    for name in ("m-20261305", "m-20261132", "m-20261100", "m-2026110", "m-202611055", "m-19991105"):
        assert catalog.find("acme", name, "") is None
    tagged = _catalog(_model(["equals", "m-2026-11-05:batch"], [None, {"input": "1"}]))
    assert tagged.find("acme", "m-20261105:batch", "") is not None


def test_the_first_model_that_matches_is_the_model_though_it_has_no_price():
    """A model without a price is unknown: the next one is not taken for it."""
    catalog = _catalog(
        _model(["equals", "a"], [None, {}]),
        _model(["starts_with", "a"], [None, {"input": "1"}]),
        _model(["equals", "b"]),
    )
    assert catalog.find("acme", "a", "") is None
    assert catalog.find("acme", "ab", "") is not None
    assert catalog.find("acme", "b", "") is None


def test_models_of_a_fallback_are_found_after_the_own_ones_and_without_their_tiers():
    """A provider that serves another's models has its list prices, and no tiers of service."""
    tier = ["batch", None, {"input": "1"}]
    other = {
        "id": "other",
        "match": None,
        "fallback": [],
        "models": [
            _model(["equals", "a"], [None, {"input": "9"}]),
            _model(["equals", "b"], [None, {"input": "8"}], variants=[tier]),
        ],
    }
    own = {
        "id": "acme",
        "match": None,
        "fallback": ["other"],
        "models": [_model(["equals", "a"], [None, {"input": "2"}], variants=[tier])],
    }
    catalog = Catalog({"providers": [own, other]})
    found = [
        _dollars(catalog.find(provider, model, tier), input=MILLION)
        for provider, model, tier in [
            ("acme", "a", ""),
            ("acme", "a", "batch"),
            ("acme", "b", ""),
            ("acme", "b", "batch"),
            ("other", "b", "batch"),
            ("other", "a", "batch"),
        ]
    ]
    assert found == [2, 1, 8, 8, 1, 9]
    assert catalog.find("other", "c", "") is None


def test_rates_are_dollars_by_million_tokens_and_by_thousand_requests():
    """Exactly; a rate with steps holds from the first token once the context is beyond the step."""
    rates = {"input": ["1", [1000, "2"], [2000, "4"]], "output": "0.000001", "requests": "5"}
    price = _catalog(_model(["equals", "a"], [None, rates])).find("acme", "a", "")
    assert _dollars(price, output=1, requests=0) == Fraction(1, 10**12)
    assert _dollars(price, requests=3) == Fraction(15, 1000)
    for size, rate in ((999, 1), (1000, 1), (1001, 2), (2000, 2), (2001, 4)):
        assert _dollars(price, input=size, requests=1) - Fraction(5, 1000) == Fraction(size * rate, MILLION)


def test_the_last_price_whose_day_has_come_holds():
    """From midnight UTC of its day; before all of them the first."""
    price = _catalog(
        _model(
            ["equals", "a"],
            [["from", "2026-03-01"], {"input": "1"}],
            [["from", "2026-05-01"], {"input": "2"}],
        )
    ).find("acme", "a", "")
    days = [
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 3, 1, tzinfo=UTC),
        datetime(2026, 5, 1, tzinfo=UTC) - timedelta(microseconds=1),
        datetime(2026, 5, 1, tzinfo=UTC),
        datetime(2026, 5, 1, 1, tzinfo=timezone(timedelta(hours=2))),
    ]
    assert [_dollars(price, at=day, input=MILLION) for day in days] == [1, 1, 1, 2, 1]


@pytest.mark.parametrize(
    ("start", "end", "held"),
    [
        ("16:30:00", "20:00:00", {"16:29": 1, "16:30": 2, "19:59": 2, "20:00": 1}),
        ("16:30:00+00:00", "00:30:00+00:00", {"16:29": 1, "16:30": 2, "23:59": 2, "00:29": 2, "00:30": 1}),
        ("00:30:00+08:00", "08:30:00+08:00", {"16:29": 1, "16:30": 2, "00:29": 2, "00:30": 1, "08:00": 1}),
    ],
)
def test_a_daily_price_holds_from_its_start_to_its_end(start, end, held):
    """Times of day in UTC whatever zone they are written in, also over midnight."""
    price = _catalog(
        _model(["equals", "a"], [None, {"input": "1"}], [["daily", start, end], {"input": "2"}])
    ).find("acme", "a", "")
    for clock, dollars in held.items():
        hour, minute = map(int, clock.split(":"))
        instant = datetime(2026, 11, 23, hour, minute, tzinfo=UTC)
        elsewhere = instant.astimezone(timezone(timedelta(hours=-5)))
        assert [_dollars(price, at=at, input=MILLION) for at in (instant, elsewhere)] == [dollars] * 2, clock


def test_a_tier_goes_before_the_standard_quantity_by_quantity():
    """What a tier does not price costs what it does without one; of two prices the first goes first."""
    price = _catalog(
        _model(
            ["equals", "a"],
            [None, {"input": "10", "output": "20"}],
            variants=[
                ["batch", None, {"input": "1"}],
                ["flex", None, {"output": "3"}],
                ["batch", None, {"input": "2", "output": "4"}],
                ["night", ["daily", "20:00:00", "22:00:00"], {"input": "5"}],
            ],
        )
    )
    used = {"input": MILLION, "output": MILLION}
    found = {
        tier: _dollars(price.find("acme", "a", tier), **used) for tier in ("", "batch", "flex", "nonesuch")
    }
    assert found == {"": 30, "batch": 5, "flex": 13, "nonesuch": 30}
    night = price.find("acme", "a", "night")
    evening = NOON.replace(hour=21)
    assert [_dollars(night, at=at, **used) for at in (NOON, evening, NOON)] == [30, 25, 30]


def test_a_model_that_only_a_tier_prices_is_known_at_that_tier():
    """Without the tier it has no price at all."""
    catalog = _catalog(_model(["equals", "a"], [None, {}], variants=[["batch", None, {"input": "1"}]]))
    assert catalog.find("acme", "a", "") is None
    assert _dollars(catalog.find("acme", "a", "batch"), input=MILLION) == 1


def test_a_constraint_that_nobody_knows_is_a_fault():
    """A price never holds by a rule that is not understood."""
    catalog = _catalog(_model(["equals", "a"], [["weekly"], {"input": "1"}]))
    with pytest.raises(ValueError, match=r"^unknown constraint \['weekly'\]$"):
        catalog.find("acme", "a", "")
