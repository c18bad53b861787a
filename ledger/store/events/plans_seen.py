"""What followers of the journal go by: the plans in force, and what customers have their own of.

Whoever has its own fields of its plan is few. A chunk of the journal names those that are in it, so that
nobody reads the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from ledger.books.model.plans import Plan

PlanOf: TypeAlias = Callable[[str, str | None], Plan | None]
"""A plan by its name and the customer's own fields of it, at one instant; None: there is no such plan."""


class PlansSeen(NamedTuple):
    """The plans of one instant."""

    all: Mapping[str, Plan]
    """By name, for customers without fields of their own."""
    of: PlanOf


class OwnPlan(NamedTuple):
    """A customer with its own fields, and a plan that its entries name."""

    customer: int
    name: str
    plan: Plan | None
    """With these fields; None: there is none of that name."""
