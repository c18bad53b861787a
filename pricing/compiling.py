"""From the document of a price to its tariff.

Schemes that state rates or follow cost, and say no more, become one tariff; what stands around or beside them
is put round it, so that a plain rule pays nothing for what others can say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple

from pricing.compounds import Blocks, Guarded, Measure, Multiplied, Sum
from pricing.items import BILLION, Result
from pricing.rates import REQUESTS, with_fallbacks
from pricing.runs import Machines, Meter, run_keys
from pricing.schemes import PriceDoc
from pricing.tariffs import Tariff, compile_rates

Keys = Callable[[Any, datetime, datetime], Iterable[str]]
"""What tells the keys of the states that a price needs, of an item, when it happened, and now."""


class Compiled(NamedTuple):
    """The price of a rule, compiled."""

    tariff: Tariff
    keys: Keys | None
    """None: the price knows no past."""
    notes: bool
    """It tells more of a line than its credits."""
    charged_results: frozenset[Result]
    """Results of outcomes that are charged for."""
    meters: tuple[Meter, ...]
    """What bills runs, in order of `Meter.part`."""


def compile_price(
    price: PriceDoc, kind: str, key: str, credit_price_nanousd: int, machines: Machines
) -> Compiled:
    """Compile the price of a rule for a kind of usage; `key` tells its states from those of other rules."""
    compiler = _Compiler(kind, key, credit_price_nanousd, machines)
    plain = _is_plain(price) or (price.plus is not None and all(map(_is_plain, price.plus)))
    tariff = compiler.price(price, (), lenient=not plain)
    if not plain:
        tariff = _guarded(price, kind, tariff)
    return Compiled(
        tariff,
        compiler.all_keys(),
        any(part.measure is not None for part in price.all),
        frozenset(
            result
            for part in price.all
            if part.outcome
            for result, rate in part.outcome.rates.items()
            if rate
        ),
        tuple(compiler.meters),
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
        """Return what tells the keys of all states; None if there are none."""
        keys = tuple(dict.fromkeys(self._keys))
        if len(keys) <= 1:
            return keys[0] if keys else None
        return lambda item, instant, now: chain.from_iterable(of(item, instant, now) for of in keys)

    def price(self, price: PriceDoc, path: tuple[int, ...], *, lenient: bool) -> Tariff:
        """Compile a price; `path` leads to it through the lists of the rule's."""
        tariff = self._scheme(price, path, lenient=lenient)
        if price.block is not None:
            tariff = Blocks(tariff, price.block)
        if price.times is not None:
            tariff = Multiplied(tariff, (price.times, BILLION))
        return tariff

    def _scheme(self, price: PriceDoc, path: tuple[int, ...], *, lenient: bool) -> Tariff:
        if price.plus is not None:
            return self._sum(price.plus, path, lenient=lenient)
        if price.measure is not None:
            units = self.price(price.measure, path, lenient=lenient)
            return Measure(units, price.measure.unit, (price.per_unit or 0, BILLION))
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


def _is_plain(price: PriceDoc) -> bool:
    """Tell whether a price is but a rate, or follows cost."""
    return price.plus is None and price.measure is None and price.times is None and price.block is None


def _guarded(price: PriceDoc, kind: str, tariff: Tariff) -> Guarded:
    on_asked = any(part.fee_on_cost is not None for part in price.all)
    on = {part.cost_plus.on for part in price.all if part.cost_plus is not None}
    rated = _rated(price) if kind == "tokens" else None
    return Guarded(tariff, on_asked or "asked" in on, "served" in on, rated)


def _rated(price: PriceDoc) -> frozenset[str] | None:
    """Return the quantities of tokens that a price rates; None: all, whatever they are."""
    table = price.per_million if price.per_million is not None else price.each
    if table is not None:
        return frozenset((*with_fallbacks(table), REQUESTS))
    inner = [_rated(part.price) for part in price.inner]
    if not inner:
        return None
    found = [quantities for quantities in inner if quantities is not None]
    return frozenset().union(*found) if len(found) == len(inner) else None
