"""The cost book: what we pay providers, in dollars. Finance's secret.

    tokens:   list prices of a catalog, our discounts on them, and models of our own
    compute:  machines, by the hour
    units:    anything else, by the piece

A version of it is its document: what the file says, together with the catalog prices that it resolved to.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, Self

from pydantic import Field, ValidationError, model_validator

from pricing.costs.catalog import Catalog, snapshot
from pricing.costs.token_rates import TokenRates, token_rates
from pricing.documents.field_types import EPOCH, Instant, Name, Percent, Rate, Revision, TokenQuantity
from pricing.documents.validate import (
    ConfigError,
    Located,
    Problem,
    RefusedError,
    Strict,
    read_file,
    read_text,
)
from pricing.exact import BILLION, Pair
from pricing.usage.items import CACHE, Tokens

_MODELS_KNOWN = 4096
"""Looked-up models remembered at once: names come from callers, so there is no end to them."""
_NANOS_PER_HOUR = 3600 * BILLION


# --- the file ----------------------------------------------------------------------------------------------


class TokenCostDoc(Strict):
    """Dollars by quantity: per million tokens, or each."""

    per_million: Mapping[TokenQuantity, Rate] = Field(default_factory=dict)
    each: Mapping[TokenQuantity, Rate] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_rate_a_quantity(self) -> Self:
        if not self.per_million and not self.each:
            raise RefusedError("names no rate", 'write per_million: {input: "1", output: "2"}')
        if twice := self.per_million.keys() & self.each.keys():
            raise RefusedError(f"{min(twice)!r} has two rates", "keep one of them", ("each", min(twice)))
        return self

    def rates(self) -> TokenRates:
        """The rates in nano-dollars."""
        by_token = {key: Fraction(nanos, 10**6) for key, nanos in self.per_million.items()}
        return token_rates({**by_token, **{key: Fraction(nanos) for key, nanos in self.each.items()}})


class ModelDoc(TokenCostDoc):
    """A model of our own; `lever` names the saving where it serves what another was asked for."""

    lever: Name | None = None


class TokensDoc(Strict):
    catalog: Literal["genai-prices"] | None = None
    discounts: Mapping[Name, Percent] = Field(default_factory=dict)
    models: Mapping[Name, ModelDoc] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        for name in self.models:
            if "/" not in name:
                raise RefusedError(f"{name!r} is not a model", "write provider/name", ("models", name))
        for name, share in self.discounts.items():
            if self.catalog is None:
                hint = "write catalog: genai-prices, or leave discounts out"
                raise RefusedError("a discount needs a catalog to apply to", hint, ("discounts", name))
            if share > 1:
                raise RefusedError("a discount above 100%", "write 100% or less", ("discounts", name))
        return self


class ComputeDoc(Strict):
    per_hour: Rate | None = None
    cost: Literal["none"] | None = None
    lever: Name | None = None

    @model_validator(mode="after")
    def _one_cost(self) -> Self:
        if (self.per_hour is None) == (self.cost is None):
            raise RefusedError("must say what it costs", 'write per_hour: "2.49", or cost: none')
        return self


class UnitDoc(Strict):
    each: Rate | None = None
    per_million: Rate | None = None
    cost: Literal["none"] | None = None

    @model_validator(mode="after")
    def _one_cost(self) -> Self:
        if [self.each, self.per_million, self.cost].count(None) != 2:
            raise RefusedError(
                "must say what it costs", 'write each: "0.01", per_million: "5", or cost: none'
            )
        return self


class CostsDoc(Strict):
    """The document of `costs.yaml`."""

    revision: Revision = 1
    effective_from: Instant = EPOCH
    tokens: TokensDoc = Field(default_factory=TokensDoc)
    compute: Mapping[Name, ComputeDoc] = Field(default_factory=dict)
    units: Mapping[Name, UnitDoc] = Field(default_factory=dict)
    unknown_cost: TokenCostDoc | None = None

    @model_validator(mode="after")
    def _cache_is_taken(self) -> Self:
        if CACHE in self.compute:
            hint = f"give it another name: served_by: {CACHE} means that nothing ran"
            raise RefusedError(f"{CACHE!r} cannot be a resource", hint, ("compute", CACHE))
        return self


# --- the book ----------------------------------------------------------------------------------------------


_NOTHING: frozenset[str] = frozenset()


class Prices(Protocol):
    """Prices of a model, by when it is used."""

    def at(self, instant: datetime, /) -> TokenRates:
        """The prices that hold at an instant."""


class ModelCost(NamedTuple):
    """List prices of a model, in nano-dollars, and the share of them that we pay."""

    listed: Prices
    source: str
    lever: str | None
    share: Pair | None = None
    """None: all."""
    stand_ins: frozenset[str] = _NOTHING
    """Quantities for which the catalog has no price at this tier: that of something else stands in."""

    def costs(self, item: Tokens, instant: datetime, *, ours: bool) -> tuple[Pair | None, Pair | None, str]:
        """What tokens cost at list prices, what whoever has the contract pays, and where that comes from.

        None where a quantity has no price; `stand_in` where a part has none of its own.
        """
        listed, source, share = self.listed.at(instant).amount(item), self.source, self.share
        if self.stand_ins and any(item.quantities.get(key) for key in self.stand_ins):
            source = "stand_in"
        if listed is None or share is None or not ours:
            return listed, listed, source
        return listed, (listed[0] * share[0], listed[1] * share[1]), source


class RateCost(NamedTuple):
    """Nano-dollars of a billionth of a unit, or of a nanosecond of a billionth of a machine."""

    numerator: int
    denominator: int
    source: str
    lever: str | None = None


class CostBook:
    """One version of the cost book. Immutable, but for what it remembers of look-ups."""

    version: str
    """SHA-256 of the document, in hex."""
    revision: int
    effective_from: datetime
    document: str
    """All that the version rests on, as canonical JSON: `from_document` restores it under any catalog."""
    resources: Mapping[str, RateCost]
    units: Mapping[str, RateCost]
    unknown: TokenRates | None
    """What tokens of an unknown model are booked at."""
    catalog: Catalog
    """List prices; of no model where the file names no catalog."""

    def __init__(self, stated: Any, catalog: Any) -> None:
        """Takes the plain values of the file, and of the catalog that it names (None: none)."""
        doc = CostsDoc.model_validate(stated)
        self.document = json.dumps(
            {"catalog": catalog, "costs": stated}, sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )
        self.version = hashlib.sha256(self.document.encode()).hexdigest()
        self.revision = doc.revision
        self.effective_from = doc.effective_from
        self.resources = {name: _compute_cost(machine) for name, machine in doc.compute.items()}
        self.units = {name: _unit_cost(unit) for name, unit in doc.units.items()}
        self.unknown = doc.unknown_cost.rates() if doc.unknown_cost else None
        self._own = {
            name: ModelCost(model.rates(), "models", model.lever) for name, model in doc.tokens.models.items()
        }
        self.catalog = Catalog(catalog or {"providers": []})
        self._shares = {self._provider(name): 1 - share for name, share in doc.tokens.discounts.items()}
        self._known: dict[tuple[str, str], ModelCost | None] = {}

    @classmethod
    def from_document(cls, text: str) -> Self:
        """Restores a version from its document. Raises ConfigError if the text is not one."""
        try:
            document = json.loads(text)
            return cls(document["costs"], document["catalog"])
        except (ValidationError, ValueError, KeyError, TypeError) as error:
            problem = Problem("<cost book>", 0, 0, f"is not the document of a cost book: {error}", "")
            raise ConfigError([problem]) from error

    def stated(self) -> str:
        """What the file said, as JSON (which is YAML), without the catalog's prices."""
        return json.dumps(json.loads(self.document)["costs"], indent=2, ensure_ascii=False)

    def states(self, other: CostBook) -> bool:
        """Whether another book says the same, whatever the catalog's prices were to either."""
        return bool(json.loads(self.document)["costs"] == json.loads(other.document)["costs"])

    @property
    def own_models(self) -> Collection[str]:
        """Models that the book itself has prices of, as provider/name."""
        return self._own.keys()

    def known_model(self, model: str) -> bool:
        """Whether the book has prices of a model, as provider/name."""
        return self.model(model, "") is not None

    def stand_ins(self, model: str, service_tier: str) -> frozenset[str]:
        """The quantities of a model that cost what something else does, for want of a price."""
        cost = self.model(model, service_tier)
        return cost.stand_ins if cost is not None else _NOTHING

    def model(self, model: str, service_tier: str) -> ModelCost | None:
        """What a model costs at a tier of service; None if the book does not know it.

        A model of our own goes before one of the catalog. A tier that the catalog does not name, and whose
        price is not known otherwise, costs what the standard one does; its lines say so.
        """
        key = (model, service_tier)
        try:
            return self._known[key]
        except KeyError:
            found = self._own.get(model) or self._catalog_model(model, service_tier)
            if len(self._known) >= _MODELS_KNOWN:
                self._known.clear()
            self._known[key] = found
            return found

    def _catalog_model(self, model: str, service_tier: str) -> ModelCost | None:
        name, _, rest = model.partition("/")
        provider = self.catalog.provider(name)
        price = self.catalog.find(provider, rest, service_tier) if provider and rest else None
        if provider is None or price is None:
            return None
        share = self._shares.get(provider)
        ours = share.as_integer_ratio() if share is not None else None
        return ModelCost(price, "catalog", None, ours, price.stand_ins(service_tier))

    def _provider(self, name: str) -> str:
        provider = self.catalog.provider(name)
        if provider is None:
            raise RefusedError(f"the catalog knows no provider {name!r}", "", ("tokens", "discounts", name))
        return provider


def read_costs(path: Path) -> tuple[CostBook, str]:
    """Reads `costs.yaml` and resolves the catalog that it names; also its text. Raises ConfigError."""
    located = read_file(path, CostsDoc)
    return _resolved(located), located.text


def read_costs_text(text: str, file: str = "<cost book>") -> CostBook:
    """Reads the text of a `costs.yaml`; `file` names it in problems. Raises ConfigError with all problems."""
    return _resolved(read_text(text, CostsDoc, file))


def revised_costs(costs: CostBook, revision: int) -> CostBook:
    """The cost book, with the catalog prices that it resolved, but for the revision."""
    document = json.loads(costs.document)
    return CostBook({**document["costs"], "revision": revision}, document["catalog"])


def _resolved(located: Located[CostsDoc]) -> CostBook:
    try:
        return CostBook(located.plain, snapshot() if located.model.tokens.catalog else None)
    except RefusedError as error:
        raise ConfigError([located.places.problem(error.at, error.message, error.hint, key=True)]) from error


def _compute_cost(doc: ComputeDoc) -> RateCost:
    source = "free" if doc.cost else "compute"
    return _rate_cost(Fraction(doc.per_hour or 0, _NANOS_PER_HOUR * BILLION), source, doc.lever)


def _unit_cost(doc: UnitDoc) -> RateCost:
    if doc.per_million is not None:
        return _rate_cost(Fraction(doc.per_million, 10**6 * BILLION), "units")
    return _rate_cost(Fraction(doc.each or 0, BILLION), "free" if doc.cost else "units")


def _rate_cost(rate: Fraction, source: str, lever: str | None = None) -> RateCost:
    return RateCost(rate.numerator, rate.denominator, source, lever)
