"""Plans: what a customer's policies are, from `plans.yaml` or built in.

plans:
  standard: {card: agents, over_capture: ALLOW_IF_AVAILABLE}
  capped: {card: agents, over_capture: CAP, unpriced: CHARGE_HOLD}
  overdraft: {over_capture: ALLOW_WITH_OVERDRAFT, overdraft_limit: "100", default_ttl: 5m, max_ttl: 24h}
  watched: {card: agents, low_balance: "50"}
  reloaded: {card: agents, topup: {below: "20", add: "100", credit_price_usd: "0.01", monthly_cap: "1000"}}
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from ledger.books.model import OverCapture, Plan, Unpriced
from ledger.prices.plan_entitlements import entitlements_of
from ledger.prices.plan_topup import TopUpModel
from ledger.prices.plan_values import Amount
from pricing.cards.entitlements import EntitlementsDoc
from pricing.cards.rate_card import RateCard
from pricing.documents.validate import ConfigError, Located, Problem, RefusedError, Strict, read_file

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


def _duration(value: object) -> timedelta:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise RefusedError("is no duration", "write a whole number of s, m or h, e.g. 5m")
    ttl = timedelta(seconds=int(match[1]) * _SECONDS[match[2]])
    if not TTL_MIN <= ttl <= TTL_MAX:
        raise RefusedError("is no time to live of a reservation", "write 1s to 24h")
    return ttl


def _over_capture(value: object) -> OverCapture:
    if not isinstance(value, str) or value not in list(OverCapture):
        raise RefusedError("is no way to treat what a hold does not cover", "write " + ", ".join(OverCapture))
    return OverCapture(value)


def _unpriced(value: object) -> Unpriced:
    if not isinstance(value, str) or value not in list(Unpriced):
        raise RefusedError("is no way to charge what has no price", "write " + ", ".join(Unpriced))
    return Unpriced(value)


Ttl = Annotated[
    timedelta,
    BeforeValidator(_duration),
    WithJsonSchema({"description": "1s to 24h.", "type": "string", "pattern": f"^{_DURATION.pattern}$"}),
]


class _PlanModel(Strict):
    card: str | None = None
    over_capture: Annotated[OverCapture, BeforeValidator(_over_capture)] = OverCapture.ALLOW_IF_AVAILABLE
    overdraft_limit: Amount = 0
    default_ttl: Ttl = timedelta(minutes=5)
    max_ttl: Ttl = TTL_MAX
    unpriced: Annotated[Unpriced, BeforeValidator(_unpriced)] = Unpriced.BOOK
    low_balance: Amount = 0
    entitlements: EntitlementsDoc | None = None
    topup: TopUpModel | None = None

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.default_ttl > self.max_ttl:
            raise RefusedError("default_ttl is longer than max_ttl", "shorten it", ("default_ttl",))
        if self.overdraft_limit and self.over_capture is not OverCapture.ALLOW_WITH_OVERDRAFT:
            raise RefusedError(
                "an overdraft_limit that over_capture does not use",
                "write over_capture: ALLOW_WITH_OVERDRAFT, or leave the limit out",
                ("overdraft_limit",),
            )
        return self


class PlansModel(Strict):
    """The document of `plans.yaml`."""

    plans: dict[str, _PlanModel] = Field(min_length=1)


def load_plans(
    directory: Path, cards: Mapping[str, RateCard], *, in_force: Mapping[str, Plan] = BUILT_IN
) -> Mapping[str, Plan]:
    """The plans of `directory/plans.yaml`, or the built-in ones where there is no such file.

    `cards` are the loaded cards: a plan can name no other, and fall back only on what its card names for it.
    Where plans of a file are `in_force` the file may not be missing. Raises pricing.ConfigError with file,
    line and column.
    """
    path = directory / "plans.yaml"
    if not path.exists():
        if in_force and in_force is not BUILT_IN:
            hint = "put it back: its plans stay in force until then, or until a restart"
            raise ConfigError([Problem(str(path), 0, 0, "is gone", hint)])
        return BUILT_IN
    document = read_file(path, PlansModel)
    problems = list(_disagreements(document, cards))
    if problems:
        raise ConfigError(problems)
    return {
        name: Plan(
            name,
            plan.card,
            plan.over_capture,
            plan.overdraft_limit,
            plan.default_ttl,
            plan.max_ttl,
            plan.unpriced,
            plan.low_balance,
            entitlements_of(plan.entitlements),
            plan.topup.rules() if plan.topup is not None else None,
        )
        for name, plan in document.model.plans.items()
    }


def _disagreements(document: Located[PlansModel], cards: Mapping[str, RateCard]) -> Iterator[Problem]:
    """What plans ask of cards, and these do not have."""
    for name, plan in document.model.plans.items():
        if plan.card is None:
            continue
        if plan.card not in cards:
            message, hint = f"there is no card {plan.card!r}", f"name one of {', '.join(sorted(cards))}"
            yield document.places.problem(("plans", name, "card"), message, hint)
        elif plan.unpriced is Unpriced.FALLBACK and not cards[plan.card].fallback:
            message = f"the card {plan.card!r} names no rule to fall back on"
            hint = "write fallback: {tokens: <name of a rule>} in the card, or unpriced: CHARGE_HOLD"
            yield document.places.problem(("plans", name, "unpriced"), message, hint)
