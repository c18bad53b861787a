"""A customer's own fields of its plan: written as in a plan of `plans.yaml`, stored as JSON.

overdraft_limit: "50"
max_ttl: 1h
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from pydantic import ValidationError

from ledger.books.model.plans import OverCapture, Plan, Unpriced
from ledger.prices.plans import (
    PlanBook,
    PlanPolicies,
    doubts_of_stated,
    policies_of,
    refuse_contradictions,
)
from pricing.cards.rate_card import RateCard
from pricing.documents.validate import ConfigError, Problem, RefusedError, read_text

_FILE: Final = "<overrides>"
_RENAMED: Final = {
    "overdraft_limit": "overdraft_limit_micros",
    "low_balance": "low_balance_micros",
    "topup": "top_up",
}
"""Fields that `Plan` has by another name."""
_LEAST: Final[Mapping[str, Any]] = MappingProxyType(
    {"over_capture": OverCapture.CAP, "overdraft_limit_micros": 0, "unpriced": Unpriced.BOOK}
)
"""By what work that has begun is charged least: no more than its hold, by prices alone."""
_READ_MAX: Final = 4_096
"""Different overrides remembered at once: of customers at work."""


def read_overrides(text: str) -> str:
    """What a text states, as JSON; empty, if it states nothing.

    Raises pricing.ConfigError with all that is wrong with the fields, each by itself.
    """
    if not text.strip():
        return ""
    stated = read_text(text, PlanPolicies, _FILE).plain
    return json.dumps(stated, sort_keys=True, ensure_ascii=False) if stated else ""


def refuse_overrides(plans: PlanBook, plan: str, overrides: str) -> None:
    """Raises pricing.ConfigError where a customer's own fields go against the rest of its plan."""
    located = read_text(overrides, PlanPolicies, _FILE)
    try:
        refuse_contradictions(plans.merged(plan, located.model))
    except RefusedError as error:
        raise ConfigError([located.places.problem(error.at, error.message, error.hint)]) from error


def doubts_of_overrides(plans: PlanBook, plan: str, overrides: str, card: RateCard | None) -> list[Problem]:
    """What of a customer's own fields is likely to be a mistake, beside the rest of its plan and its card.

    What its plan has of that by itself is said where the plan is published.
    """
    located = read_text(overrides, PlanPolicies, _FILE)
    of_plan = plans.plans[plan]
    known = {*doubts_of_stated(of_plan, plans.merged(plan, PlanPolicies()), card)}
    found = doubts_of_stated(overridden(of_plan, overrides), plans.merged(plan, located.model), card)
    return [
        located.places.problem(at, f"{'.'.join(map(str, at))}: {message}", hint)
        for at, message, hint in found
        if (at, message, hint) not in known
    ]


def go_with(overrides: str, plans: PlanBook, plan: str) -> bool:
    """Whether a customer's own fields go with the rest of its plan, if these plans have it."""
    try:
        refuse_overrides(plans, plan, overrides)
    except ConfigError:
        return False
    return True


def overridden(plan: Plan, overrides: str) -> Plan:
    """A plan with a customer's own fields, whether or not they go with the rest of it.

    Where some of them cannot be read here, for a newer version has written them, the plan says which, and
    what has begun is charged the least that it may be.
    """
    return plan._replace(**_fields(overrides))


def unreadable_fields(overrides: str) -> tuple[str, ...]:
    """A customer's own fields that this version cannot read, by their names."""
    unreadable: tuple[str, ...] = _fields(overrides).get("unreadable", ())
    return unreadable


@lru_cache(_READ_MAX)
def _fields(overrides: str) -> Mapping[str, Any]:
    """What a customer has its own of, by the fields of `Plan`."""
    written = json.loads(overrides)
    unreadable: Mapping[str, Any] = {}
    try:
        stated = PlanPolicies.model_validate(written)
    except ValidationError as error:
        names = sorted({str(found["loc"][0]) for found in error.errors()})
        stated = PlanPolicies.model_validate({name: written[name] for name in written.keys() - set(names)})
        unreadable = {**_LEAST, "unreadable": tuple(names)}
    values = policies_of(stated)
    own = {name: values[name] for name in (_RENAMED.get(each, each) for each in stated.model_fields_set)}
    return {**own, **unreadable}
