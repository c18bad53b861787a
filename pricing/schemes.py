"""The schemes of a rate card: what each says, and where it may stand.

| scheme        | tokens           | compute | units | outcome |
|---------------|------------------|---------|-------|---------|
| `per_million` | rate by quantity |         | rate  |         |
| `each`        | rate by quantity |         | rate  | rate    |
| `per_hour`    |                  | rate    |       |         |
| `cost_plus`   | yes              | yes     | yes   |         |
| `fee_on_cost` | yes              | yes     | yes   |         |
| `outcome`     |                  |         |       | rates   |
| `included`    | yes              | yes     | yes   | yes     |
| `measure`     | a named unit, counted by rates; `per_unit` says what one costs   ||||
| `plus`        | a list of schemes, added up                                      ||||

`block` rounds what is rated up to whole blocks; `times` multiplies any of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import BeforeValidator, Field, model_validator

from pricing.cost_schemes import CostPlusDoc
from pricing.decimals import format_nanos
from pricing.fields import Duration, Name, Percent, Positive, Rate
from pricing.items import BILLION, Result
from pricing.plain_yaml import Loc
from pricing.rates import RATED_QUANTITIES
from pricing.source import RefusedError, Strict

KINDS = ("tokens", "compute", "units", "outcome")
_RATED = {
    "tokens": ("per_million", "each"),
    "compute": ("per_hour",),
    "units": ("per_million", "each"),
    "outcome": ("each", "outcome"),
}
"""The schemes that state rates, by kind of usage."""
_ON_COST = ("cost_plus", "fee_on_cost")
_SCHEMES = ("per_million", "each", "per_hour", *_ON_COST, "outcome", "included", "measure", "plus")
_STANDING = {
    "plus": ("per_million", "each", "per_hour", *_ON_COST, "outcome", "measure"),
    "measure": ("per_million", "each", "per_hour", "outcome", "plus"),
}
"""The schemes that may stand inside others, if they can price the kind of usage."""
_BELONGS_TO = {
    "minimum": ("per_hour",),
    "minimum_again": ("per_hour",),
    "increment": ("per_hour",),
    "maximum": ("per_hour",),
    "block": ("per_million", "each"),
    "per_unit": ("measure",),
}
"""Keys that mean something beside certain schemes only."""
ONLY = ""
"""The quantity of a kind that has but one: a rate that is not a table."""


def _table(value: object) -> object:
    return value if isinstance(value, dict) else {ONLY: value}


RateTable = Annotated[Mapping[str, Rate], BeforeValidator(_table)]
"""One rate, or rates by quantity."""


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


class Inner(NamedTuple):
    """A price inside another one."""

    at: Loc
    """Below the price that it stands in."""
    place: str
    """A key of `_STANDING`."""
    price: PriceDoc


class PriceDoc(Strict):
    """Exactly one scheme; several are added up in `plus`."""

    per_million: RateTable | None = None
    each: RateTable | None = None
    block: Positive | None = None
    per_hour: Rate | None = None
    minimum: Duration | None = None
    minimum_again: MinimumAgainDoc | None = None
    increment: Duration | None = None
    maximum: Rate | None = None
    cost_plus: CostPlusDoc | None = None
    fee_on_cost: Percent | None = None
    outcome: OutcomeDoc | None = None
    included: Literal[True] | None = None
    measure: MeasureDoc | None = None
    per_unit: Rate | None = None
    plus: Annotated[list[PriceDoc], Field(min_length=1)] | None = None
    times: Positive | None = None

    @model_validator(mode="after")
    def _one_scheme(self) -> Self:
        named = [scheme for scheme in _SCHEMES if getattr(self, scheme) is not None]
        if not named:
            raise RefusedError("names no scheme", f"write one of {', '.join(_SCHEMES)}")
        if len(named) > 1:
            hint = f"write plus: [{', '.join(f'{{{scheme}: ...}}' for scheme in named)}] to add them up"
            raise RefusedError(f"names {len(named)} schemes: {', '.join(named)}", hint, (named[1],))
        for key, schemes in _BELONGS_TO.items():
            if getattr(self, key) is not None and named[0] not in schemes:
                raise RefusedError(f"{key!r} belongs to {' and '.join(schemes)}", "leave it out", (key,))
        self._refuse_part_of_minimum()
        if self.included and self.times is not None:
            raise RefusedError("what is included costs nothing, however often", "leave it out", ("times",))
        if self.measure is not None and self.per_unit is None:
            raise RefusedError("does not say what a unit costs", 'write per_unit: "0.15"', ("measure",))
        self._refuse_two_measures()
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

    def _refuse_two_measures(self) -> None:
        measured = [index for index, part in enumerate(self.plus or ()) if part.measure is not None]
        if len(measured) > 1:
            hint = "write one measure, of all that counts in the unit"
            raise RefusedError("usage is measured once", hint, ("plus", measured[1], "measure"))

    @property
    def scheme(self) -> str:
        """The one that is named."""
        return next(scheme for scheme in _SCHEMES if getattr(self, scheme) is not None)

    @property
    def has_run(self) -> bool:
        """Whether it bills a run by more than its seconds."""
        return self.minimum is not None or self.increment is not None or self.maximum is not None

    @property
    def inner(self) -> Iterator[Inner]:
        """The prices that it is made of."""
        for index, part in enumerate(self.plus or ()):
            yield Inner(("plus", index), "plus", part)
        if self.measure is not None:
            yield Inner(("measure",), "measure", self.measure)

    @property
    def all(self) -> Iterator[PriceDoc]:
        """The price, and every one inside it."""
        yield self
        for inner in self.inner:
            yield from inner.price.all

    @property
    def telling(self) -> Iterator[Loc]:
        """Where it tells customers what serving them costs."""
        if self.cost_plus is not None and self.cost_plus.on == "served":
            yield ("cost_plus", "on")
        for inner in self.inner:
            yield from ((*inner.at, *at) for at in inner.price.telling)

    @property
    def varies(self) -> bool:
        """Whether it, or a part of it, follows cost."""
        return any(part.cost_plus is not None or part.fee_on_cost is not None for part in self.all)

    def refuse_other_kinds(self, kind: str) -> None:
        """Raise RefusedError if a scheme, or a quantity in it, is not one for this kind of usage."""
        self.refuse_in("a price", _SCHEMES, kind, ())

    def refuse_in(self, place: str, standing: Sequence[str], kind: str, at: Loc) -> None:
        """Check a price in a place where some schemes may stand, `at` so many steps below the rule."""
        fitting = {*_RATED[kind], "included", "measure", "plus", *(_ON_COST if kind != "outcome" else ())}
        scheme, allowed = self.scheme, [scheme for scheme in standing if scheme in fitting]
        hint = f"for {kind} write one of {', '.join(allowed)}"
        if scheme not in fitting:
            raise RefusedError(f"{scheme} cannot price {kind}", hint, (*at, scheme))
        if scheme not in allowed:
            raise RefusedError(f"{scheme} cannot be a part of {place}", hint, at)
        table = getattr(self, scheme)
        if isinstance(table, Mapping):
            _refuse_table(table, kind, (*at, scheme))
        if self.block is not None:
            _refuse_block(self.block, kind, (*at, "block"))
        for inner in self.inner:
            may_stand = _STANDING[inner.place]
            if inner.place == "plus":
                may_stand = tuple(scheme for scheme in may_stand if scheme in standing)
            inner.price.refuse_in(inner.place, may_stand, kind, (*at, *inner.at))


class MeasureDoc(PriceDoc):
    """A scheme that counts units of a name, where it would charge credits."""

    unit: Name


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


def _refuse_block(nanos: int, kind: str, at: Loc) -> None:
    if kind == "outcome":
        raise RefusedError("outcomes are charged one by one", "leave it out", at)
    if kind == "tokens" and nanos % BILLION:
        raise RefusedError("a block of tokens has a whole number of them", 'write "1000"', at)


PriceDoc.model_rebuild()
