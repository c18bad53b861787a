"""Bundles, tiers, allowances, shares of savings, pools and marks: prices that know a past."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from pricing_world import NOW, TOLD, Customer, compute, outcome, terms, tokens, units

from pricing import KeyOwner, PoolPart, Result, free_marks
from pricing.cards.periods import Period

DAYS = [(100, 20, 110), (120, 10, 120), (80, 5, 80), (100, 13, 103)]


def test_a_bundle_is_included_before_the_rate_applies(customer):
    """In order of sequence; an item that straddles is split pro rata; the estimate knows no bundle."""
    one = customer(
        "match: {units: mail}, price: {each: '2', bundle: {count: quantity, quantity: 10, per: month}}"
    )
    assert one.pays(units("mail", "100"), estimate=True) == 200
    assert [one.pays(units("mail", q)) for q in ("4", "4", "4", "0", "1.5")] == [0, 0, 4, 0, 3]


def test_a_fee_on_cost_beyond_a_monthly_bundle_of_requests(customer):
    """5 % of the cost beyond the first million requests of a month, on the customer's own key."""
    one = customer(
        "match: {tokens: '*', key_owner: CUSTOMER}, price: "
        "{fee_on_cost: 5%, bundle: {count: requests, quantity: 1000000, per: month}}"
    )
    batch = tokens(input=10**6, requests=600_000, key_owner=KeyOwner.CUSTOMER)
    assert [one.pays(batch) for _ in range(3)] == [0, Fraction("0.05"), Fraction("0.15")]


def test_graduated_tiers_count_from_the_end_of_the_bundle(customer):
    """137 resolved, of which 50 are included, 50 cost 1.50 and the rest 2.00: 149."""
    counted = "count: quantity, per: month"
    one = customer(
        f"match: {{outcome: '*'}}, price: {{bundle: {{{counted}, quantity: 50}}, tiers: {{{counted}, "
        "graduated: [{up_to: 50, price: {outcome: {resolved: '1.5'}}}, "
        "{price: {outcome: {resolved: '2'}}}]}}"
    )
    assert one.pays(outcome("x", Result.FAILED, 9), outcome("x", Result.ESCALATED, 20)) == 0
    assert one.pays(outcome("x", count=40)) == 0
    assert [one.pays(outcome("x", count=n)) for n in (20, 60, 17)] == [15, 100, 34]
    assert sum(line.exact_micros for line in one.lines) == 149 * 10**6


def test_volume_tiers_price_all_by_the_step_reached_and_carry_what_falls(customer):
    """100 at 1 are 100; 150 at 0.5 are 75: the surplus of 25 is carried, and due when the period closes."""
    one = customer(
        "match: {units: mail}, price: {tiers: {count: quantity, per: month, volume: "
        "[{up_to: 100, price: {each: '1'}}, {price: {each: '0.5'}}]}}"
    )
    assert [one.pays(units("mail", "50")) for _ in range(2)] == [50, 50]
    assert (one.pays(units("mail", "50")), one.surplus) == (0, 25)
    (state,) = one.quote(units("mail", "0")).states.values()
    assert state.closes_at == datetime(2027, 1, 1, tzinfo=UTC)
    assert (one.pays(units("mail", "80")), one.surplus) == (15, 0)
    assert one.pays(units("mail", "1"), estimate=True) == 1
    one.undo(one.lines[4])
    assert one.surplus == 25
    assert (one.pays(units("mail", "10")), one.surplus) == (0, 20)


@pytest.mark.parametrize(("factor", "times"), [(1, "1"), (1, "0.5"), (2, "1"), (2, "0.25"), (0, "1")])
def test_what_is_carried_is_what_was_charged(tmp_path, factor, times):
    """A surplus comes back as it was paid: multiplied by the card and by what the customer has negotiated."""
    made = terms(
        tmp_path,
        f"match: {{units: mail}}, price: {{plus: [{{times: '{times}', tiers: {{count: quantity, per: month, "
        "volume: [{up_to: 10, price: {each: '2'}}, {price: {each: '1'}}]}}]}",
        f"match: {{tokens: '*'}}, price: {{times: '{times}', savings_share: 10%}}",
        extra=TOLD,
    )
    one, scale = Customer(made.multiplied(factor * 10**9)), factor * Fraction(times)
    assert [one.pays(units("mail", q)) for q in ("10", "1", "4")] == [20 * scale, 0, 0]
    assert one.surplus == 5 * scale
    assert [one.pays(units("mail", q)) for q in ("5", "3")] == [0, 3 * scale]
    saving = tokens(input=10**6, served_by="acme/small")
    assert one.pays(saving) == Fraction("0.295") * scale
    assert one.pays(saving._replace(model="acme/small", served_by="acme/large")) == 0
    assert one.surplus == Fraction("0.295") * scale
    one.undo(one.lines[-1])
    assert one.surplus == 0


def test_savings_are_shared_and_never_below_nothing(customer):
    """A share of asked - served, on the customer's own key at list prices; a loss is carried on."""
    one = customer("match: {tokens: '*'}, price: {savings_share: 20%}", extra=TOLD)
    saved = tokens(input=10**6, served_by="cache")
    dearer = tokens("acme/small", input=10**6, served_by="acme/large")
    assert one.pays(dearer) == 0
    assert one.pays(saved) == Fraction("0.01")
    assert one.pays(saved, estimate=True) == 0
    assert one.pays(saved._replace(key_owner=KeyOwner.CUSTOMER)) == Fraction("0.6")
    assert (one.pays(dearer), one.surplus) == (0, Fraction("0.59"))
    unknown = one.quote(tokens(input=1, served_by="acme/none"))
    assert (unknown.unpriced, unknown.exact_micros) == ((), 0)


def test_an_allowance_is_a_share_of_another_groups_day(customer):
    """Four days of (warehouse, cloud): 110 + 120 + 80 + 103, whatever comes first."""
    one = customer(
        "group: warehouse, match: {compute: h100}, price: {per_hour: '1'}",
        "match: {units: mail}, price: {each: '1', allowance: {share: 10%, of: warehouse, per: day}}",
    )
    for day, (warehouse, cloud, total) in enumerate(DAYS):
        one.now = NOW + timedelta(days=day)
        items = [compute("h100", 3600 * warehouse), units("mail", str(cloud))]
        assert one.pays(*items[:: 1 if day % 2 else -1]) == total
    assert one.pays(units("mail", "5"), estimate=True) == 5


def test_an_outcome_is_charged_once_for_each_subject(customer):
    """A result of 0 does not take it; a full refund and a reversal free it; none is charged without one."""
    one = customer("match: {outcome: '*'}, price: {outcome: {resolved: '2'}, once: subject}")
    a, b, failed = (_about("a"), _about("b/c"), _about("a", Result.FAILED))
    assert [one.pays(item) for item in (failed, a, a, b, b)] == [0, 2, 0, 2, 0]
    assert [one.quote(item).outcome_charged for item in (a, _about("d"))] == [False, True]
    assert one.quote(outcome("x")).lines[0].unpriced_reason == "no_subject"
    assert one.pays(_about("z", count=3)) == 2
    one.keep(free_marks(one.lines[1].effects))
    assert (one.pays(a), one.pays(a)) == (2, 0)
    one.undo(one.lines[3])
    assert one.pays(b) == 2


def _about(subject, result=Result.RESOLVED, count=1):
    made = outcome("x", result, count)
    return type(made)(made.name, made.result, subject, made.count)


def test_a_pool_pays_at_a_ratio_beside_the_price_without_it(customer):
    """Of a measured unit, or of a credit of `then`; bundles and factors act on both."""
    one = customer(
        "match: {compute: h100}, price: {measure: {unit: DBU, per_hour: '4'}, pool: dbcu, ratio: '0.3', "
        "then: {per_unit: '0.15'}, times: '2'}",
        "match: {units: mail}, price: {pool: seats, ratio: '1', then: {each: '3'}, "
        "bundle: {count: quantity, quantity: 1, per: day}}",
    )
    machine, mail = one.quote(compute("h100", 3600), units("mail", "2")).lines
    assert (machine.exact_micros, machine.measured.quantity) == (Fraction("1.2") * 10**6, 4)
    assert Fraction(*machine.pool.exact_micros) == Fraction("2.4") * 10**6
    assert mail.exact_micros == 3 * 10**6
    assert mail.pool == PoolPart("seats", mail.pool.exact_micros)
    assert Fraction(*mail.pool.exact_micros) == 3 * 10**6


@pytest.mark.parametrize(
    ("per", "zone", "happened", "label", "closes"),
    [
        ("day", "UTC", "2026-11-23T12:00", "day 2026-11-23", "2026-11-25T00:00"),
        ("day", "UTC", "2026-11-20T12:00", "day 2026-11-22", "2026-11-24T00:00"),
        ("day", "Asia/Tokyo", "2026-11-23T15:00", "day 2026-11-24", "2026-11-25T15:00"),
        ("week", "UTC", "2026-11-23T00:00", "week 2026-11-23", "2026-12-07T00:00"),
        ("week", "UTC", "2026-11-22T23:59", "week 2026-11-16", "2026-11-30T00:00"),
        ("month", "UTC", "2026-09-30T00:00", "month 2026-10-01", "2026-12-01T00:00"),
        ("month", "America/New_York", "2026-11-01T03:00", "month 2026-10-01", "2026-12-01T05:00"),
        ("year", "UTC", "2026-11-23T00:00", "year 2026-01-01", "2028-01-01T00:00"),
    ],
)
def test_usage_counts_in_the_period_of_its_instant_or_the_last(per, zone, happened, label, closes):
    """By the rule's zone; a counter closes with the period after its own."""
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    span = Period(per, zone).counting(datetime.fromisoformat(happened + "+00:00"), now)
    assert (span.label, span.closes_at) == (label, datetime.fromisoformat(closes + "+00:00"))


def test_the_price_list_tells_bundles_tiers_pools_and_allowances(customer):
    """Of a share of savings only that it varies."""
    one = customer(
        "group: hosts, match: {compute: h100}, price: {per_hour: '1'}",
        "match: {units: mail}, price: {each: '1', allowance: {share: 10%, of: hosts, per: day}}",
        "match: {units: web_search}, price: {bundle: {count: quantity, quantity: 5, per: day}, tiers: "
        "{count: quantity, per: day, volume: [{up_to: 10, price: {each: '2'}}, {price: {each: '1'}}]}}",
        "match: {compute: spot}, price: {measure: {unit: DBU, per_hour: '4'}, pool: dbcu, ratio: '0.3', "
        "then: {per_unit: '0.15'}}",
        "match: {tokens: '*'}, price: {savings_share: 7%}",
        "match: {outcome: '*'}, price: {outcome: {resolved: '1'}, once: subject}",
        extra=TOLD,
    )
    _, cloud, searches, spot, fee, done = one.terms.card.price_list()
    assert cloud.rates[0].note == "as far as it exceeds 10% of what hosts comes to in a day (UTC)"
    included = "the first 5 a day (UTC) are included"
    assert [(rate.credits, rate.note) for rate in searches.rates] == [
        ("2", f"above 5 up to 15 a day (UTC), for all of them, {included}"),
        ("1", f"above 15 a day (UTC), for all of them, {included}"),
    ]
    assert [(rate.per, rate.credits, rate.unit) for rate in spot.rates] == [
        ("hour", "4", "DBU"),
        ("DBU", "0.15", ""),
        ("DBU", "0.3", "pool dbcu"),
    ]
    assert (fee.rates, fee.varies) == ((), True)
    assert done.rates[0].note == "once for each subject"


@pytest.mark.parametrize(
    ("kind", "count", "included", "up_to", "bounds"),
    [
        ("units: mail", "quantity", "50", "50", ("above 50 up to 100", "above 100")),
        ("units: mail", "quantity", "0.5", "1", ("above 0.5 up to 1.5", "above 1.5")),
        ("compute: h100", "duration", "1h", "30m", ("above 1h duration up to 5400s", "above 5400s duration")),
        ("tokens: '*'", "requests", "9", "1", ("above 9 requests up to 10", "above 10 requests")),
    ],
)
def test_the_price_list_counts_tiers_from_the_first_piece(tmp_path, kind, count, included, up_to, bounds):
    """A customer reads what of a month costs what, the included among it."""
    rate = {"compute": "per_hour: '1'", "tokens": "per_million: {input: '1'}"}.get(
        kind.split(":")[0], "each: '1'"
    )
    counted = f"count: {count}, per: month"
    steps = f"[{{up_to: '{up_to}', price: {{{rate}}}}}, {{price: {{{rate}}}}}]"
    price = f"bundle: {{{counted}, quantity: '{included}'}}, tiers: {{{counted}, graduated: {steps}}}"
    [listed] = terms(tmp_path, f"match: {{{kind}}}, price: {{{price}}}").card.price_list()
    ends = tuple(listed.rates[step].note.split(" a month")[0] for step in (0, -1))
    assert ends == bounds


@pytest.mark.parametrize(
    ("price_text", "days"),
    [
        ("each: '1'", 0),
        ("each: '1', bundle: {count: quantity, quantity: 1, per: day}", 1),
        ("plus: [{each: '1'}, {each: '2', bundle: {count: quantity, quantity: 1, per: year}}]", 366),
    ],
)
def test_a_card_knows_its_longest_period(tmp_path, price_text, days):
    """Of all periods that its rules count over, inside other prices too."""
    made = terms(tmp_path, f"match: {{units: mail}}, price: {{{price_text}}}")
    assert made.card.longest_period_days == days


def test_a_share_of_savings_rates_no_quantity(customer):
    """Beside rates, what these do not name is unpriced: a share of what was saved is no price of it."""
    one = customer(
        "match: {tokens: '*'}, price: {plus: [{each: {input: '1'}}, {savings_share: 20%}]}", extra=TOLD
    )
    assert one.quote(tokens(input=1, output=1)).unpriced == (0,)
    assert one.pays(tokens(input=1)) == 1
