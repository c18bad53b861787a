"""What an entry is an event of: thresholds on the edge, and what happened to holds and grants."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.resources import files
from itertools import pairwise
from typing import Any

import fastjsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ledger.events
from ledger.api.messages import ids
from ledger.books.model.amounts import Credits
from ledger.books.model.budgets import BudgetCrossing
from ledger.books.model.lots import LotKey
from ledger.events.derive import BookedFact, Event, EventType, IssuedGrant, PublicIds, events_of

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
IDS = PublicIds(ids.reservation_id, ids.charge_id, ids.grant_id)
SCHEMA = json.loads(files(ledger.events).joinpath("schema.json").read_text(encoding="utf-8"))
is_valid = fastjsonschema.compile(SCHEMA)

LOW, DEPLETED, RECOVERED = (
    EventType.BALANCE_LOW,
    EventType.BALANCE_DEPLETED,
    EventType.BALANCE_RECOVERED,
)


def fact(kind: str = "CHARGE", **fields: Any) -> BookedFact:
    """An entry of the customer acme."""
    given = {"posted": Credits(), "after": Credits(), "threshold_micros": 0, **fields}
    return BookedFact(customer=1, customer_id="acme", sequence=7, kind=kind, at=NOW, **given)


def reported(entry: BookedFact) -> list[Event]:
    """The events of an entry, each of which is as the schema says."""
    events = list(events_of(entry, IDS))
    for event in events:
        is_valid({"type": event.type, "data": dict(event.data)})
    return events


def types_of(entry: BookedFact) -> list[EventType]:
    return [event.type for event in reported(entry)]


def moved(before: int, after: int, threshold: int = 0, held: int = 0) -> BookedFact:
    """An entry that brings what is available from one amount to another."""
    posted = Credits(available=after - before, consumed=before - after)
    return fact(posted=posted, after=Credits(available=after, held=held), threshold_micros=threshold)


@pytest.mark.parametrize(
    ("before", "after", "threshold", "expected"),
    [
        (100, 50, 50, []),
        (100, 49, 50, [LOW]),
        (49, 10, 50, []),
        (49, 0, 50, [DEPLETED]),
        (100, 0, 50, [LOW, DEPLETED]),
        (0, 49, 50, []),
        (49, 50, 50, [RECOVERED]),
        (0, 100, 50, [RECOVERED]),
        (100, 1, 0, []),
        (1, 0, 0, [DEPLETED]),
        (0, 1, 0, [RECOVERED]),
        (0, 0, 50, []),
    ],
)
def test_a_threshold_is_crossed_on_the_edge(before, after, threshold, expected):
    """Only the entry that has the threshold between its balances is an event; a plan without one knows 0."""
    assert types_of(moved(before, after, threshold)) == expected


def test_a_hold_takes_nothing_away():
    """What is held is left: neither a hold nor its end is a crossing, what it has consumed is."""
    held = Credits(available=-60, held=60)
    assert (
        types_of(fact("RESERVE", posted=held, after=Credits(available=40, held=60), threshold_micros=50))
        == []
    )
    back = Credits(available=60, held=-60)
    assert types_of(fact("RELEASE", posted=back, after=Credits(available=100), threshold_micros=50)) == []
    spent = Credits(held=-60, consumed=60)
    [low] = reported(fact("COMMIT", posted=spent, after=Credits(available=40), threshold_micros=50))
    assert low.type is LOW
    assert low.data == {
        "available_micros": "40",
        "held_micros": "0",
        "debt_micros": "0",
        "threshold_micros": "50",
    }


@given(st.lists(st.integers(0, 100), min_size=2), st.integers(0, 100))
def test_each_crossing_is_one_event(balances, threshold):
    """Over any history: low and recovered take turns, and the last says how the balance stands."""
    enough = max(threshold, 1)
    events = [
        each for before, after in pairwise(balances) for each in types_of(moved(before, after, threshold))
    ]
    edges = [each for each in events if each is not (LOW if threshold == 0 else DEPLETED)]
    assert all(first != second for first, second in pairwise(edges))
    if edges:
        assert (edges[-1] is RECOVERED) == (balances[-1] >= enough)
    falls = sum(first > 0 >= second for first, second in pairwise(balances))
    assert events.count(DEPLETED) == falls


@pytest.mark.parametrize(
    ("posted", "uncollected", "beyond"),
    [
        (Credits(held=-60, consumed=70, available=-10), 0, "10"),
        (Credits(held=-60, consumed=75, available=-10, debt=-5), 0, "15"),
        (Credits(held=-60, consumed=60), 7, "0"),
    ],
)
def test_a_commit_beyond_its_hold(posted, uncollected, beyond):
    """What it drew from elsewhere, owes, or left uncollected is more than was held."""
    entry = fact(
        "COMMIT",
        posted=posted,
        after=Credits(available=500),
        reservation=5,
        charged_micros=posted.consumed,
        uncollected_micros=uncollected,
    )
    [event] = reported(entry)
    assert event.type is EventType.RESERVATION_OVER_CAPTURED
    assert event.data["beyond_hold_micros"] == beyond
    assert event.data["uncollected_micros"] == str(uncollected)
    assert event.data["reservation_id"] == ids.reservation_id("acme", 5)
    assert event.data["charge_id"] == ids.charge_id("acme", 7)


def test_a_commit_within_its_hold_is_no_event():
    """Nor is one that gives the rest back."""
    posted = Credits(held=-60, consumed=40, available=20)
    assert types_of(fact("COMMIT", posted=posted, after=Credits(available=500), reservation=5)) == []


def test_a_late_commit_is_late_and_nothing_else():
    """It has no hold that it could go beyond."""
    entry = fact(
        "COMMIT",
        posted=Credits(consumed=10, available=-10),
        after=Credits(available=500),
        reservation=5,
        charged_micros=10,
        late=True,
        reservation_expires_at=NOW,
    )
    [event] = reported(entry)
    assert event.type is EventType.RESERVATION_LATE_COMMIT
    assert event.data["hold_expired_at"] == "2026-11-29T12:00:00+00:00"


def test_what_the_clock_does():
    """An expired hold says what went back, an expired grant what is gone, and then the balance follows."""
    hold = fact(
        "RESERVATION_EXPIRED",
        posted=Credits(held=-60, available=60),
        after=Credits(available=60),
        reservation=5,
        reservation_charged_micros=3,
    )
    [event] = reported(hold)
    assert (event.type, event.data["released_micros"], event.data["charged_micros"]) == (
        EventType.RESERVATION_EXPIRED,
        "60",
        "3",
    )
    grant = fact("GRANT_EXPIRED", posted=Credits(available=-60, expired=60), lot=LotKey(2, 0))
    first, second = reported(grant)
    assert (first.type, first.data["expired_micros"]) == (EventType.GRANT_EXPIRED, "60")
    assert second.type is DEPLETED


def test_a_voided_grant():
    """What was taken back of it, and what of its used credits is owed from now on."""
    posted = Credits(available=-40, voided=100, debt=-60)
    event, depleted = reported(fact("GRANT_VOIDED", posted=posted, lot=LotKey(2, 0)))
    assert (event.type, event.data["taken_back_micros"], event.data["owed_micros"]) == (
        EventType.GRANT_VOIDED,
        "40",
        "60",
    )
    assert depleted.type is DEPLETED


def test_a_grant_that_is_paid_back():
    """How many of its credits were taken back, and nothing of the money."""
    posted = Credits(available=-40, refunded=40)
    event, depleted = reported(fact("GRANT_REFUNDED", posted=posted, lot=LotKey(2, 0)))
    assert (event.type, event.data["refunded_micros"]) == (EventType.GRANT_REFUNDED, "40")
    assert event.data.keys() == {"grant_id", "refunded_micros"}
    assert depleted.type is DEPLETED


@pytest.mark.parametrize("expires_at", [None, NOW])
def test_a_grant_is_reported_without_what_was_paid(expires_at):
    """Its terms, and no more; one that never expires has no field that says when."""
    entry = fact(
        "GRANT",
        posted=Credits(issued=-100, available=100),
        after=Credits(available=100),
        lot=LotKey(7, 0),
        granted=IssuedGrant("PAID", 100, NOW, expires_at, -1, ""),
    )
    issued, recovered = reported(entry)
    assert issued.type is EventType.GRANT_ISSUED
    assert issued.data["grant_id"] == ids.grant_id("acme", LotKey(7, 0))
    assert ("expires_at" in issued.data) == (expires_at is not None)
    assert recovered.type is RECOVERED


def test_the_schema_knows_every_type():
    """And no other."""
    assert {each["properties"]["type"]["const"] for each in SCHEMA["oneOf"]} == set(EventType)


@pytest.mark.parametrize(
    ("is_recovery", "expected"), [(False, EventType.BUDGET_CROSSED), (True, EventType.BUDGET_RECOVERED)]
)
def test_a_threshold_of_a_budget_is_an_event_of_the_entry_that_crossed_it(is_recovery, expected):
    """One for each threshold; what an entry without any did to budgets is none."""
    crossing = BudgetCrossing("each", {"agent": "a"}, 50, 6, 10, NOW, is_recovery)
    whole = crossing._replace(labels={}, percent=100, ends_at=None)
    crossed = reported(fact(crossings=(crossing, whole)))
    counts = {"used_micros": "6", "limit_micros": "10"}
    assert [(event.type, event.data) for event in crossed] == [
        (
            expected,
            {
                "budget": "each",
                "labels": '{"agent":"a"}',
                "percent": "50",
                **counts,
                "window_ends_at": NOW.isoformat(),
            },
        ),
        (expected, {"budget": "each", "labels": "{}", "percent": "100", **counts}),
    ]
    assert reported(fact()) == []
