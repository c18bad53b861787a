"""The section `grants` of a plan: what it grants its customers again and again, by names of its own.

grants:
  monthly: {amount: "1000", paid_usd: "99", every: month}
  bonus: {amount: "50", kind: PROMO, every: week, priority: -1}
  team:
    amount: "5000"
    paid_usd: "450"
    every: month
    day: 1
    prorate: BY_TIME
    scope: tokens
    rollover: {min: "10", max: "2500", life: 90d}
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from ledger.books.grants import PRIORITY_MAX, PRIORITY_MIN, SCOPES_ALLOWED, is_scope
from ledger.books.model.lots import GrantKind
from ledger.books.model.renewals import Every, RecurringGrant, Rollover
from ledger.books.rounding import MICROS_PER_CREDIT
from ledger.prices.plan_values import AMOUNT_MAX_MICROS, PAID_MAX_NANOUSD, Amount, duration_within
from pricing.documents.field_types import CardName, Rate
from pricing.documents.validate import RefusedError, Strict
from pricing.exact import BILLION

GRANTS_MAX: Final = 10
"""Of one plan: all of them are looked at when one recurs."""

PERIODS_MAX: Final = 31
"""Of a credit's life: a customer has the credits of so many renewals of one grant at a time."""

SHORTEST: Final = {
    Every.DAY: timedelta(days=1),
    Every.WEEK: timedelta(weeks=1),
    Every.MONTH: timedelta(days=28),
    Every.QUARTER: timedelta(days=90),
    Every.YEAR: timedelta(days=365),
}
"""Periods: none is shorter, but for a day whose clocks are put forward."""

_KINDS: Final = (GrantKind.PAID, GrantKind.PROMO, GrantKind.SUBSCRIPTION)


class Prorate(StrEnum):
    """What a customer is granted who comes to a plan within a period."""

    NONE = "NONE"
    BY_TIME = "BY_TIME"


def _kind(value: object) -> GrantKind:
    if not isinstance(value, str) or value not in list(_KINDS):
        raise RefusedError("is no kind of a grant that recurs", "write " + ", ".join(_KINDS))
    return GrantKind(value)


def _prorate(value: object) -> Prorate:
    if not isinstance(value, str) or value not in list(Prorate):
        raise RefusedError("is no way to prorate", "write " + ", ".join(Prorate))
    return Prorate(value)


def _scope(value: object) -> str:
    if not isinstance(value, str) or not is_scope(value):
        raise RefusedError("is no scope", f"write one of {SCOPES_ALLOWED}")
    return value


_Life = Annotated[timedelta, *duration_within("1h", "868d")]
_Kind = Annotated[GrantKind, BeforeValidator(_kind), WithJsonSchema({"enum": [*_KINDS]})]
_Prorate = Annotated[Prorate, BeforeValidator(_prorate), WithJsonSchema({"enum": [*Prorate]})]
_Scope = Annotated[
    str, BeforeValidator(_scope), WithJsonSchema({"description": f"{SCOPES_ALLOWED}.", "type": "string"})
]


class RolloverModel(Strict):
    """What of a period's unused credits the next one takes over."""

    min: Amount = 0
    max: Amount | None = None
    life: _Life | None = None


class GrantModel(Strict):
    """As the document writes one."""

    amount: Amount
    paid_usd: Rate = 0
    kind: _Kind = GrantKind.SUBSCRIPTION
    every: Literal["day", "week", "month", "quarter", "year"]
    day: Annotated[int, Field(ge=1, le=31)] | None = None
    prorate: _Prorate = Prorate.NONE
    priority: Annotated[int, Field(ge=PRIORITY_MIN, le=PRIORITY_MAX)] = 0
    scope: _Scope | None = None
    expires_after: _Life | None = None
    rollover: RolloverModel | None = None

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        self._refuse_amounts()
        if self.day is not None and self.every != "month":
            raise RefusedError("a day of the month, and no month", "write every: month", ("day",))
        if self.rollover is not None and self.expires_after is not None:
            hint = "leave expires_after out, or the rollover"
            message = "what rolls over ends at the next renewal, and by no other life"
            raise RefusedError(message, hint, ("rollover",))
        most = SHORTEST[Every(self.every.upper())] * PERIODS_MAX
        lives: dict[tuple[str, ...], timedelta | None] = {("expires_after",): self.expires_after}
        if self.rollover is not None:
            lives["rollover", "life"] = self.rollover.life
            if self.rollover.max is not None and self.rollover.max < max(self.rollover.min, 1):
                raise RefusedError("nothing could roll over", "write more than min", ("rollover", "max"))
        for place, life in lives.items():
            if life is not None and life > most:
                message = f"is longer than {PERIODS_MAX} renewals"
                raise RefusedError(message, f"write {most.days}d or less", place)
        return self

    def _refuse_amounts(self) -> None:
        if not 0 < self.amount <= AMOUNT_MAX_MICROS:
            most = AMOUNT_MAX_MICROS // MICROS_PER_CREDIT
            raise RefusedError("is no amount of a grant", f"write above 0, to {most}", ("amount",))
        if self.paid_usd > PAID_MAX_NANOUSD:
            most = PAID_MAX_NANOUSD // BILLION
            raise RefusedError("costs too much", f"write {most} or less", ("paid_usd",))
        if self.paid_usd and self.kind is GrantKind.PROMO:
            raise RefusedError("nobody pays for a PROMO grant", "leave paid_usd out", ("paid_usd",))


Recurring = Annotated[dict[CardName, GrantModel], Field(max_length=GRANTS_MAX)]
"""By their names."""


def grants_of(stated: Mapping[str, GrantModel]) -> tuple[RecurringGrant, ...]:
    """A plan's section as its plan carries it."""
    return tuple(_grant(name, grant) for name, grant in stated.items())


def _grant(name: str, stated: GrantModel) -> RecurringGrant:
    rollover = stated.rollover
    return RecurringGrant(
        name,
        stated.amount,
        stated.paid_usd,
        stated.kind,
        Every(stated.every.upper()),
        day=stated.day,
        priority=stated.priority,
        scope=stated.scope,
        life=stated.expires_after,
        rollover=None if rollover is None else Rollover(rollover.min, rollover.max, rollover.life),
        prorated=stated.prorate is Prorate.BY_TIME,
    )
