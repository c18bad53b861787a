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
| `savings_share` | yes            | yes     |       |         |
| `measure`     | a named unit, counted by rates; `per_unit` says what one costs   ||||
| `pool`        | lots of a pool pay for it at a `ratio`; where none is left, `then` ||||
| `tiers`       | prices by how much a period has counted: graduated or volume     ||||
| `plus`        | a list of schemes, added up                                      ||||

`block` rounds what is rated up to whole blocks, `times` multiplies, `bundle` is included before a price
applies, `once` charges an outcome once for each subject, `allowance` lets another group's price pay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from pricing.cards.cost_plus_document import CostPlusDoc
from pricing.cards.period_document import AllowanceDoc, Amount, BundleDoc, CountedDoc, Savings
from pricing.documents.field_types import Duration, Name, Percent, Positive, Rate, TokenQuantity
from pricing.documents.validate import RefusedError, Strict
from pricing.documents.yaml_reader import Loc
from pricing.exact import BILLION, format_nanos
from pricing.usage.items import RATED_QUANTITIES, Result

KINDS = ("tokens", "compute", "units", "outcome")
_BUT_OUTCOMES = ("tokens", "compute", "units")
_PRICE = "a price"
"""The place of a price that is no part of another."""
_ANYWHERE = (_PRICE, "plus", "measure", "then", "tiers")
_UNMEASURED = (_PRICE, "plus", "then", "tiers")


class Scheme(NamedTuple):
    """Where a scheme may stand."""

    kinds: Sequence[str]
    """Of usage that it can price."""
    places: Sequence[str]
    """Where: as a price, or inside which others."""
    beside: Sequence[str] = ()
    """Keys that mean something beside it, and such schemes, alone."""


SCHEMES: Mapping[str, Scheme] = {
    "per_million": Scheme(("tokens", "units"), _ANYWHERE, ("block",)),
    "each": Scheme(("tokens", "units", "outcome"), _ANYWHERE, ("block",)),
    "per_hour": Scheme(("compute",), _ANYWHERE, ("minimum", "minimum_again", "increment", "maximum")),
    "cost_plus": Scheme(_BUT_OUTCOMES, _UNMEASURED),
    "fee_on_cost": Scheme(_BUT_OUTCOMES, _UNMEASURED),
    "outcome": Scheme(("outcome",), _ANYWHERE),
    "savings_share": Scheme(("tokens", "compute"), (_PRICE, "plus")),
    "included": Scheme(KINDS, (_PRICE, "tiers")),
    "measure": Scheme(KINDS, (_PRICE, "plus"), ("ratio", "then")),
    "pool": Scheme(KINDS, (_PRICE,), ("ratio", "then")),
    "tiers": Scheme(KINDS, (_PRICE, "plus")),
    "plus": Scheme(KINDS, (_PRICE, "measure", "then", "tiers")),
    "per_unit": Scheme(KINDS, ("then of a measure",)),
}
"""The grammar of prices. A measure names `per_unit` or `pool` beside itself: what its unit costs."""
_ROUND = ("bundle", "once", "allowance")
"""What stands round a price that is no part of another, but bundles in `plus`."""
ONLY = ""
"""The quantity of a kind that has but one: a rate that is not a table."""


def _standing(place: str) -> list[str]:
    return [name for name, scheme in SCHEMES.items() if place in scheme.places]


def _belonging(key: str) -> list[str]:
    return [name for name, scheme in SCHEMES.items() if key in scheme.beside]


_BESIDE = dict.fromkeys(key for scheme in SCHEMES.values() for key in scheme.beside)


def _table(value: object) -> object:
    return value if isinstance(value, dict) else {ONLY: value}


RateTable = Annotated[
    Mapping[str, Rate], BeforeValidator(_table, json_schema_input_type=Rate | Mapping[TokenQuantity, Rate])
]
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
    """As `Scheme.places` names it."""
    price: PriceDoc


_PLAIN = frozenset({"per_million", "each", "per_hour", "outcome"})
"""Schemes that are rates and no more."""


class PriceDoc(Strict):
    """Exactly one scheme; several are added up in `plus`."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

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
    savings_share: Savings | None = None
    measure: MeasureDoc | None = None
    per_unit: Rate | None = None
    pool: Name | None = None
    ratio: Positive | None = None
    then: PriceDoc | None = None
    tiers: TiersDoc | None = None
    plus: Annotated[list[PriceDoc], Field(min_length=1)] | None = None
    times: Positive | None = None
    bundle: BundleDoc | None = None
    once: Literal["subject"] | None = None
    allowance: AllowanceDoc | None = None

    @model_validator(mode="after")
    def _one_scheme(self) -> Self:
        beside = ("per_unit", "pool") if self.measure is not None else ()
        named = [s for s in SCHEMES if getattr(self, s) is not None and s not in beside]
        if not named:
            raise RefusedError("names no scheme", f"write one of {', '.join(_standing(_PRICE))}")
        if len(named) > 1:
            hint = f"write plus: [{', '.join(f'{{{scheme}: ...}}' for scheme in named)}] to add them up"
            raise RefusedError(f"names {len(named)} schemes: {', '.join(named)}", hint, (named[1],))
        for key in _BESIDE:
            if getattr(self, key) is not None and key not in SCHEMES[named[0]].beside:
                belonging = " and ".join(_belonging(key))
                raise RefusedError(f"{key!r} belongs to {belonging}", "leave it out", (key,))
        self._refuse_part_of_minimum()
        for key in ("times", *_ROUND):
            if self.included and getattr(self, key) is not None:
                raise RefusedError("what is included costs nothing, however often", "leave it out", (key,))
        self._refuse_half_a_pool()
        self._refuse_two_counts()
        self._refuse_two_measures()
        return self

    def _refuse_half_a_pool(self) -> None:
        if self.measure is not None and (self.per_unit is None) == (self.pool is None):
            hint = 'write per_unit: "0.15", or pool, ratio and then: {per_unit: "0.15"}'
            raise RefusedError("must say what a unit costs, in one way", hint, ("measure",))
        if self.pool is not None and (self.ratio is None or self.then is None):
            hint = 'write ratio: "0.30", and then: what it costs when the pool is empty'
            raise RefusedError("a pool needs a ratio and a price for when it is empty", hint, ("pool",))
        for key in ("ratio", "then"):
            if self.pool is None and getattr(self, key) is not None:
                raise RefusedError(f"{key!r} belongs to pool", "leave it out", (key,))

    def _refuse_two_counts(self) -> None:
        bundle, tiers = self.bundle, self.tiers
        if bundle is None:
            return
        if self.savings_share is not None:
            raise RefusedError("savings are not bundled", "leave it out", ("bundle",))
        if tiers is not None and (bundle.count, bundle.period) != (tiers.count, tiers.period):
            hint = f"write count: {tiers.count}, per: {tiers.per}, zone: {tiers.zone}, as in tiers"
            raise RefusedError("tiers count from the end of the bundle, and so the same", hint, ("bundle",))

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
        return next(scheme for scheme in SCHEMES if getattr(self, scheme) is not None)

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
        if self.then is not None:
            yield Inner(("then",), "then" if self.measure is None else "then of a measure", self.then)
        if self.tiers is not None:
            for index, step in enumerate(self.tiers.steps):
                yield Inner(("tiers", self.tiers.way, index, "price"), "tiers", step.price)

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
        if self.savings_share is not None:
            yield ("savings_share",)
        for inner in self.inner:
            yield from ((*inner.at, *at) for at in inner.price.telling)

    @property
    def varies(self) -> bool:
        """Whether it, or a part of it, follows cost."""
        return any(
            part.cost_plus is not None or part.fee_on_cost is not None or part.savings_share is not None
            for part in self.all
        )

    @property
    def is_plain(self) -> bool:
        """Whether it is but rates: it looks at no cost, no past and no subject, and so always answers."""
        parts = self.plus if self.plus and self.model_fields_set == {"plus"} else [self]
        return all(part.model_fields_set <= _PLAIN and len(part.model_fields_set) == 1 for part in parts)

    def refuse_other_kinds(self, kind: str) -> None:
        """Raises RefusedError if a scheme, or a quantity in it, is not one for this kind of usage."""
        self.refuse_in(_PRICE, _standing(_PRICE), kind, ())

    def refuse_in(self, place: str, standing: Sequence[str], kind: str, at: Loc) -> None:
        """Checks a price in a place where some schemes may stand, `at` so many steps below the rule."""
        scheme, allowed = self.scheme, [name for name in standing if kind in SCHEMES[name].kinds]
        hint = f"for {kind} write one of {', '.join(allowed)}"
        if kind not in SCHEMES[scheme].kinds:
            raise RefusedError(f"{scheme} cannot price {kind}", hint, (*at, scheme))
        if scheme not in allowed:
            raise RefusedError(f"{scheme} cannot be a part of {place}", hint, at)
        table = getattr(self, scheme)
        if isinstance(table, Mapping):
            _refuse_table(table, kind, (*at, scheme))
        if self.block is not None:
            _refuse_block(self.block, kind, (*at, "block"))
        self._refuse_round(place, kind, at)
        for inner in self.inner:
            may_stand = _standing(inner.place)
            if inner.place == "plus":
                may_stand = [scheme for scheme in may_stand if scheme in standing]
            inner.price.refuse_in(inner.place, may_stand, kind, (*at, *inner.at))

    def _refuse_round(self, place: str, kind: str, at: Loc) -> None:
        for key in _ROUND:
            if getattr(self, key) is not None and place != _PRICE and (key, place) != ("bundle", "plus"):
                raise RefusedError(
                    f"{key} cannot stand in {place}", "write it at the rule's price", (*at, key)
                )
        if self.once is not None and kind != "outcome":
            raise RefusedError("only outcomes have a subject", "leave it out", (*at, "once"))
        for key in ("bundle", "tiers"):
            self._refuse_count(key, kind, (*at, key))

    def _refuse_count(self, key: str, kind: str, at: Loc) -> None:
        counted: BundleDoc | TiersDoc | None = getattr(self, key)
        if counted is None:
            return
        try:
            counted.refuse_other_kinds(kind)
        except RefusedError as error:
            raise RefusedError(error.message, error.hint, (*at, *error.at)) from error


class StepDoc(Strict):
    """A price up to a quantity; the last step has no end."""

    up_to: Amount | None = None
    price: PriceDoc


Steps = Annotated[list[StepDoc], Field(min_length=1)]


class TiersDoc(CountedDoc):
    """`graduated`: each step's price for what lies in it; `volume`: that of the last reached, for all."""

    graduated: Steps | None = None
    volume: Steps | None = None

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if (self.graduated is None) == (self.volume is None):
            hint = "write graduated: [{up_to: ..., price: ...}, {price: ...}], or volume: the same"
            raise RefusedError("must say either graduated or volume", hint)
        ends = self.ends
        for index, (end, step) in enumerate(zip(ends, self.steps, strict=True)):
            at = (self.way, index, "up_to")
            if (end is None) != (index == len(ends) - 1):
                hint = "every step but the last has up_to, and the last has none"
                raise RefusedError("steps have no gap and no end", hint, at if step.up_to else at[:2])
            before = ends[index - 1] if index else 0
            if end is not None and before is not None and end <= before:
                raise RefusedError("does not lie above the step before", "write them in order", at)
        return self

    @property
    def way(self) -> str:
        """The key that its steps stand under."""
        return "graduated" if self.graduated is not None else "volume"

    @property
    def steps(self) -> Sequence[StepDoc]:
        """Its steps, in order."""
        return self.graduated or self.volume or ()

    @property
    def ends(self) -> list[int | None]:
        """Where each step ends, as it is counted; None: it does not."""
        ends: list[int | None] = []
        for index, step in enumerate(self.steps):
            try:
                ends.append(None if step.up_to is None else self.counted(step.up_to))
            except RefusedError as error:
                raise RefusedError(error.message, error.hint, (self.way, index, "up_to")) from error
        return ends


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
