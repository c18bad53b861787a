"""What can be published and is most likely a mistake: warnings, with file, line and column.

    names      that nothing knows: models, providers, tiers of service
    output     rules for tokens that rate no output of models that have some
    costs      of models that the catalog has no price of, at a tier or for an hour in the cache
    prices     fixed rates under the present cost, or under what the card's margin floor leaves of them
    entitled   names that the card prices nothing of
    the unit   costs of one token written per million, and the reverse

A first version has no usage to be judged on, so prices are judged on each quantity by itself and on a mix of
them that is stated (`MIX`), at the list price of a credit, without bundles, allowances and lots of pools.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from itertools import islice
from typing import Any, NamedTuple

from pricing.cards.card_document import CardDoc, MatchDoc, RuleDoc
from pricing.cards.patterns import Index, is_glob, matches
from pricing.cards.price_document import PriceDoc
from pricing.cards.rate_card import RateCard
from pricing.costs.catalog import ALL_QUANTITIES, HOUR_WRITES
from pricing.costs.cost_book import CostBook, CostsDoc, TokenCostDoc
from pricing.documents.validate import Located, Problem, read_text
from pricing.documents.yaml_reader import Loc
from pricing.exact import BILLION, format_nanos, format_percent
from pricing.planning.entitlement_doubts import doubts_of_entitlements
from pricing.planning.names import Names
from pricing.rating.compile import rated_quantities
from pricing.rating.price import price
from pricing.rating.quote import Treatment
from pricing.rating.state import Memory
from pricing.rating.terms import compile_terms
from pricing.usage.items import CACHE, OURS, REQUESTS, TOKEN_QUANTITIES, Compute, Item, Tokens, Units

MIX: Mapping[str, int] = {"input": 4_000, "cache_read": 16_000, "output": 1_000}
"""A step of an agent: most of what it reads it has read before. Quantities that a model has no price for are
left out."""

_JUDGED_MAX = 10_000
"""Models judged, over all rules of a card: some seconds' work. Who writes by hand stays far below."""
_DOUBTS_MAX = 200
"""Shown of a document: more are not read, and have to fit into an answer."""
_NAMES_MAX = 50
"""Unknown names of a document: each is compared with thousands of known ones."""
_NAMED_MAX = 3
"""Models that a warning names of those that it counts."""
_SAMPLE = 1_000
"""Tokens that a quantity is judged on: few enough for the shortest context."""
_UNIT_MIXED_UP = 100_000
"""A price so many times under its cost was most likely written for another number of tokens."""
_STANDARD_STANDS = "that of the standard one stands in as the cost"
_SHORTER_STAND = "that of cache_write stands in as the cost"
_STATE_COSTS = "write what they cost under models, in costs.yaml"
_HOUR_NANOS = 3600 * BILLION
_MILLION = 10**6
_USD_PER_MILLION_TOKENS = (Fraction(1, 10_000), Fraction(10_000))
"""Bounds of what a token is believed to cost: no price of the catalog is near either."""


def doubts_of_card(text: str, costs: CostBook, file: str, now: datetime) -> list[Problem]:
    """What is doubtful in the text of a card; `file` names it, `now` dates the costs."""
    located = read_text(text, CardDoc, file)
    names = Names(costs)
    taken = _taken(located.model.rules, names)
    found = [
        *islice(_unknown_names(located, costs, names), _NAMES_MAX),
        *_stand_ins(located, costs, names, taken),
        *_prices(located, costs, taken, now),
        *_without_effect(located),
    ]
    return _bounded(found, file)


def _without_effect(card: Located[CardDoc]) -> Iterator[Problem]:
    stated = card.model.entitlements
    for doubt in doubts_of_entitlements(stated, card.model.rules) if stated is not None else ():
        yield card.places.problem(("entitlements", *doubt.at), doubt.message, doubt.hint)


def doubts_of_costs(text: str, costs: CostBook, file: str) -> list[Problem]:
    """What is doubtful in the text of a cost book, which `costs` was made of."""
    located = read_text(text, CostsDoc, file)
    names, found = Names(costs), []
    for name, model in located.model.tokens.models.items():
        at: Loc = ("tokens", "models", name)
        provider = names.misspelt_provider(name)
        if provider is not None:
            message = f"the catalog knows no provider of {name!r}, and one that is called nearly so"
            hint = f"write {provider}/{name.partition('/')[2]}, if that is meant"
            found.append(located.places.problem(at, message, hint, key=True))
        found += _mixed_up(located, at, model)
    if located.model.unknown_cost is not None:
        found += _mixed_up(located, ("unknown_cost",), located.model.unknown_cost)
    return _bounded(found, file)


def _bounded(found: Iterable[Problem], file: str) -> list[Problem]:
    """The first of what was found, and how much more there is."""
    shown = sorted(set(found))
    more = len(shown) - _DOUBTS_MAX
    if more <= 0:
        return shown
    return [*shown[:_DOUBTS_MAX], Problem(file, 0, 0, f"{more} more warnings are not shown", "")]


# --- the unit ----------------------------------------------------------------------------------------------


def _mixed_up(located: Located[CostsDoc], at: Loc, doc: TokenCostDoc) -> Iterator[Problem]:
    """Finds costs of one token that stand under per_million, and the reverse."""
    least, most = _USD_PER_MILLION_TOKENS
    for key, table, other, factor in (
        ("per_million", doc.per_million, "each", 1),
        ("each", doc.each, "per_million", _MILLION),
    ):
        for quantity, nanos in table.items():
            usd = Fraction(nanos * factor, BILLION)
            if quantity != REQUESTS and nanos and not least <= usd <= most:
                message = f"a million tokens of {quantity} would cost ${format_nanos(int(usd * BILLION))}"
                hint = f"if the rate is another's, write {other}: {{{quantity}: ...}}"
                yield located.places.problem((*at, key, quantity), message, hint)


# --- names -------------------------------------------------------------------------------------------------


def _unknown_names(card: Located[CardDoc], costs: CostBook, names: Names) -> Iterator[Problem]:
    for index, rule in enumerate(card.model.rules):
        at: Loc = ("rules", index, "match")
        match = rule.match
        if match.kind == "tokens":
            yield from _unknown_models(card, (*at, "tokens"), match.names, names)
            yield from _unknown_models(card, (*at, "served_by"), match.served_by or (), names)
            yield from _unknown_tiers(card, (*at, "service_tier"), match.service_tier or (), names)
        elif match.kind == "compute":
            for pattern in match.served_by or ():
                if pattern != CACHE and not any(matches([pattern], name) for name in costs.resources):
                    hint = names.advice(pattern, costs.resources)
                    message = f"the cost book knows no resource {pattern!r}"
                    yield card.places.problem((*at, "served_by"), message, hint)


def _unknown_models(
    card: Located[CardDoc], at: Loc, patterns: Iterable[str], names: Names
) -> Iterator[Problem]:
    for pattern in patterns:
        if pattern == CACHE or names.knows_model(pattern):
            continue
        what = "models like" if is_glob(pattern) else "model"
        message = f"neither the cost book nor its catalog knows a {what} {pattern!r}"
        if "/" not in pattern:
            message = f"{pattern!r} is no name of a model, which is provider/name"
        yield card.places.problem(at, message, names.model_advice(pattern))


def _unknown_tiers(
    card: Located[CardDoc], at: Loc, patterns: Iterable[str], names: Names
) -> Iterator[Problem]:
    for pattern in patterns:
        if not any(matches([pattern], tier) for tier in names.tiers):
            message = f"neither the cost book nor its catalog knows a tier of service {pattern!r}"
            yield card.places.problem(at, message, names.advice(pattern, names.tiers))


# --- costs -------------------------------------------------------------------------------------------------


def _stand_ins(
    card: Located[CardDoc], costs: CostBook, names: Names, taken: Mapping[int, Sequence[str]]
) -> Iterator[Problem]:
    """Finds models that a rule is for and that the catalog lacks a price of: one warning a rule and price.

    A rule for whatever there is was written for no model, and is for none of them unless it names a tier.
    """
    left = _JUDGED_MAX
    for index, rule in enumerate(card.model.rules):
        match, at = rule.match, ("rules", index, "match")
        if match.kind != "tokens" or not _is_ours(match):
            continue
        patterns = match.names if match.served_by is None else match.served_by
        models = taken[index] if match.served_by is None else _models(patterns, names)
        narrow = [pattern for pattern in patterns if pattern.strip("*/")]
        chosen = [model for model in models if matches(narrow, model)]
        for tier in _plain_tiers(match):
            judged = models if tier else chosen
            if len(judged) > left:
                message = f"from here on stand-ins are not looked for: above {_JUDGED_MAX} comparisons"
                yield card.places.problem(("rules", index), message)
                return
            left -= len(judged)
            lacking = {model: costs.stand_ins(model, tier) for model in judged}
            tierless = [model for model in judged if lacking[model] == ALL_QUANTITIES]
            if tierless:
                message = (
                    f"the catalog has no price of {_few(tierless)} at the tier {tier!r}: {_STANDARD_STANDS}"
                )
                yield card.places.problem((*at, "service_tier"), message, _STATE_COSTS)
            hourless = [model for model in chosen if lacking[model] == HOUR_WRITES]
            if hourless:
                message = f"the catalog has no price of cache_write_1h of {_few(hourless)}: {_SHORTER_STAND}"
                written = "tokens" if match.served_by is None else "served_by"
                yield card.places.problem((*at, written), message, _STATE_COSTS)


def _models(patterns: Sequence[str], names: Names) -> list[str]:
    """The models of these names and globs."""
    exact = [pattern for pattern in patterns if not is_glob(pattern) and pattern != CACHE]
    return list(dict.fromkeys([*exact, *(model for model in names.models if matches(patterns, model))]))


def _plain_tiers(match: MatchDoc) -> tuple[str, ...]:
    """The tiers of service that a rule names; the standard one where it names none by itself."""
    return tuple(tier for tier in match.service_tier or () if not is_glob(tier)) or ("",)


def _few(models: Sequence[str]) -> str:
    shown = list(dict.fromkeys(models))
    more = len(shown) - _NAMED_MAX
    return ", ".join(shown[:_NAMED_MAX]) + (f" (and {more} more)" if more > 0 else "")


# --- prices ------------------------------------------------------------------------------------------------


class _Fixed(NamedTuple):
    """A price that follows no cost, as it stands alone: that of a rule, or of a step of its tiers."""

    at: Loc
    """Where it stands."""
    price: PriceDoc
    card: RateCard
    """A card of this price alone, for all that is of its kind."""


def _prices(
    card: Located[CardDoc], costs: CostBook, taken: Mapping[int, Sequence[str]], now: datetime
) -> Iterator[Problem]:
    left = _JUDGED_MAX
    for index, rule in enumerate(card.model.rules):
        if rule.match.kind == "outcome" or _is_of_others(rule.match):
            continue
        found = taken[index] if rule.match.kind == "tokens" else _things(rule.match, costs)
        for fixed in _fixed(card, index):
            if len(found) > left:
                message = f"from here on prices are not compared with costs: above {_JUDGED_MAX} comparisons"
                yield card.places.problem(("rules", index), message)
                return
            left -= len(found)
            judged = _Judged(card, rule, fixed, costs, now)
            yield from judged.tokens(found) if rule.match.kind == "tokens" else judged.others(found)


def _is_of_others(match: MatchDoc) -> bool:
    """Whether the cost of what is asked for says nothing of a rule: another serves, or the customer pays."""
    return match.served_by is not None or not _is_ours(match)


def _is_ours(match: MatchDoc) -> bool:
    """Whether we may pay for what a rule matches."""
    return match.key_owner is None or OURS in match.key_owner


def _taken(rules: Sequence[RuleDoc], names: Names) -> Mapping[int, list[str]]:
    """The models that each rule prices: those that no rule above it takes whatever else is asked."""
    patterns: dict[str, list[int]] = {}
    for index, rule in enumerate(rules):
        for pattern in rule.match.names if rule.match.kind == "tokens" else ():
            patterns.setdefault(pattern, []).append(index)
    found: dict[int, list[str]] = {index: [] for index in range(len(rules))}
    finder = Index(patterns.items())
    exact = [pattern for pattern in patterns if not is_glob(pattern)]
    for model in dict.fromkeys([*exact, *names.models]):
        for index in sorted({index for numbers in finder.find(model) for index in numbers}):
            found[index].append(model)
            if not rules[index].match.facets:
                break
    return found


def _things(match: MatchDoc, costs: CostBook) -> list[str]:
    known = costs.resources if match.kind == "compute" else costs.units
    return [name for name in known if matches(match.names, name)]


def _fixed(card: Located[CardDoc], index: int) -> Iterator[_Fixed]:
    """Yields the prices of a rule that follow no cost and are not free knowingly, each alone."""
    rule = card.model.rules[index]
    at: Loc = ("rules", index, "price")
    if rule.price.varies or any(part.included for part in rule.price.all):
        return
    steps = rule.price.tiers.steps if rule.price.tiers is not None else ()
    placed = [(at, rule.price)]
    if rule.price.tiers is not None:
        placed = [
            ((*at, "tiers", rule.price.tiers.way, n, "price"), step.price) for n, step in enumerate(steps)
        ]
    for where, priced in placed:
        plain = priced.model_copy(update={"times": priced.times or rule.price.times, "allowance": None})
        everything = MatchDoc.model_validate({rule.match.kind: "*"})
        alone = rule.model_copy(update={"match": everything, "price": plain, "group": None})
        document = card.model.model_copy(update={"rules": [alone]})
        stated: dict[str, Any] = {"rules": [{"price": None}]}
        yield _Fixed(where, priced, RateCard(Located(document, stated, card.text, card.places)))


class _Judged:
    """One fixed price beside the costs of what it sells."""

    def __init__(
        self, card: Located[CardDoc], rule: RuleDoc, fixed: _Fixed, costs: CostBook, now: datetime
    ) -> None:
        self._places = card.places
        self._floor = card.model.margin_floor or Fraction(0)
        self._credit_nanousd = card.model.credit_price_usd
        self._fixed = fixed
        self._costs = costs
        self._now = now
        self._terms = compile_terms(fixed.card, costs)
        priced = fixed.price if fixed.price.measure is None else fixed.price.measure
        within: Loc = () if fixed.price.measure is None else ("measure",)
        key = "per_million" if priced.per_million is not None else "each"
        self._table: Mapping[str, int] = priced.per_million or priced.each or {}
        self._table_at: Loc = (*within, key)
        self._tiers = _plain_tiers(rule.match)

    def tokens(self, models: Sequence[str]) -> Iterator[Problem]:
        """Judges the price of tokens: whether it rates output, and covers each quantity, and the mix."""
        rated = rated_quantities(self._fixed.price)
        known = [
            (model, rates)
            for model in models
            for tier in self._tiers
            if (rates := self._rates(model, tier)) is not None
        ]
        if rated is not None and "output" not in rated:
            having = [model for model, rates in known if "output" in rates]
            if having:
                message = f"names no rate of output, which {_some(having)} has: its usage would be unpriced"
                yield self._problem((), message, "add output to the rates")
        by_request = rated is not None and self._worth(_tokens({}, requests=1))
        quantities = [] if by_request else [key for key in TOKEN_QUANTITIES if rated is None or key in rated]
        stated = [key for key in quantities if key in self._table]
        found = list(self._short_of(stated, known))
        # A quantity that falls back to the rate of another is doubtful by itself only where the other is not.
        found += () if found else self._short_of([key for key in quantities if key not in stated], known)
        yield from found
        yield from self._short("", known, MIX)

    def _short_of(
        self, quantities: Iterable[str], known: Sequence[tuple[str, Mapping[str, Fraction]]]
    ) -> Iterator[Problem]:
        for key in quantities:
            having = [(model, rates) for model, rates in known if key in rates]
            yield from self._short(key, having, {key: _SAMPLE})

    def _rates(self, model: str, tier: str) -> Mapping[str, Fraction] | None:
        """The nano-dollars that a token of each quantity costs us, of a request of a short context."""
        cost = self._costs.model(model, tier)
        if cost is None:
            return None
        listed = cost.listed.at(self._now)
        share = Fraction(*cost.share) if cost.share is not None else Fraction(1)
        return {key: Fraction(rate, listed.denominator) * share for key, rate in listed.rates.items()}

    def _short(
        self, key: str, known: Sequence[tuple[str, Mapping[str, Fraction]]], quantities: Mapping[str, int]
    ) -> Iterator[Problem]:
        """Finds models that some tokens are sold too cheaply of: one warning, of the worst."""
        found: list[tuple[Fraction, str, Fraction, Fraction]] = []
        dear: list[str] = []
        worths: dict[tuple[str, ...], Fraction | None] = {}
        for model, rates in known:
            having = {name: count for name, count in quantities.items() if name in rates}
            names = tuple(having)
            if names not in worths:
                worths[names] = self._worth(_tokens(having, requests=0 if key else 1))
            worth = worths[names]
            cost = sum((rates[name] * count for name, count in having.items()), Fraction(0))
            cost += rates.get(REQUESTS, Fraction(0)) * (0 if key else 1)
            if worth is not None and worth * (1 - self._floor) < cost:
                found.append((worth / cost, model, worth, cost))
            if key and worth is not None and 0 < cost * _UNIT_MIXED_UP < worth:
                dear.append(model)
        if dear:
            message = f"sells {key} of {_some(dear)} at more than {_UNIT_MIXED_UP:,} times its cost"
            yield self._problem(
                (key,), message, "if it is the rate of a million tokens, write it under per_million"
            )
        if found:
            ratio, model, worth, cost = min(found)
            many = _MILLION // _SAMPLE if key else 1
            what = f"a million tokens of {key}" if key else f"a request of {_told(quantities)}"
            hint = "if it is the rate of one token, write it under each" if ratio * _UNIT_MIXED_UP < 1 else ""
            yield self._too_cheap(
                what, [each[1] for each in found], model, worth * many, cost * many, hint, key
            )

    def others(self, names: Sequence[str]) -> Iterator[Problem]:
        """Judges the price of an hour of each machine, or of a unit of each meter."""
        found = []
        for name in names:
            rate = self._costs.resources.get(name)
            item: Item = Compute(name, _HOUR_NANOS)
            quantity = _HOUR_NANOS * BILLION
            if self._terms.card.rules[0].match.kind == "units":
                rate, item, quantity = (
                    self._costs.units[name],
                    Units(name, _MILLION * BILLION),
                    _MILLION * BILLION,
                )
            worth = self._worth(item)
            cost = Fraction(quantity * rate.numerator, rate.denominator) if rate else Fraction(0)
            if worth is not None and worth * (1 - self._floor) < cost:
                found.append((worth / cost, name, worth, cost))
        if found:
            _, name, worth, cost = min(found)
            is_unit = self._terms.card.rules[0].match.kind == "units"
            what = "a million units" if is_unit else "an hour"
            yield self._too_cheap(what, [each[1] for each in found], name, worth, cost, "", "")

    def _worth(self, item: Item) -> Fraction | None:
        """What an item sells for, in nano-dollars at the list price; None if it has no price."""
        [line] = price([item], {}, self._terms, Memory(), now=self._now, estimate=True).lines
        if line.treatment is not Treatment.CHARGED:
            return None
        return Fraction(*line.price_micros) * self._credit_nanousd / _MILLION

    def _too_cheap(
        self, what: str, names: Sequence[str], name: str, worth: Fraction, cost: Fraction, hint: str, key: str
    ) -> Problem:
        sold = f"sells {what} of {_some([name, *(each for each in names if each != name)])}"
        under = (
            "under"
            if worth < cost
            else f"with less than the margin_floor of {format_percent(self._floor)} on"
        )
        message = f"{sold} at ${_dollars(worth)}, {under} a cost of ${_dollars(cost)}"
        return self._problem((key,) if key else (), message, hint)

    def _problem(self, below: Loc, message: str, hint: str) -> Problem:
        at = (*self._fixed.at, *self._table_at, *below) if below else self._fixed.at
        return self._places.problem(at, message, hint)


def _tokens(quantities: Mapping[str, int], requests: int) -> Tokens:
    return Tokens("any/model", quantities, requests=requests)


def _told(quantities: Mapping[str, int]) -> str:
    *first, last = [f"{count:,} {key}" for key, count in quantities.items()]
    return f"{', '.join(first)} and {last} tokens"


def _some(names: Sequence[str]) -> str:
    more = len(dict.fromkeys(names)) - 1
    return names[0] + (f" (and {more} more)" if more else "")


def _dollars(nanousd: Fraction) -> str:
    return format_nanos(round(nanousd))
