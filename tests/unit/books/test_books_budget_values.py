"""A budget by labels counts for so many combinations of them in a window, and for no more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from books_world import World

from ledger.books import (
    Budget,
    BudgetWindow,
    Charge,
    Command,
    Decision,
    Facts,
    GrantKind,
    IssueGrant,
    Plan,
    Refusal,
    Reservation,
    ReservationState,
    Reserve,
    State,
    budgets,
    decide,
)
from ledger.books.limits import BUDGET_VALUES_MAX
from tests.amounts import CREDIT

EACH = Budget("each", 10 * CREDIT, BudgetWindow.HOUR, by=("agent",))
ALL = Budget("all", 10 * CREDIT, BudgetWindow.HOUR)
LABELS = {"agent": "a"}
NEW_WORK = [Reserve("new", b"", CREDIT, labels=LABELS), Charge("new", b"", CREDIT, labels=LABELS)]


def decided(command: Command, values: int, *, has_counter: bool = False) -> Decision | Refusal:
    """Decide new work where so many combinations have a counter in the window."""
    world = World(Plan("standard", None, budgets=(EACH, ALL)))
    world.run(IssueGrant("grant", b"", 100 * CREDIT, GrantKind.PROMO, 0))
    places = budgets.places_of_new(world.plan.budgets, LABELS, world.now, "UTC")
    states = {places[0].values_key: State(str(values), places[0].ends_at)}
    if has_counter:
        states[places[0].key] = State("0", places[0].ends_at)
    return decide(
        world.wallet,
        command,
        now=world.now,
        plan=world.plan,
        priced=None,
        terms=world.terms,
        facts=Facts(counters=budgets.read(places, states)),
    )


@pytest.mark.parametrize("command", NEW_WORK, ids=["reserve", "charge"])
def test_new_work_with_one_combination_too_many_is_refused(command: Command) -> None:
    """The last one that has room is counted; the refusal of the next names budget, labels and bound."""
    last = decided(command, BUDGET_VALUES_MAX - 1)
    assert isinstance(last, Decision)
    counts = {key.split(":")[0]: state.text for key, state in last.states.items() if "each" in key}
    assert counts == {"budget": str(CREDIT), "budget_values": str(BUDGET_VALUES_MAX)}
    refused = decided(command, BUDGET_VALUES_MAX)
    assert isinstance(refused, Refusal)
    assert refused.reason == "BUDGET_EXCEEDED"
    detail = {name: refused.detail[name] for name in ("budget", "labels", "values_max")}
    assert detail == {"budget": "each", "labels": '{"agent":"a"}', "values_max": str(BUDGET_VALUES_MAX)}


@pytest.mark.parametrize("command", NEW_WORK, ids=["reserve", "charge"])
def test_a_combination_that_has_a_counter_goes_on(command: Command) -> None:
    """However many there are; none is counted anew."""
    outcome = decided(command, BUDGET_VALUES_MAX, has_counter=True)
    assert isinstance(outcome, Decision)
    assert not [key for key in outcome.states if key.startswith("budget_values:")]


def test_work_already_done_is_not_refused_for_its_labels() -> None:
    """It is charged in full, and counts in the other budgets alone."""
    done = Charge("new", b"", CREDIT, already_used=True, labels=LABELS)
    outcome = decided(done, BUDGET_VALUES_MAX)
    assert isinstance(outcome, Decision)
    assert outcome.entry.charged_micros == CREDIT
    assert [key.split(":")[1] for key in outcome.states] == ["all"]
    assert outcome.entry.budgets is not None
    assert [key.split(":")[1] for key in outcome.entry.budgets.counters] == ["all"]


AT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
SWEPT = [
    # A state's key, when its window ended before now; whether it is swept.
    ("budget:all:HOUR:2026-03-01T09.00", timedelta(days=2), True),
    ("budget_values:each:HOUR:2026-03-01T09.00", timedelta(days=2), True),
    ("budget:all:HOUR:2026-03-01T09.00", timedelta(days=2, microseconds=-1), False),
    ("budget:all:TOTAL:", None, False),
    ("run/budget:", timedelta(days=9), False),
]


@pytest.mark.parametrize(("key", "ago", "swept"), SWEPT)
def test_only_counters_of_windows_that_ended_long_ago_are_swept(
    key: str, ago: timedelta | None, swept: bool
) -> None:
    """What work may still count in stays, and so does what prices remember."""
    state = State("1", None if ago is None else AT - ago)
    assert budgets.is_swept(key, state, AT) is swept


def test_work_that_has_begun_counts_in_no_counter_that_was_swept() -> None:
    """New work begins one where there is none."""
    budget = (EACH, ALL)
    new = budgets.places_of_new(budget, LABELS, AT, "UTC")
    assert [counter.used_micros for counter in budgets.read(new, {})] == [0, 0]
    begun = Reservation(
        sequence=1,
        state=ReservationState.OPEN,
        terms=World().terms,
        created_at=AT,
        expires_at=AT,
        pins=(),
        labels=LABELS,
        counters=tuple(place.key for place in new),
    )
    states = {new[1].key: State("3", new[1].ends_at)}
    [left] = budgets.read(budgets.places_of_reservation(begun, budget), states)
    assert (left.key, left.used_micros, left.left_micros) == (new[1].key, 3, ALL.limit_micros - 3)


def test_new_work_counts_in_the_window_of_its_instant() -> None:
    """Of its zone, whatever instants, zones and labels were asked for before."""
    asked = [
        (AT, "UTC", LABELS),
        (AT + timedelta(hours=1), "UTC", LABELS),
        (AT, "Asia/Kolkata", LABELS),
        (AT, "UTC", {}),
        (AT, "UTC", {"agent": "b"}),
        (AT, "UTC", LABELS),
    ]
    found = [
        [place.ends_at for place in budgets.places_of_new((EACH, ALL), labels, at, zone)]
        for at, zone, labels in asked
    ]
    ten, eleven = AT.replace(hour=10, minute=0), AT.replace(hour=11, minute=0)
    assert found == [[ten] * 2, [eleven] * 2, [AT.replace(hour=10)] * 2, [ten], [ten] * 2, [ten] * 2]
