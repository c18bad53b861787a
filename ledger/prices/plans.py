"""Plans: what customers' policies are, in versions of one document, `plans.yaml`.

revision: 2
plans:
  standard: {card: agents, over_capture: ALLOW_IF_AVAILABLE}
  capped: {card: agents, over_capture: CAP, unpriced: CHARGE_HOLD}
  overdraft: {over_capture: ALLOW_WITH_OVERDRAFT, overdraft_limit: "100", default_ttl: 5m, max_ttl: 24h}
  watched: {card: agents, low_balance: "50"}
  budgeted: {card: agents, budgets: {daily: {limit: "500", window: DAY}}}
  reloaded: {card: agents, topup: {below: "20", add: "100", credit_price_usd: "0.01", monthly_cap: "1000"}}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, Self

from pydantic import BeforeValidator, Field, model_validator

import pricing
from ledger.books.model.plans import OverCapture, Plan, Unpriced, UsedCredits
from ledger.prices.plan_budgets import BudgetDoc, Budgets, budgets_of
from ledger.prices.plan_doubts import PlanDoubt, doubts_of_plan
from ledger.prices.plan_entitlements import entitlements_of
from ledger.prices.plan_grants import GrantModel, Recurring, grants_of
from ledger.prices.plan_topup import TopUpModel
from ledger.prices.plan_values import Amount, duration_within
from pricing.cards.entitlements import EntitlementsDoc
from pricing.cards.rate_card import RateCard
from pricing.directory import Config, load
from pricing.documents.field_types import EPOCH, Instant, Revision
from pricing.documents.validate import (
    ConfigError,
    Located,
    Problem,
    RefusedError,
    Strict,
    read_file,
    read_text,
)

PLANS_FILE: Final = "plans.yaml"
NAME_LENGTH_MAX: Final = 128
"""Of a plan: customers name it, by a field of that length."""


def _plan_name(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= NAME_LENGTH_MAX or not value.isprintable():
        raise RefusedError("is no name of a plan", f"write 1 to {NAME_LENGTH_MAX} printable characters")
    return value


def _over_capture(value: object) -> OverCapture:
    if not isinstance(value, str) or value not in list(OverCapture):
        raise RefusedError("is no way to treat what a hold does not cover", "write " + ", ".join(OverCapture))
    return OverCapture(value)


def _unpriced(value: object) -> Unpriced:
    if not isinstance(value, str) or value not in list(Unpriced):
        raise RefusedError("is no way to charge what has no price", "write " + ", ".join(Unpriced))
    return Unpriced(value)


def _used_when_voided(value: object) -> UsedCredits:
    if not isinstance(value, str) or value not in list(UsedCredits):
        message = "is nothing that used credits of a voided grant become"
        raise RefusedError(message, "write " + ", ".join(UsedCredits))
    return UsedCredits(value)


Ttl = Annotated[timedelta, *duration_within("1s", "24h")]
Notice = Annotated[timedelta, *duration_within("1h", "30d")]


class PlanPolicies(Strict):
    """What a plan states, and a customer may have its own of."""

    over_capture: Annotated[OverCapture, BeforeValidator(_over_capture)] = OverCapture.ALLOW_IF_AVAILABLE
    overdraft_limit: Amount = 0
    default_ttl: Ttl = timedelta(minutes=5)
    max_ttl: Ttl = timedelta(hours=24)
    unpriced: Annotated[Unpriced, BeforeValidator(_unpriced)] = Unpriced.BOOK
    low_balance: Amount = 0
    entitlements: EntitlementsDoc | None = None
    budgets: Budgets = Field(default_factory=dict[str, BudgetDoc])
    topup: TopUpModel | None = None
    expiring_notice: Notice | None = None
    used_when_voided: Annotated[UsedCredits, BeforeValidator(_used_when_voided)] = UsedCredits.STAY_PAID
    grants: Recurring = Field(default_factory=dict[str, GrantModel])


class _PlanModel(PlanPolicies):
    card: str | None = None

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        refuse_contradictions(self)
        return self


def refuse_contradictions(stated: PlanPolicies) -> None:
    """Raises RefusedError where one policy goes against another."""
    if stated.default_ttl > stated.max_ttl:
        raise RefusedError("default_ttl is longer than max_ttl", "shorten it", ("default_ttl",))
    if stated.overdraft_limit and stated.over_capture is not OverCapture.ALLOW_WITH_OVERDRAFT:
        raise RefusedError(
            "an overdraft_limit that over_capture does not use",
            "write over_capture: ALLOW_WITH_OVERDRAFT, or leave the limit out",
            ("overdraft_limit",),
        )


def policies_of(stated: PlanPolicies) -> dict[str, Any]:
    """What is stated, by the fields of `Plan`; what is not is its default."""
    return {
        "over_capture": stated.over_capture,
        "overdraft_limit_micros": stated.overdraft_limit,
        "default_ttl": stated.default_ttl,
        "max_ttl": stated.max_ttl,
        "unpriced": stated.unpriced,
        "low_balance_micros": stated.low_balance,
        "entitlements": entitlements_of(stated.entitlements),
        "budgets": budgets_of(stated.budgets),
        "top_up": stated.topup.rules() if stated.topup is not None else None,
        "expiring_notice": stated.expiring_notice,
        "used_when_voided": stated.used_when_voided,
        "grants": grants_of(stated.grants),
    }


def doubts_of_stated(plan: Plan, stated: PlanPolicies, card: RateCard | None) -> Iterator[PlanDoubt]:
    """Yields what of a plan, as it is stated, is likely to be a mistake beside the card, if there is one."""
    if card is not None and stated.entitlements is not None:
        for doubt in pricing.doubts_of_entitlements(stated.entitlements, card.rules):
            yield PlanDoubt(("entitlements", *doubt.at), doubt.message, doubt.hint)
    yield from doubts_of_plan(plan, card)


class PlansModel(Strict):
    """The document of `plans.yaml`."""

    revision: Revision = 1
    effective_from: Instant = EPOCH
    plans: dict[Annotated[str, BeforeValidator(_plan_name)], _PlanModel] = Field(min_length=1)


class PlanBook:
    """One version of the plans. Immutable."""

    version: str
    """SHA-256 of what the document says, in hex."""
    revision: int
    effective_from: datetime
    document: str
    """The YAML text."""
    stated: Mapping[str, Any]
    """The plain values of the document."""
    plans: Mapping[str, Plan]
    """By name."""
    file: str
    """Names the document in problems."""

    def __init__(self, located: Located[PlansModel]) -> None:
        said = json.dumps(located.plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        self.version = hashlib.sha256(said.encode()).hexdigest()
        self.revision = located.model.revision
        self.effective_from = located.model.effective_from
        self.document = located.text
        self.stated = located.plain
        self.plans = {name: _plan(name, stated) for name, stated in located.model.plans.items()}
        self.file = located.places.file
        self._models = located.model.plans
        self._places = located.places

    @classmethod
    def from_document(cls, text: str) -> Self:
        """Restores a version from its document. Raises ConfigError if the text is not one."""
        return cls(read_text(text, PlansModel, "<plans>"))

    def merged(self, plan: str, own: PlanPolicies) -> PlanPolicies:
        """The policies of a plan, with those that a customer states of its own."""
        return self._models[plan].model_copy(
            update={each: getattr(own, each) for each in own.model_fields_set}
        )

    def changed_by(self, after: PlanBook) -> Iterator[tuple[str, str]]:
        """Plans that others change, each with the field by its name in the document.

        Of a plan that these do not have the field is empty; plans that they alone have are none.
        """
        for name, stated in self._models.items():
            other = after._models.get(name)
            if other is None:
                yield name, ""
                continue
            for field in _PlanModel.model_fields:
                if getattr(stated, field) != getattr(other, field):
                    yield name, field

    def disagreements(self, cards: Mapping[str, RateCard]) -> Iterator[Problem]:
        """What plans ask of cards, and these do not have."""
        for name, plan in self.plans.items():
            if plan.card is None:
                continue
            if plan.card not in cards:
                message, hint = f"there is no card {plan.card!r}", f"name one of {', '.join(sorted(cards))}"
                yield self._places.problem(("plans", name, "card"), message, hint)
            elif plan.unpriced is Unpriced.FALLBACK and not cards[plan.card].fallback:
                message = f"the card {plan.card!r} names no rule to fall back on"
                hint = "write fallback: {tokens: <name of a rule>} in the card, or unpriced: CHARGE_HOLD"
                yield self._places.problem(("plans", name, "unpriced"), message, hint)

    def doubts(self, cards: Mapping[str, RateCard], file: str | None = None) -> list[Problem]:
        """What is likely to be a mistake, though it can be published; `file` names the document, if given."""
        found = []
        for name, plan in self.plans.items():
            for at, message, hint in doubts_of_stated(plan, self._models[name], cards.get(plan.card or "")):
                found.append(self._places.problem(("plans", name, *at), message, hint))
        return found if file is None else [each._replace(file=file) for each in found]


def _plan(name: str, stated: _PlanModel) -> Plan:
    return Plan(name, stated.card, **policies_of(stated))


BUILT_IN: Final = PlanBook.from_document(
    """\
# In force where no plans are published. They name no card: each customer does.
plans:
  standard: {}
  capped: {over_capture: CAP}
  overdraft: {over_capture: ALLOW_WITH_OVERDRAFT, overdraft_limit: "100"}
"""
)


class Files(NamedTuple):
    """What stands in the files of a directory of prices."""

    config: Config
    plans: PlanBook | None
    """None: there is no such file."""


def read_files(directory: Path) -> Files:
    """Reads a directory of prices, each file by itself. Raises pricing.ConfigError with all problems."""
    problems: list[Problem] = []
    config, plans = None, None
    try:
        config = load(directory)
    except ConfigError as error:
        problems += error.problems
    try:
        plans = read_plans(directory)
    except ConfigError as error:
        problems += error.problems
    if config is None or problems:
        raise ConfigError(problems)
    return Files(config, plans)


def read_plans(directory: Path) -> PlanBook | None:
    """The plans of `directory/plans.yaml`; None where there is no such file.

    Raises pricing.ConfigError with file, line and column.
    """
    path = directory / PLANS_FILE
    return PlanBook(read_file(path, PlansModel)) if path.exists() else None


def read_plans_text(text: str, cards: Mapping[str, RateCard], file: str = "<plans>") -> PlanBook:
    """Reads the text of a `plans.yaml`; `file` names it in problems.

    Plans can name no other cards than these, and fall back only on what their card names for it. Raises
    pricing.ConfigError with all problems.
    """
    plans = PlanBook(read_text(text, PlansModel, file))
    refuse_disagreements(plans, cards)
    return plans


def refuse_disagreements(plans: PlanBook, cards: Mapping[str, RateCard]) -> None:
    """Raises pricing.ConfigError where plans ask of cards what these do not have."""
    problems = list(plans.disagreements(cards))
    if problems:
        raise ConfigError(problems)
