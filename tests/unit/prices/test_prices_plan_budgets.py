"""The section `budgets` of a plan: what it means, and what is refused of it."""

import pytest

import pricing
from ledger.books.model.budgets import AtLimit, Budget, BudgetWindow
from ledger.prices.plan_budgets import BUDGETS_MAX
from ledger.prices.plans import PlanBook


def _budgets(section: str) -> tuple[Budget, ...]:
    return PlanBook.from_document(f"plans:\n  a:\n    budgets:\n      {section}\n").plans["a"].budgets


def test_a_plan_has_budgets_in_their_order() -> None:
    """Their limits in micro-credits, thresholds ascending; nothing is said of what is left out."""
    section = (
        'whole: {limit: "0.000001", window: TOTAL}\n'
        '      each: {limit: "20", window: HOUR, by: [agent, run], where: {team: a}, notify: [100, 50],'
        " at_limit: BLOCK}"
    )
    assert _budgets(section) == (
        Budget("whole", 1, BudgetWindow.TOTAL),
        Budget(
            *("each", 20_000_000, BudgetWindow.HOUR, ("agent", "run"), (("team", "a"),)),
            *((50, 100), AtLimit.BLOCK),
        ),
    )


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ('a: {limit: "0", window: DAY}', "4:18: lets no work be done"),
        ('a: {limit: "-1", window: DAY}', "is no amount of credits"),
        ("a: {limit: 5, window: DAY}", "is no amount of credits"),
        ('a: {limit: "5"}', "is missing"),
        ('a: {limit: "5", window: YEAR}', "is no window of a budget"),
        ('a: {limit: "5", window: DAY, at_limit: STOP}', "is no way to treat a hold beyond the limit"),
        ('a: {limit: "5", window: DAY, by: [x, x]}', "says something twice"),
        ('a: {limit: "5", window: DAY, by: [internal.host]}', "is hidden from customers"),
        ('a: {limit: "5", window: DAY, where: {internal.host: a}}', "is hidden from customers"),
        ('a: {limit: "5", window: DAY, where: {team: ""}}', "'team': is empty"),
        (f'a: {{limit: "5", window: DAY, where: {{team: "{"x" * 129}"}}}}', "'team': has more than 128"),
        (f'a: {{limit: "5", window: DAY, where: {{"{"x" * 64}": y}}}}', "has more than 63 characters"),
        ('a: {limit: "5", window: DAY, where: {team: "x\\ty"}}', "a character that is not printable"),
        ('a: {limit: "5", window: DAY, by: ["x\\u200b"]}', "a character that is not printable"),
        ('a: {limit: "5", window: DAY, notify: [50, 0]}', "'notify', entry 2: should be greater"),
        ('a: {limit: "5", window: DAY, notify: [101]}', "less than or equal to 100"),
        ('a: {limit: "5", window: DAY, by: [a, b, c, d, e]}', "'by': has more than 4 entries"),
        ('a: {limit: "5", window: DAY, notify: [50, 50]}', "says something twice"),
        ('"a:b": {limit: "5", window: DAY}', "pattern"),
        ('A: {limit: "5", window: DAY}', "pattern"),
        (
            "{" + ", ".join(f'b{n}: {{limit: "5", window: DAY}}' for n in range(BUDGETS_MAX + 1)) + "}",
            f"'budgets': has more than {BUDGETS_MAX} entries",
        ),
    ],
)
def test_a_budget_that_cannot_be_is_refused(section: str, problem: str) -> None:
    """With what is wrong about it."""
    with pytest.raises(pricing.ConfigError) as caught:
        _budgets(section)
    assert problem in str(caught.value)
