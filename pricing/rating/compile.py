"""From the document of a rule to its tariff.

Schemes that state rates or follow cost, and say no more, become one tariff; what stands around or beside them
is put round it, so that a plain rule pays nothing for what others can say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from itertools import chain
from typing import Any, NamedTuple
from urllib.parse import quote

from pricing.cards.card_document import RuleDoc
from pricing.cards.period_document import AllowanceDoc, PeriodDoc
from pricing.cards.price_document import PriceDoc
from pricing.costs.token_rates import with_fallbacks
from pricing.exact import BILLION
from pricing.rating.combinators import Blocks, Guarded, InRun, Measure, Multiplied, Once, Pooled, Sum
from pricing.rating.meters import Machines, Meter
from pricing.rating.period_counters import (
    Allowance,
    Counter,
    Graduated,
    InAllowance,
    Quantity,
    Saving,
    Step,
    Volume,
    quantity_of,
)
from pricing.rating.runs import run_keys
from pricing.rating.state import ONCE
from pricing.rating.tariffs import MICROS, Tariff, compile_rates
from pricing.usage.items import REQUESTS, Result

Keys = Callable[[Any, datetime, datetime], Iterable[str]]
"""What tells the keys of the states that a price needs, of an item, when it happened, and now."""


class Rule(NamedTuple):
    """A rule of a card, compiled."""

    title: str
    name: str
    price: str
    """As the card states it."""
    included: bool
    tariff: Tariff
    keys: Keys | None
    """What tells the states that its price of an item needs; None: its price knows no past."""
    notes: bool
    """Its price tells more of a line than its credits."""
    charged_results: frozenset[Result]
    """Results of outcomes that it charges for."""
    meters: tuple[Meter, ...]
    """What bills runs, in order of `Meter.part`."""
    once: bool
    """It charges an outcome once for each subject."""
    follows_cost: bool
    """It has no price without the cost of what is asked for."""


def compile_rule(
    rule: RuleDoc,
    text: str,
    card: str,
    allowances: Mapping[str, AllowanceDoc],
    credit_price_nanousd: int,
    machines: Machines,
) -> Rule:
    """Compiles a rule, with its price as the card states it; `allowances` are those of the card, by group."""
    price, kind = rule.price, rule.match.kind
    compiler = _Compiler(kind, f"{card}/{rule.name}", credit_price_nanousd, machines)
    plain = _is_plain(price) or (price.plus is not None and all(map(_is_plain, price.plus)))
    tariff = compiler.price(price, (), lenient=not plain)
    group = rule.group or (price.allowance.of if price.allowance is not None else None)
    if group is not None and group in allowances:
        name = "base" if rule.group is not None else "claimed"
        tariff = compiler.in_allowance(tariff, f"{card}/{group}/group", allowances[group], name)
    if not plain:
        tariff = _guarded(price, kind, tariff)
    meters = tuple(compiler.meters)
    if meters:
        tariff = InRun(tariff, meters, machines)
    return Rule(
        rule.public_title,
        rule.name,
        text,
        price.included is True,
        tariff,
        compiler.all_keys(),
        any(part.measure is not None or part.pool is not None for part in price.all),
        frozenset(
            result
            for part in price.all
            if part.outcome
            for result, rate in part.outcome.rates.items()
            if rate
        ),
        meters,
        price.once is not None,
        price.varies,
    )


class _Compiler:
    """Compiles the prices that one rule is made of, and gathers what tells the states that they need."""

    def __init__(self, kind: str, key: str, credit_price_nanousd: int, machines: Machines) -> None:
        self.meters: list[Meter] = []
        """Those of the rule."""
        self._machines = machines
        self._kind = kind
        self._key = key
        self._credit_price_nanousd = credit_price_nanousd
        self._keys: list[Keys] = []

    def all_keys(self) -> Keys | None:
        """What tells the keys of all states; None if there are none."""
        keys = tuple(dict.fromkeys(self._keys))
        if len(keys) <= 1:
            return keys[0] if keys else None
        return lambda item, instant, now: chain.from_iterable(of(item, instant, now) for of in keys)

    def price(self, price: PriceDoc, path: tuple[int, ...], *, lenient: bool) -> Tariff:
        """Compiles a price; `path` leads to it through the lists of the rule's."""
        tariff = self._counted(price, path, lenient=lenient)
        if price.block is not None:
            tariff = Blocks(tariff, price.block)
        if price.times is not None:
            tariff = Multiplied(tariff, (price.times, BILLION))
        if price.once is not None:
            card, rule = self._key.split("/", 1)
            taking = frozenset(result for result in Result if _charges(price, result))
            tariff = Once(tariff, f"{ONCE}{card}/{quote(rule, safe='')}/", taking)
            self._keys.append(tariff.keys)
        return tariff

    def in_allowance(self, tariff: Tariff, name: str, doc: AllowanceDoc, part: str) -> Tariff:
        """Puts what a rule charges into the allowance of a group."""
        counter = Counter(name, doc.period)
        self._keys.append(counter.keys)
        return InAllowance(tariff, Allowance(counter, doc.share), part)

    def _counter(self, doc: PeriodDoc, path: tuple[int, ...]) -> Counter:
        counter = Counter("/".join((self._key, *map(str, path or (0,)))), doc.period)
        self._keys.append(counter.keys)
        return counter

    def _counted(self, price: PriceDoc, path: tuple[int, ...], *, lenient: bool) -> Tariff:
        doc = price.tiers or price.bundle
        if doc is None:
            return self._scheme(price, path, lenient=lenient)
        included = price.bundle.size if price.bundle is not None else 0
        if price.tiers is not None:
            tariffs = [
                self.price(step.price, (*path, index), lenient=lenient)
                for index, step in enumerate(price.tiers.steps)
            ]
            ends = [None if end is None else included + end for end in price.tiers.ends]
        else:
            tariffs, ends = [self._scheme(price, path, lenient=lenient)], [None]
        made = Volume if price.tiers is not None and price.tiers.volume is not None else Graduated
        steps = tuple(map(Step, ends, tariffs))
        return made(self._counter(doc, path), self._quantity(price, doc.count), included, steps)

    def _quantity(self, price: PriceDoc, count: str) -> Quantity:
        """Outcomes whose result costs nothing do not count."""
        quantity = quantity_of(count, self._kind)
        if self._kind != "outcome":
            return quantity
        counting = frozenset(result for result in Result if _charges(price, result))
        return lambda item: quantity(item) if item.result in counting else 0

    def _scheme(self, price: PriceDoc, path: tuple[int, ...], *, lenient: bool) -> Tariff:
        if price.plus is not None:
            return self._sum(price.plus, path, lenient=lenient)
        if price.included:
            return self._rates([], lenient=True)
        if price.savings_share is not None:
            share = price.savings_share.share * Fraction(MICROS, self._credit_price_nanousd)
            return Saving(self._counter(price.savings_share, path), share.as_integer_ratio())
        then = price.then
        tariff: Tariff
        if price.measure is not None:
            units = self.price(price.measure, path, lenient=lenient)
            per_unit = price.per_unit if then is None else then.per_unit
            tariff = Measure(units, price.measure.unit, (per_unit or 0, BILLION))
        elif then is not None:
            tariff = self.price(then, path, lenient=lenient)
        if price.pool is not None and price.ratio is not None:
            return Pooled(tariff, price.pool, (price.ratio, BILLION))
        if price.measure is not None:
            return tariff
        return self._rates([(price, path)], lenient=lenient)

    def _sum(self, parts: Sequence[PriceDoc], path: tuple[int, ...], *, lenient: bool) -> Tariff:
        placed = [(part, (*path, index)) for index, part in enumerate(parts)]
        plain = [(part, at) for part, at in placed if _is_plain(part)]
        tariffs = [self.price(part, at, lenient=lenient) for part, at in placed if not _is_plain(part)]
        if plain:
            tariffs.insert(0, self._rates(plain, lenient=lenient))
        return tariffs[0] if len(tariffs) == 1 else Sum(tuple(tariffs))

    def _rates(self, placed: Sequence[tuple[PriceDoc, tuple[int, ...]]], *, lenient: bool) -> Tariff:
        meters = [self._meter(part, at) for part, at in placed if part.has_run]
        if meters:
            self._keys.append(run_keys)
        parts = [part for part, _ in placed]
        return compile_rates(
            parts, self._kind, self._credit_price_nanousd, meters, self._machines, lenient=lenient
        )

    def _meter(self, part: PriceDoc, path: tuple[int, ...]) -> Meter:
        key = "/".join((self._key, *map(str, path or (0,))))
        meter = Meter(
            key,
            part.per_hour or 0,
            part.minimum or 0,
            part.increment or 1,
            part.maximum,
            part.minimum_again is not None,
            len(self.meters),
        )
        self.meters.append(meter)
        return meter


_NOT_PLAIN = frozenset(
    {"plus", "measure", "pool", "tiers", "savings_share", "times", "block", "bundle", "once", "allowance"}
)


def _charges(price: PriceDoc, result: Result) -> bool:
    return any(part.each or (part.outcome is not None and part.outcome.rates[result]) for part in price.all)


def _is_plain(price: PriceDoc) -> bool:
    """Whether a price is but a rate, or follows cost."""
    stated = price.model_fields_set
    return stated.isdisjoint(_NOT_PLAIN)


def _guarded(price: PriceDoc, kind: str, tariff: Tariff) -> Guarded:
    rated = rated_quantities(price) if kind == "tokens" else None
    return Guarded(tariff, price.varies, rated, price.once is not None)


def rated_quantities(price: PriceDoc) -> frozenset[str] | None:
    """The quantities of tokens that a price rates; None: all, whatever they are."""
    table = price.per_million if price.per_million is not None else price.each
    if table is not None:
        return frozenset((*with_fallbacks(table), REQUESTS))
    rating = (part for part in price.inner if part.place != "then of a measure")
    inner = [rated_quantities(part.price) for part in rating if part.price.savings_share is None]
    if not inner:
        return None
    found = [quantities for quantities in inner if quantities is not None]
    if price.tiers is not None:
        return frozenset.intersection(*found) if found else None
    return frozenset().union(*found) if len(found) == len(inner) else None
