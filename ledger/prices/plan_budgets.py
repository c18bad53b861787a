"""The section `budgets` of a plan: how many credits its customers' work may take in a window.

plans:
  team:
    card: agents
    budgets:
      daily: {limit: "500", window: DAY, notify: [50, 80, 100]}
      each-agent: {by: [agent], limit: "20", window: HOUR, at_limit: BLOCK}
      research: {where: {project: research}, limit: "2000", window: MONTH}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

from ledger.books.model.budgets import AtLimit, Budget, BudgetWindow
from ledger.books.model.labels import INTERNAL_LABEL, LABEL_KEY_LENGTH_MAX, LABEL_VALUE_LENGTH_MAX
from ledger.prices.plan_values import Amount
from pricing.documents.validate import RefusedError, Strict

BUDGETS_MAX: Final = 16
"""Of one plan: each work looks at them all, and counts in those that are for it."""

LABELS_MAX: Final = 4
"""By which one budget counts."""

THRESHOLDS_MAX: Final = 8
"""At which one budget notifies."""

PERCENT_MAX: Final = 100

_NAME = r"[a-z0-9][a-z0-9_-]{0,62}"

Value = TypeVar("Value", str, int)


def _window(value: object) -> BudgetWindow:
    if not isinstance(value, str) or value not in list(BudgetWindow):
        raise RefusedError("is no window of a budget", "write " + ", ".join(BudgetWindow))
    return BudgetWindow(value)


def _at_limit(value: object) -> AtLimit:
    if not isinstance(value, str) or value not in list(AtLimit):
        raise RefusedError("is no way to treat a hold beyond the limit", "write " + ", ".join(AtLimit))
    return AtLimit(value)


def _above_zero(limit_micros: int) -> int:
    if limit_micros == 0:
        raise RefusedError("lets no work be done", 'write a limit above "0"')
    return limit_micros


def _public(label: str) -> str:
    if label.startswith(INTERNAL_LABEL):
        raise RefusedError("is hidden from customers, whom budgets are shown", "name another label")
    return _printable(label)


def _printable(text: str) -> str:
    """A budget for what no label can be would count nothing, and limit nothing."""
    if not text.isprintable():
        raise RefusedError("has a character that is not printable", "write printable text")
    return text


def _distinct(values: list[Value]) -> list[Value]:
    if len(set(values)) < len(values):
        raise RefusedError("says something twice", "write each once")
    return values


Label = Annotated[str, Field(min_length=1, max_length=LABEL_KEY_LENGTH_MAX), AfterValidator(_public)]
LabelValue = Annotated[
    str, Field(min_length=1, max_length=LABEL_VALUE_LENGTH_MAX), AfterValidator(_printable)
]
Labels = Annotated[list[Label], Field(max_length=LABELS_MAX), AfterValidator(_distinct)]
Thresholds = Annotated[
    list[Annotated[int, Field(ge=1, le=PERCENT_MAX)]],
    Field(max_length=THRESHOLDS_MAX),
    AfterValidator(_distinct),
]
"""Percent of the limit."""


class BudgetDoc(Strict):
    """One budget."""

    limit: Annotated[Amount, AfterValidator(_above_zero)]
    window: Annotated[BudgetWindow, BeforeValidator(_window)]
    by: Labels = Field(default_factory=list[str])
    where: Annotated[dict[Label, LabelValue], Field(max_length=LABELS_MAX)] = Field(
        default_factory=dict[str, str]
    )
    notify: Thresholds = Field(default_factory=list[int])
    at_limit: Annotated[AtLimit, BeforeValidator(_at_limit)] = AtLimit.THROTTLE


Budgets = Annotated[
    dict[Annotated[str, Field(pattern=f"^{_NAME}$")], BudgetDoc], Field(max_length=BUDGETS_MAX)
]
"""Budgets by their names."""


def budgets_of(stated: Mapping[str, BudgetDoc]) -> tuple[Budget, ...]:
    """A plan's section as its plan carries it, in the document's order."""
    return tuple(
        Budget(
            name,
            budget.limit,
            budget.window,
            tuple(budget.by),
            tuple(budget.where.items()),
            tuple(sorted(budget.notify)),
            budget.at_limit,
        )
        for name, budget in stated.items()
    )
