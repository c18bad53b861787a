"""A customer's own fields of its plan: written as in a plan of `plans.yaml`, stored as JSON.

overdraft_limit: "50"
max_ttl: 1h
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from ledger.books.model.plans import Plan
from ledger.prices.plans import PlanBook, PlanPolicies, policies_of, refuse_contradictions
from pricing.documents.validate import ConfigError, RefusedError, read_text

_FILE: Final = "<overrides>"
_RENAMED: Final = {"overdraft_limit": "overdraft_limit_micros", "low_balance": "low_balance_micros"}
"""Fields of `Plan` that have their unit in their name."""
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


def go_with(overrides: str, plans: PlanBook, plan: str) -> bool:
    """Whether a customer's own fields go with the rest of its plan, if these plans have it."""
    try:
        refuse_overrides(plans, plan, overrides)
    except ConfigError:
        return False
    return True


def overridden(plan: Plan, overrides: str) -> Plan:
    """A plan with a customer's own fields, whether or not they go with the rest of it."""
    return plan._replace(**_fields(overrides))


@lru_cache(_READ_MAX)
def _fields(overrides: str) -> Mapping[str, Any]:
    stated = PlanPolicies.model_validate(json.loads(overrides))
    values = policies_of(stated)
    names = (_RENAMED.get(each, each) for each in stated.model_fields_set)
    return {name: values[name] for name in names}
