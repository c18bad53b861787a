"""The document of a rate card: what ops write, and what is refused in it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from pricing.cards.entitlements import EntitlementsDoc
from pricing.cards.period_document import AllowanceDoc
from pricing.cards.price_document import KINDS, PriceDoc
from pricing.documents.field_types import (
    EPOCH,
    CardName,
    CreditPrice,
    Instant,
    Name,
    Percent,
    Positive,
    Revision,
    Selector,
    Text,
)
from pricing.documents.validate import RefusedError, Strict
from pricing.documents.yaml_reader import Loc
from pricing.usage.items import KeyOwner, Result

NANOS_PER_MICRO = 1000
"""Billionths of a credit in a micro-credit."""
_CONDITIONS = {
    "tokens": ("key_owner", "service_tier", "served_by"),
    "compute": ("state", "served_by"),
    "units": (),
    "outcome": ("result",),
}

_FALLBACKS = {
    "tokens": '{name: any, match: {tokens: "*"}, price: {per_million: {input: "20", output: "100"}}}',
    "compute": '{name: any, match: {compute: "*"}, price: {per_hour: "10"}}',
    "units": '{name: any, match: {units: "*"}, price: {each: "1"}}',
    "outcome": '{name: any, match: {outcome: "*"}, price: {outcome: {resolved: "1"}}}',
}
"""What to write where a card has no rule that could be one."""
_ALL_CONDITIONS = frozenset(condition for conditions in _CONDITIONS.values() for condition in conditions)


def _members(members: type[KeyOwner | Result]) -> BeforeValidator:
    """A validator of one or more names of an enumeration, in either case."""

    def check(value: object) -> object:
        names = [str(name).upper() for name in (value if isinstance(value, list) else [value])]
        if not names or not set(names) <= set(members):
            raise RefusedError(f"{value!r} is not known here", f"allowed here: {', '.join(members)}")
        return tuple(names)

    one = {"enum": [form for name in members for form in (str(name), name.lower())]}
    schema = WithJsonSchema({"anyOf": [one, {"type": "array", "minItems": 1, "items": one}]})
    return BeforeValidator(check, json_schema_input_type=Annotated[Any, schema])


class MatchDoc(Strict):
    """What a rule applies to: names of one kind of usage, and conditions that all have to hold."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [kind]} for kind in KINDS]})

    tokens: Selector | None = None
    compute: Selector | None = None
    units: Selector | None = None
    outcome: Selector | None = None
    key_owner: Annotated[tuple[str, ...], _members(KeyOwner)] | None = None
    service_tier: Selector | None = None
    served_by: Selector | None = None
    state: Selector | None = None
    result: Annotated[tuple[str, ...], _members(Result)] | None = None
    labels: Mapping[str, Selector] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(kinds) != 1:
            found = f"names {len(kinds)} kinds of usage" if kinds else "names no kind of usage"
            raise RefusedError(found, f"write one of {', '.join(KINDS)}: a rule prices one kind")
        for condition in sorted(_ALL_CONDITIONS.difference(_CONDITIONS[kinds[0]])):
            if getattr(self, condition) is not None:
                having = " and ".join(
                    kind for kind, conditions in _CONDITIONS.items() if condition in conditions
                )
                raise RefusedError(
                    f"{condition} is a condition of {having} only", "leave it out", (condition,)
                )
        return self

    @cached_property
    def kind(self) -> str:
        """tokens, compute, units or outcome."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def names(self) -> tuple[str, ...]:
        """Names or globs of that kind."""
        names: tuple[str, ...] = getattr(self, self.kind)
        return names

    @property
    def conditions_of_kind(self) -> tuple[str, ...]:
        """The conditions that a rule of this kind may state."""
        return _CONDITIONS[self.kind]

    @cached_property
    def conditions(self) -> Mapping[str, tuple[str, ...]]:
        """The conditions that the rule states, but for labels."""
        stated = {condition: getattr(self, condition) for condition in self.conditions_of_kind}
        return {condition: patterns for condition, patterns in stated.items() if patterns is not None}

    @property
    def facets(self) -> Mapping[str, tuple[str, ...]]:
        """All that the rule states beside names: conditions by their names, and labels."""
        return {**self.conditions, **{label_facet(name): found for name, found in self.labels.items()}}


def _rated(price: PriceDoc) -> set[str]:
    return {key for part in price.plus or [price] for key in (*(part.per_million or ()), *(part.each or ()))}


def label_facet(name: str) -> str:
    """What a label is called among facets: no condition's name has a blank."""
    return f"label {name}"


class RuleDoc(Strict):
    """`name` is ours, `title` is what customers see."""

    name: Text
    title: Text | None = None
    match: MatchDoc
    group: Name | None = None
    """What an allowance is of."""
    price: PriceDoc

    @model_validator(mode="after")
    def _price_fits(self) -> Self:
        try:
            self.price.refuse_other_kinds(self.match.kind)
        except RefusedError as error:
            raise RefusedError(error.message, error.hint, ("price", *error.at)) from error
        self._refuse_group()
        return self

    def _refuse_group(self) -> None:
        if self.group is None and self.price.allowance is None:
            return
        at: Loc = ("group",) if self.group is not None else ("price", "allowance")
        if self.group is not None and self.price.allowance is not None:
            raise RefusedError("a rule is of a group, or has an allowance", "leave one out", at)
        if any(part.pool is not None for part in self.price.all):
            raise RefusedError("what a pool pays has no part in allowances", "leave it out", at)
        if self.price.included:
            raise RefusedError("what is included costs nothing", "leave it out", at)

    @property
    def tells_serving_cost(self) -> Loc | None:
        """Where it stands, if a part of the rule tells customers more of costs than a price must."""
        if self.match.served_by is not None:
            return ("match", "served_by")
        return next((("price", *at) for at in self.price.telling), None)

    @property
    def public_title(self) -> str:
        """The title, or one made of what the rule matches; never of its name."""
        return self.title or f"{self.match.kind}: {', '.join(self.match.names)}"


class RoundDoc(Strict):
    to: Positive = NANOS_PER_MICRO
    mode: Literal["half_even", "half_up", "up", "down"] = "half_even"

    @model_validator(mode="after")
    def _whole_micros(self) -> Self:
        if self.to % NANOS_PER_MICRO:
            hint = 'write "0.000001" or a multiple of it'
            raise RefusedError("must be a multiple of a micro-credit", hint, ("to",))
        return self


class CardDoc(Strict):
    """The document of one file in `cards/`."""

    card: CardName
    revision: Revision = 1
    credit: Text
    credit_price_usd: CreditPrice
    effective_from: Instant = EPOCH
    margin_floor: Percent | None = None
    discloses: Literal["serving_cost"] | None = None
    round: RoundDoc = Field(default_factory=RoundDoc)
    fallback: Mapping[Literal["tokens", "compute", "units", "outcome"], Text] = Field(default_factory=dict)
    """Rules by kind of usage: what they charge where an item has no price, under plans that say so."""
    entitlements: EntitlementsDoc | None = None
    rules: Annotated[list[RuleDoc], Field(min_length=1)]

    @model_validator(mode="after")
    def _sound(self) -> Self:
        names: set[str] = set()
        for index, rule in enumerate(self.rules):
            if rule.name in names:
                hint = "give each rule a name of its own"
                raise RefusedError(f"two rules are named {rule.name!r}", hint, ("rules", index, "name"))
            names.add(rule.name)
        self._refuse_to_tell_unsaid()
        self._refuse_lone_groups()
        self._refuse_fallbacks()
        return self

    def _refuse_fallbacks(self) -> None:
        """A fallback has a price whatever is reported: it states rates, and of tokens all that are needed."""
        rules = {rule.name: rule for rule in self.rules}
        for kind, name in self.fallback.items():
            rule, at = rules.get(name), ("fallback", kind)
            fit = [rule.name for rule in self.rules if rule.match.kind == kind and rule.price.is_plain]
            hint = (
                f"name one of {', '.join(map(repr, fit))}"
                if fit
                else f"add the rule {_FALLBACKS[kind]}, and name it"
            )
            if rule is None:
                raise RefusedError(f"no rule is named {name!r}", hint, at)
            if rule.match.kind != kind:
                raise RefusedError(f"the rule {name!r} prices {rule.match.kind}, not {kind}", hint, at)
            if not rule.price.is_plain:
                raise RefusedError(f"the rule {name!r} does not state rates alone", hint, at)
            if kind == "tokens" and not {"input", "output"} <= _rated(rule.price):
                hint = f"add the one that is missing to its price, or {hint}"
                raise RefusedError(f"the rule {name!r} has no rate of input or of output", hint, at)

    def _refuse_lone_groups(self) -> None:
        """Groups and allowances belong together; a group has one allowance."""
        groups = {rule.group for rule in self.rules}
        allowances: dict[str, AllowanceDoc] = {}
        for index, rule in enumerate(self.rules):
            allowance = rule.price.allowance
            if allowance is None:
                continue
            at = ("rules", index, "price", "allowance")
            if allowance.of not in groups:
                hint = f"write group: {allowance.of} at the rules that it is of"
                raise RefusedError(f"no rule is of the group {allowance.of!r}", hint, (*at, "of"))
            if allowances.setdefault(allowance.of, allowance) != allowance:
                raise RefusedError("the group has another allowance too", "write the same in both", at)
        for index, rule in enumerate(self.rules):
            if rule.group is not None and rule.group not in allowances:
                hint = f'write at a price allowance: {{share: "10%", of: {rule.group}, per: day}}'
                message = f"no allowance is of the group {rule.group!r}"
                raise RefusedError(message, hint, ("rules", index, "group"))

    def _refuse_to_tell_unsaid(self) -> None:
        for index, rule in enumerate(self.rules):
            at = rule.tells_serving_cost
            if at is not None and self.discloses is None:
                hint = "if that is meant, write discloses: serving_cost at the top of the card"
                message = f"{at[-1]!r} lets customers learn what serving them costs"
                raise RefusedError(message, hint, ("rules", index, *at))
