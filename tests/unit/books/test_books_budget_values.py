"""A budget by labels counts for so many combinations of them in a window, and for no more."""

from __future__ import annotations

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
