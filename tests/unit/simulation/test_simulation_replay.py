"""The replay itself: what counts, what is left out, and how changes are reported."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pricing
from ledger.books.model.entries import EntryKind
from ledger.books.model.plans import Unpriced
from ledger.books.model.priced import UNSCALED
from ledger.prices.plans import PlanBook
from ledger.simulation.figures import BUCKETS, bucket_of
from ledger.simulation.plans import card_under, not_simulated, unpriced_under
from ledger.simulation.replay import Simulation
from ledger.simulation.side import BookedCharge, Window

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
COSTS = pricing.CostBook({"units": {"page": {"each": "0.001"}}}, None)
CARD = """
card: basic
credit: credit
credit_price_usd: "0.01"
round: {to: "%s"}
rules: [{name: pages, match: {units: page}, price: {each: "%s"}}]
"""
VOLUME_CARD = """
card: basic
credit: credit
credit_price_usd: "0.01"
rules:
  - name: pages by volume
    match: {units: page}
    price:
      tiers:
        count: quantity
        per: month
        volume: [{up_to: 10, price: {each: "2"}}, {price: {each: "%s"}}]
"""
CLOSE = datetime(2027, 1, 1, tzinfo=UTC)
"""When November's usage gives its surplus back: it may be reported until December ends."""


class Fixed:
    """A side that prices all by one card."""

    def __init__(self, document: str, *, falling_back: str = "") -> None:
        self._falling_back = falling_back
        card = pricing.RateCard.from_document(document)
        self._terms = pricing.compile_terms(card, COSTS)

    def terms_of(self, booked):
        return self._terms.multiplied(booked.multiplier_nanos)

    def unpriced(self, booked):
        return Unpriced.FALLBACK if booked.plan == self._falling_back else Unpriced.CHARGE_HOLD

    def costs_at(self, instant):
        return COSTS

    def usage_of(self, items):
        return items


def booked(sequence=1, pages=1, **fields):
    items = (pricing.Units("page", pages),) if pages is not None else ()
    stated = {
        "customer": 1,
        "sequence": sequence,
        "kind": EntryKind.CHARGE,
        "reservation": None,
        "subject": None,
        "undone": False,
        "booked_at": NOW,
        "plan": "standard",
        "own_card": None,
        "plan_overrides": None,
        "card": "basic",
        "card_version": "",
        "cost_version": COSTS.version,
        "credit_price_nanousd": 10**7,
        "multiplier_nanos": UNSCALED,
        "priced_micros": 0,
        "revenue_nanousd": 0,
        "cost_nanousd": 0,
        "labels": {},
        "items": items,
    }
    return BookedCharge(**{**stated, **fields})


def report(*entries, before="1", after="2", since=None, to="0.000001"):
    sides = [Fixed(CARD % (to, each)) for each in (before, after)]
    return replayed(entries, *sides, Window(since, NOW + timedelta(days=1)))


def replayed(entries, before, after, time):
    simulation = Simulation(before, after, time)
    for entry in entries:
        simulation.add(entry)
    return simulation.report()


pages = st.integers(0, 10**13)


@given(st.lists(pages, min_size=1, max_size=6))
def test_a_session_in_parts_costs_what_it_costs_in_one(parts):
    """Rounding, and the cost that is posted, are carried over a reservation's parts, on both sides."""
    commit = {"kind": EntryKind.COMMIT, "reservation": 1}
    split = report(*(booked(n, part, **commit) for n, part in enumerate(parts, 2)), to="0.01").all
    whole = report(booked(2, sum(parts), **commit), to="0.01").all
    for one, other in zip(split, whole, strict=True):
        assert (one.credits_micros, one.cost_nanousd) == (other.credits_micros, other.cost_nanousd)


@given(st.lists(st.tuples(st.integers(1, 3), pages), max_size=8))
def test_customers_and_names_add_up_to_the_whole(work):
    """What is reported of each customer, and of each name, is what is reported of all."""
    entries = [booked(n, part, customer=customer) for n, (customer, part) in enumerate(sorted(work), 1)]
    found = report(*entries)
    for side in (0, 1):
        for groups in (found.customers.values(), found.names.values()):
            assert sum(each[side].credits_micros for each in groups) == found.all[side].credits_micros
            assert sum(each[side].cost_nanousd for each in groups) == found.all[side].cost_nanousd
    assert sum(found.charge_changes) == found.charges == len(work)


def test_a_reversal_takes_back_what_its_charge_came_to():
    """Charged and reversed is nothing, on either side; another's charge stays."""
    charge = booked(2, 10**9, undone=True, priced_micros=5, revenue_nanousd=50, cost_nanousd=1)
    back = booked(
        3, None, kind=EntryKind.REVERSAL, subject=2, priced_micros=-5, revenue_nanousd=-50, cost_nanousd=-1
    )
    found = report(charge, back, booked(4, 10**9))
    assert (found.charges, found.unmatched_reversals) == (2, 0)
    assert (found.all.before.credits_micros, found.all.after.credits_micros) == (10**6, 2 * 10**6)
    assert (found.booked.credits_micros, found.booked.lots_nanousd, found.booked.cost_nanousd) == (0, 0, 0)


def test_what_is_from_before_does_not_count():
    """A charge from before the time is on neither side; the reversal of one that was not read is reported."""
    old = booked(2, 10**9, booked_at=NOW - timedelta(days=1))
    back = booked(3, None, kind=EntryKind.REVERSAL, subject=1, priced_micros=-5)
    found = report(old, back, since=NOW)
    assert (found.charges, found.unmatched_reversals, found.all.before.credits_micros) == (0, 1, 0)
    assert found.booked.credits_micros == 0


def test_what_the_journal_holds_counts_though_it_is_ahead_of_the_clock():
    """Entries are booked by another process's clock than that of the one who asks."""
    found = replayed(
        [booked(2, 10**9)], *[Fixed(CARD % ("0.000001", "1"))] * 2, Window(None, NOW - timedelta(seconds=1))
    )
    assert (found.charges, found.all.before.credits_micros) == (1, 10**6)


def test_credits_without_usage_stay_what_they_are():
    """A commit in credits costs the same on both sides: no card has priced it."""
    stated = booked(2, None, kind=EntryKind.COMMIT, reservation=1, priced_micros=7, revenue_nanousd=70)
    found = report(stated)
    assert found.all.before == found.all.after
    assert (found.all.after.credits_micros, found.all.after.lots_nanousd) == (7, 70)


def test_lots_are_worth_what_was_drawn():
    """Credits beside those booked are worth what these were; without any, the list price."""
    found = report(booked(2, 10**9, priced_micros=10**6, revenue_nanousd=4 * 10**6), booked(3, 10**9))
    assert (found.all.before.lots_nanousd, found.all.after.lots_nanousd) == (8 * 10**6, 16 * 10**6)
    assert report(booked(2, 10**9)).all.after.lots_nanousd == 2 * 10**7


def test_a_customers_multiplier_scales_both_sides():
    """A negotiated factor is in what the customer pays, whatever the card."""
    found = report(booked(2, 10**9, multiplier_nanos=UNSCALED // 2))
    assert (found.all.before.credits_micros, found.all.after.credits_micros) == (500_000, 10**6)


FALLING_CARD = """
card: falling
credit: credit
credit_price_usd: "0.01"
%s
rules:
  - {name: pages, match: {units: page}, price: {each: "3"}}
  - {name: mails, match: {units: mail}, price: {each: "5"}}
"""


@pytest.mark.parametrize(
    ("fallback", "falling_back", "amount"),
    [
        ("", "standard", 3),
        ("fallback: {units: mails}", "standard", 3 + 5),
        ("fallback: {units: mails}", "other", 3 + 2),
    ],
)
def test_what_has_no_price_costs_its_fallback_or_what_it_took_of_its_hold(fallback, falling_back, amount):
    """By the plan: its fallback, or nothing where the card names none; or what it took of its hold.

    A line that has a price takes nothing of a hold, whatever it took before.
    """
    items = (pricing.Units("page", 10**9), pricing.Units("fax", 10**9))
    entry = booked(2, None, items=items, held_micros=(10**6, 2 * 10**6))
    sides = [Fixed(FALLING_CARD % fallback, falling_back=falling_back) for _ in range(2)]
    found = replayed([entry], *sides, Window(None, NOW + timedelta(days=1)))
    assert found.all.before.credits_micros == amount * 10**6
    assert found.all.before.unpriced_lines == 1
    assert found.names["units", "page"].before.credits_micros == 3 * 10**6


def by_volume(until):
    """Ten pages at 2 credits, two more that bring all twelve to 1; on the other side to half of that."""
    closed = booked(4, None, kind=EntryKind.PERIOD_CLOSED, booked_at=CLOSE)
    entries = [
        booked(2, 10 * 10**9, priced_micros=20 * 10**6, revenue_nanousd=10**8),
        booked(3, 2 * 10**9),
        closed._replace(priced_micros=-8 * 10**6, revenue_nanousd=-4 * 10**7),
    ]
    sides = [Fixed(VOLUME_CARD % each) for each in ("1", "0.5")]
    stored = [entry for entry in entries if entry.booked_at <= until]
    return replayed(stored, *sides, Window(None, until))


def test_a_period_that_closes_gives_its_surplus_back_on_each_side():
    """As booked under the same prices; the other side's is its own, at the value that went back."""
    found = by_volume(CLOSE + timedelta(minutes=5))
    both = [(side.credits_micros, side.lots_nanousd) for side in found.all]
    assert both == [(12 * 10**6, 6 * 10**7), (6 * 10**6, 3 * 10**7)]
    assert (found.booked.credits_micros, found.booked.lots_nanousd) == both[0]


def test_a_period_that_is_open_keeps_its_surplus():
    """What may still be used is given back by nobody yet."""
    found = by_volume(NOW + timedelta(days=1))
    assert [side.credits_micros for side in found.all] == [20 * 10**6, 20 * 10**6]


def test_a_surplus_is_what_the_customer_paid_too_much():
    """At half the price ten pages are 10 credits, and twelve 6: 4 go back, not 2."""
    half = {"multiplier_nanos": UNSCALED // 2}
    entries = [booked(2, 10 * 10**9, **half), booked(3, 2 * 10**9, **half)]
    sides = [Fixed(VOLUME_CARD % each) for each in ("1", "0.5")]
    found = replayed(entries, *sides, Window(None, CLOSE + timedelta(minutes=5)))
    assert [side.credits_micros for side in found.all] == [6 * 10**6, 3 * 10**6]


def test_less_than_a_micro_credit_is_not_due():
    """Half of one that a line costs alone, and was charged nothing of: the books settle towards 0."""
    charges = [booked(2, 10 * 10**9, undone=True), booked(3, 250)]
    back = booked(4, None, kind=EntryKind.REVERSAL, subject=2)
    sides = [Fixed(VOLUME_CARD % each) for each in ("1", "0.5")]
    found = replayed([*charges, back], *sides, Window(None, CLOSE + timedelta(minutes=5)))
    assert [side.credits_micros for side in found.all] == [0, 0]


def test_a_reversal_in_a_closed_period_leaves_the_price_of_the_rest():
    """Ten pages for 20 credits and two for nothing, of which 8 go back; then the ten are undone: two are 4.

    As the books do it: the reversal returns the 12 that are left of the 20, and 4 are due at once.
    """
    later = CLOSE + timedelta(minutes=5)
    entries = [
        booked(2, 10 * 10**9, undone=True, priced_micros=20 * 10**6),
        booked(3, 2 * 10**9),
        booked(4, None, kind=EntryKind.PERIOD_CLOSED, booked_at=CLOSE, priced_micros=-8 * 10**6),
        booked(5, None, kind=EntryKind.REVERSAL, subject=2, booked_at=later, priced_micros=-12 * 10**6),
        booked(6, None, kind=EntryKind.PERIOD_CLOSED, booked_at=later, priced_micros=4 * 10**6),
    ]
    sides = [Fixed(VOLUME_CARD % each) for each in ("1", "0.5")]
    found = replayed(entries, *sides, Window(None, later + timedelta(minutes=1)))
    assert [side.credits_micros for side in found.all] == [4 * 10**6, 4 * 10**6]
    assert found.booked.credits_micros == 4 * 10**6


@pytest.mark.parametrize(
    ("before", "after", "bucket"),
    [
        (100, 49, 0),
        (100, 50, 1),
        (100, 99, 5),
        (100, 100, 5),
        (100, 101, 6),
        (100, 200, 11),
        (0, 0, 5),
        (0, 1, 12),
    ],
)
def test_changes_fall_into_their_buckets(before, after, bucket):
    """A bucket takes its lower bound and not its upper one; what was free has one of its own."""
    assert bucket_of(before, after) == bucket


@given(st.integers(1, 10**20), st.lists(st.integers(0, 10**21), min_size=2))
def test_buckets_are_in_order(before, afters):
    """Who pays more falls no lower."""
    found = [bucket_of(before, after) for after in sorted(afters)]
    assert all(lower <= upper < BUCKETS - 1 for lower, upper in pairwise(found))


PLANS = PlanBook.from_document(
    """\
plans:
  standard: {card: basic, over_capture: CAP}
  holding: {card: basic, unpriced: CHARGE_HOLD}
  falling: {card: basic, unpriced: FALLBACK, low_balance: "5"}
  cardless: {}
  gone: {card: basic, unpriced: FALLBACK}
"""
)
CANDIDATE = PlanBook.from_document(
    """\
plans:
  standard: {card: dear, over_capture: CAP, unpriced: FALLBACK}
  holding: {card: basic, unpriced: BOOK, budgets: {all: {limit: "5", window: DAY}}}
  falling: {unpriced: CHARGE_HOLD, low_balance: "5.0"}
  cardless: {card: dear, max_ttl: 1h, over_capture: ALLOW_IF_AVAILABLE}
  new: {card: dear}
"""
)


@pytest.mark.parametrize(
    ("plan", "own_card", "charged_by", "card"),
    [
        ("standard", None, "basic", "dear"),
        ("standard", None, "older", "dear"),
        ("standard", "basic", "basic", "basic"),
        ("holding", None, "basic", "basic"),
        ("holding", None, "older", "older"),
        ("falling", None, "basic", "basic"),
        ("cardless", "own", "own", "own"),
        ("cardless", None, "own", "dear"),
        ("gone", None, "basic", "basic"),
        ("new", None, "basic", "dear"),
        ("", None, "basic", "basic"),
    ],
)
def test_a_plan_that_changes_its_card_has_its_customers_pay_by_it(plan, own_card, charged_by, card):
    """But for those who have a card of their own; where a plan changes no card, or names none, it stays."""
    entry = booked(plan=plan, own_card=own_card, card=charged_by)
    assert card_under(PLANS, CANDIDATE, entry) == card
    assert card_under(PLANS, PLANS, entry) == charged_by


@pytest.mark.parametrize(
    ("plan", "own", "before", "after"),
    [
        ("standard", None, Unpriced.BOOK, Unpriced.FALLBACK),
        ("holding", None, Unpriced.CHARGE_HOLD, Unpriced.BOOK),
        ("holding", '{"unpriced": "FALLBACK"}', Unpriced.FALLBACK, Unpriced.FALLBACK),
        ("holding", '{"max_ttl": "30s"}', Unpriced.CHARGE_HOLD, Unpriced.BOOK),
        ("gone", None, Unpriced.FALLBACK, Unpriced.FALLBACK),
        ("gone", '{"unpriced": "BOOK"}', Unpriced.BOOK, Unpriced.BOOK),
        ("", None, Unpriced.CHARGE_HOLD, Unpriced.CHARGE_HOLD),
    ],
)
def test_what_has_no_price_costs_what_the_plan_says_or_the_customers_own_field(plan, own, before, after):
    """A plan that is gone stays as it is; of one that there never was, it costs what it took of its hold."""
    entry = booked(plan=plan, plan_overrides=own)
    found = [unpriced_under(PLANS, plans, entry) for plans in (PLANS, CANDIDATE)]
    assert found == [before, after]


def test_what_plans_change_and_no_figure_shows_is_named():
    """By field: what depends on balances, a hold that nobody charged, and a card or a plan that is gone.

    What is written otherwise and says the same is no change.
    """
    assert not_simulated(PLANS, CANDIDATE) == {
        "": ["gone"],
        "budgets": ["holding"],
        "card": ["falling"],
        "max_ttl": ["cardless"],
        "unpriced": ["falling"],
    }
    assert not_simulated(PLANS, PLANS) == {}
