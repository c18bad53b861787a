"""The schemes of a rate card: what each says, and which kinds of usage it can price.

| scheme        | tokens           | compute | units | outcome |
|---------------|------------------|---------|-------|---------|
| `per_million` | rate by quantity |         | rate  |         |
| `each`        | rate by quantity |         | rate  | rate    |
| `per_hour`    |                  | rate    |       |         |
| `cost_plus`   | yes              | yes     | yes   |         |
| `outcome`     |                  |         |       | rates   |
| `included`    | yes              | yes     | yes   | yes     |
| `plus`        | a list of the schemes above but `included`, added up             ||||
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from pricing.decimals import format_nanos
from pricing.fields import Duration, Percent, Rate
from pricing.items import Result
from pricing.plain_yaml import Loc
from pricing.rates import RATED_QUANTITIES
from pricing.source import RefusedError, Strict

KINDS = ("tokens", "compute", "units", "outcome")
_SCHEMES = ("per_million", "each", "per_hour", "cost_plus", "outcome", "included", "plus")
_PRICES = {
    "tokens": ("per_million", "each", "cost_plus"),
    "compute": ("per_hour", "cost_plus"),
    "units": ("per_million", "each", "cost_plus"),
    "outcome": ("each", "outcome"),
}
ONLY = ""
"""The quantity of a kind that has but one: a rate that is not a table."""


def _table(value: object) -> object:
    return value if isinstance(value, dict) else {ONLY: value}


RateTable = Annotated[Mapping[str, Rate], BeforeValidator(_table)]
"""One rate, or rates by quantity."""


class CostPlusDoc(Strict):
    markup: Percent | None = None
    margin: Percent | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.markup is None) == (self.margin is None):
            hint = 'write markup: "30%" (cost x 1.30), or margin: "30%" (cost / 0.70)'
            raise RefusedError("must say either markup or margin", hint)
        if self.margin is not None and self.margin >= 1:
            raise RefusedError("a margin of 100% or more has no price", "write less than 100%", ("margin",))
        return self

    @property
    def factor(self) -> Fraction:
        """What cost is multiplied by."""
        return 1 + self.markup_on_cost

    @property
    def markup_on_cost(self) -> Fraction:
        """What is added to cost, as a share of it: a margin of p adds p / (1 - p)."""
        if self.margin is not None:
            return self.margin / (1 - self.margin)
        return self.markup or Fraction(0)


class OutcomeDoc(Strict):
    resolved: Rate = 0
    failed: Rate = 0
    escalated: Rate = 0
    abandoned: Rate = 0

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if not self.model_fields_set:
            raise RefusedError("names no result", 'write outcome: {resolved: "1"}')
        return self

    @property
    def rates(self) -> Mapping[Result, int]:
        """Billionths of a credit by result; a result that is not named costs 0."""
        return {result: getattr(self, result.lower()) for result in Result}


class MinimumAgainDoc(Strict):
    """A start within so much of the last minimum's has a minimum of its own."""

    within: Duration


class PriceDoc(Strict):
    """Exactly one scheme; several are added up in `plus`."""

    per_million: RateTable | None = None
    each: RateTable | None = None
    per_hour: Rate | None = None
    minimum: Duration | None = None
    minimum_again: MinimumAgainDoc | None = None
    increment: Duration | None = None
    maximum: Rate | None = None
    cost_plus: CostPlusDoc | None = None
    outcome: OutcomeDoc | None = None
    included: Literal[True] | None = None
    plus: Annotated[list[PriceDoc], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_scheme(self) -> Self:
        named = [scheme for scheme in _SCHEMES if getattr(self, scheme) is not None]
        if not named:
            raise RefusedError("names no scheme", f"write one of {', '.join(_SCHEMES)}")
        if len(named) > 1:
            hint = f"write plus: [{', '.join(f'{{{scheme}: ...}}' for scheme in named)}] to add them up"
            raise RefusedError(f"names {len(named)} schemes: {', '.join(named)}", hint, (named[1],))
        for key in ("minimum", "minimum_again", "increment", "maximum"):
            if getattr(self, key) is not None and self.per_hour is None:
                raise RefusedError(f"{key!r} belongs to per_hour", "leave it out", (key,))
        self._refuse_part_of_minimum()
        for index, part in enumerate(self.plus or ()):
            if part.plus is not None or part.included is not None:
                hint = "write the schemes themselves into one list"
                raise RefusedError("cannot be a part of plus", hint, ("plus", index))
        return self

    def _refuse_part_of_minimum(self) -> None:
        if self.minimum_again is None:
            return
        if self.minimum is None:
            raise RefusedError(
                "'minimum_again' belongs to a minimum", "write minimum: 60s", ("minimum_again",)
            )
        if self.minimum_again.within < self.minimum:
            message = "does not reach to the end of the minimum, and a start between the two would have none"
            hint = f"write within: {format_nanos(self.minimum)}s"
            raise RefusedError(message, hint, ("minimum_again", "within"))

    @property
    def parts(self) -> tuple[PriceDoc, ...]:
        """The schemes that are added up."""
        return tuple(self.plus) if self.plus is not None else (self,)

    def refuse_other_kinds(self, kind: str) -> None:
        """Raise RefusedError if a scheme, or a quantity in it, is not one for this kind of usage."""
        for index, part in enumerate(self.parts):
            at: Loc = ("plus", index) if self.plus is not None else ()
            part.refuse_scheme(kind, at)

    def refuse_scheme(self, kind: str, at: Loc) -> None:
        """Check one part, which stands at `at`."""
        if self.included:
            return
        scheme = next(scheme for scheme in _SCHEMES if getattr(self, scheme) is not None)
        if scheme not in _PRICES[kind]:
            allowed = (*_PRICES[kind], "included") if not at else _PRICES[kind]
            hint = f"for {kind} write one of {', '.join(allowed)}"
            raise RefusedError(f"{scheme} cannot price {kind}", hint, (*at, scheme))
        table = getattr(self, scheme)
        if isinstance(table, Mapping):
            _refuse_table(table, kind, (*at, scheme))


def _refuse_table(table: Mapping[str, int], kind: str, at: Loc) -> None:
    example = f'{at[-1]}: {{input: "1.5", output: "7.5"}}' if kind == "tokens" else f'{at[-1]}: "1.5"'
    if kind != "tokens":
        if ONLY not in table:
            raise RefusedError(f"{kind} have but one quantity", f"write {example}", at)
        return
    if not table or ONLY in table:
        raise RefusedError("tokens need a rate for each quantity", f"write {example}", at)
    for key in table:
        if key not in RATED_QUANTITIES:
            hint = f"allowed here: {', '.join(RATED_QUANTITIES)}"
            raise RefusedError(f"unknown quantity {key!r}", hint, (*at, key))
