"""A cost book made of the catalog: prices of what was used, written out to be read, checked and edited.

A model whose price is one table is written out. One whose price depends on the context, the time or the tier
of service, or on which there is a discount, stays with the catalog, which the book then names: either way it
costs what it does by the catalog. Machines, units and models of our own come from the book in force.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from fractions import Fraction
from typing import Any, NamedTuple

from pricing.costs.catalog import CatalogPrice, snapshot
from pricing.costs.cost_book import CostBook
from pricing.costs.token_rates import TokenRates, with_fallbacks
from pricing.exact import BILLION, format_nanos
from pricing.usage.items import CACHE

_MILLION = 10**6


class ImportedCosts(NamedTuple):
    """A cost book, and what it lacks."""

    document: str
    """YAML."""
    not_found: tuple[str, ...]
    """Models, resources (`compute: name`) and meters (`units: name`)."""


class Used(NamedTuple):
    """What was asked for, and what served."""

    models: frozenset[str]
    resources: frozenset[str]
    units: frozenset[str]
    tiers: Mapping[str, Collection[str]]
    """Of service, by model."""


def import_costs(used: Used, book: CostBook, now: datetime) -> ImportedCosts:
    """Makes a cost book for what was used of the installed catalog and of the book in force.

    Takes a third of a second, for the catalog.
    """
    stated: dict[str, Any] = json.loads(book.document)["costs"]
    tokens: dict[str, Any] = stated.get("tokens", {})
    own: dict[str, Any] = tokens.get("models", {})
    discounts: dict[str, Any] = tokens.get("discounts", {})
    catalog = CostBook({"tokens": {"catalog": "genai-prices", "discounts": discounts}}, snapshot())
    written: dict[str, dict[str, str]] = {}
    by_catalog, not_found = [], []
    for model in sorted(used.models - {CACHE}):
        if model in own:
            continue
        found = catalog.model(model, "")
        if found is None:
            not_found.append(model)
            continue
        rates = found.listed.at(now)
        steady = isinstance(found.listed, CatalogPrice) and found.listed.is_steady
        table = _table(rates) if steady and found.share is None else None
        tiers_apart = any(_differs(catalog, model, tier, rates, now) for tier in used.tiers.get(model, ()))
        if table is None or tiers_apart:
            by_catalog.append(model)
        else:
            written[model] = table
    not_found += [f"compute: {name}" for name in sorted(used.resources - {CACHE} - book.resources.keys())]
    not_found += [f"units: {name}" for name in sorted(used.units - book.units.keys())]
    return ImportedCosts(
        _document(stated, written, by_catalog, not_found, book.revision + 1), tuple(not_found)
    )


def _differs(catalog: CostBook, model: str, tier: str, rates: TokenRates, now: datetime) -> bool:
    at_tier = catalog.model(model, tier)
    return at_tier is not None and at_tier.listed.at(now) != rates


def _table(rates: TokenRates) -> dict[str, str] | None:
    """Returns rates per million as decimal strings, without what falls back; None where that is not exact."""
    table = {}
    for key, rate in rates.rates.items():
        nanos = Fraction(rate * _MILLION, rates.denominator)
        if rates.cliffs or nanos.denominator != 1 or len(str(nanos // BILLION)) > _WHOLE_DIGITS:
            return None
        table[key] = int(nanos)
    stated = dict(table)
    for key in table:
        without = {other: rate for other, rate in stated.items() if other != key}
        if {**dict.fromkeys(["requests"], 0), **with_fallbacks(without)} == table:
            stated = without
    return {key: format_nanos(nanos) for key, nanos in stated.items()} or None


_WHOLE_DIGITS = 15


def _document(
    stated: Mapping[str, Any],
    written: Mapping[str, Mapping[str, str]],
    by_catalog: Iterable[str],
    not_found: Iterable[str],
    revision: int,
) -> str:
    tokens = stated.get("tokens", {})
    models = [f"    {_flow(name)}: {_flow(model)}" for name, model in tokens.get("models", {}).items()]
    models += [f"    {_flow(name)}: {{per_million: {_flow(table)}}}" for name, table in written.items()]
    lines = [f"# Not found, to be priced by hand: {name}" for name in map(_flow, not_found)]
    lines += [f"revision: {revision}", "tokens:"]
    if by_catalog or tokens.get("discounts"):
        lines.append("  catalog: genai-prices")
        lines += [f"  # Priced by the catalog, for no table can say it: {_flow(name)}" for name in by_catalog]
    if tokens.get("discounts"):
        lines.append(f"  discounts: {_flow(tokens['discounts'])}")
    lines += ["  models:", *models] if models else ["  models: {}"]
    for part in ("compute", "units"):
        if stated.get(part):
            lines += [f"{part}:", *(f"  {_flow(name)}: {_flow(cost)}" for name, cost in stated[part].items())]
    if stated.get("unknown_cost"):
        lines.append(f"unknown_cost: {_flow(stated['unknown_cost'])}")
    return "\n".join(lines) + "\n"


def _flow(value: object) -> str:
    """A value as YAML on one line: JSON is YAML."""
    return json.dumps(value, ensure_ascii=False)
