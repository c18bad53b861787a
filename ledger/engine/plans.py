"""Plans: what a customer's policies are, from `plans.yaml` or built in.

plans:
  standard: {card: agents, over_capture: ALLOW_IF_AVAILABLE}
  overdraft: {over_capture: ALLOW_WITH_OVERDRAFT, overdraft_limit: "100", default_ttl: 5m, max_ttl: 24h}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ledger.books.model import OverCapture, Plan
from pricing.source import load_model

MICROS = 1_000_000
TTL_MIN = timedelta(seconds=1)
TTL_MAX = timedelta(hours=24)

BUILT_IN: Mapping[str, Plan] = {
    plan.name: plan
    for plan in (
        Plan("standard", None),
        Plan("capped", None, OverCapture.CAP),
        Plan("overdraft", None, OverCapture.ALLOW_WITH_OVERDRAFT, 100 * MICROS),
    )
}
"""The plans of a configuration without `plans.yaml`. They name no card: each customer does."""

_DURATION = re.compile(r"(\d{1,6})(s|m|h)")
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_AMOUNT = re.compile(r"\d{1,12}(\.\d{1,6})?")


def _duration(value: object) -> timedelta:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("write a whole number of s, m or h, e.g. 5m")
    ttl = timedelta(seconds=int(match[1]) * _SECONDS[match[2]])
    if not TTL_MIN <= ttl <= TTL_MAX:
        raise ValueError("write a time to live from 1s to 24h")
    return ttl


def _credits_micros(value: object) -> int:
    if not isinstance(value, str) or not _AMOUNT.fullmatch(value):
        raise ValueError('write credits as a quoted decimal with at most 6 places, e.g. "100"')
    return int(Decimal(value).scaleb(6))


Ttl = Annotated[timedelta, BeforeValidator(_duration)]


class _PlanModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    card: str | None = None
    over_capture: OverCapture = OverCapture.ALLOW_IF_AVAILABLE
    overdraft_limit: Annotated[int, BeforeValidator(_credits_micros)] = 0
    default_ttl: Ttl = timedelta(minutes=5)
    max_ttl: Ttl = TTL_MAX

    @model_validator(mode="after")
    def _agrees(self) -> _PlanModel:
        if self.default_ttl > self.max_ttl:
            raise ValueError("default_ttl is longer than max_ttl")
        if self.overdraft_limit and self.over_capture is not OverCapture.ALLOW_WITH_OVERDRAFT:
            raise ValueError("overdraft_limit needs over_capture: ALLOW_WITH_OVERDRAFT")
        return self


class _PlansModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    plans: dict[str, _PlanModel] = Field(min_length=1)


def load_plans(directory: Path) -> Mapping[str, Plan]:
    """The plans of `directory/plans.yaml`, or the built-in ones where there is no such file.

    Raises pricing.ConfigError with file, line and column.
    """
    path = directory / "plans.yaml"
    if not path.exists():
        return BUILT_IN
    document = load_model(path, _PlansModel)
    return {
        name: Plan(name, plan.card, plan.over_capture, plan.overdraft_limit, plan.default_ttl, plan.max_ttl)
        for name, plan in document.plans.items()
    }
