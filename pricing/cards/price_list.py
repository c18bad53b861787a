"""The price list: what customers may know of a card, made of its rules.

It tells titles, what rules match, and rates; of prices that follow cost only that they vary. No name of a
rule, no margin, nothing of what served, no internal label is in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from pricing.cards.card_document import RuleDoc
from pricing.cards.period_document import BundleDoc, PeriodDoc
from pricing.cards.price_document import ONLY, PriceDoc, TiersDoc
from pricing.exact import BILLION, format_nanos, format_percent, format_product
from pricing.usage.items import REQUESTS

_INTERNAL_LABEL = "internal."
_SECRET_CONDITIONS = frozenset({"served_by"})


@dataclass(frozen=True, slots=True)
class Rate:
    """What one of something costs."""

    per: str
    """"1M input tokens", "hour", "each", "resolved", "DBU"."""
    credits: str
    """A decimal string: of credits, or of `unit`."""
    note: str
    """What else holds: "minimum 60 s, maximum 0.1 a run", "in blocks of 1000"; empty if nothing."""
    unit: str = ""
    """What is counted, if not credits: a measured unit, such as DBU, which has a rate of its own; a pool."""
    pool: bool = False
    """Whether `unit` is a pool, in place of credits."""


@dataclass(frozen=True, slots=True)
class PriceListItem:
    """What customers may know of a rule: no name of ours, no margin, no internal label."""

    title: str
    kind: str
    names: tuple[str, ...]
    """Names or globs that it applies to."""
    conditions: Mapping[str, str]
    """Other conditions, such as state: idle; alternatives are separated by commas."""
    rates: tuple[Rate, ...]
    varies: bool
    """The price, or a part of it, follows the public price of what was asked for."""
    included: bool


def listed(rule: RuleDoc) -> PriceListItem:
    """What the price list says of a rule."""
    stated = rule.match.conditions.items()
    conditions = {name: ", ".join(patterns) for name, patterns in stated if name not in _SECRET_CONDITIONS}
    labels = {name: ", ".join(patterns) for name, patterns in rule.match.labels.items()}
    public = {f"label {name}": text for name, text in labels.items() if not name.startswith(_INTERNAL_LABEL)}
    return PriceListItem(
        title=rule.public_title,
        kind=rule.match.kind,
        names=rule.match.names,
        conditions={**conditions, **public},
        rates=tuple(_rates(rule.price)),
        varies=rule.price.varies,
        included=rule.price.included is True,
    )


def _rates(price: PriceDoc) -> Iterator[Rate]:
    factor = price.times or BILLION
    for rate in _scheme(price):
        notes = [
            rate.note,
            f"in blocks of {format_nanos(price.block)}" if price.block else "",
            *_round(price),
        ]
        is_counted = bool(rate.unit) and not rate.pool
        times = rate.credits if is_counted else format_product(rate.credits, factor)
        yield replace(rate, credits=times, note=", ".join(filter(None, notes)))


def _round(price: PriceDoc) -> Iterator[str]:
    """What stands round a price."""
    if price.bundle is not None:
        bundle = price.bundle
        yield f"the first {_amount(bundle.quantity, bundle.count)} a {_period(bundle)} are included"
    if price.allowance is not None:
        allowance = price.allowance
        share = format_percent(allowance.share)
        yield f"as far as it exceeds {share} of what {allowance.of} comes to in a {_period(allowance)}"
    if price.once is not None:
        yield "once for each subject"


def _amount(quantity: str, count: str) -> str:
    return quantity if count == "quantity" else f"{quantity} {count.replace('_', ' ')}"


def _period(doc: PeriodDoc) -> str:
    return f"{doc.per} ({doc.zone})"


def _tiers(tiers: TiersDoc, bundle: BundleDoc | None) -> Iterator[Rate]:
    """Tells each step's rates and bounds: of all that is counted, what a bundle includes among it."""
    start = "0" if bundle is None else bundle.quantity
    for step, size in zip(tiers.steps, tiers.ends, strict=True):
        above = _amount(start, tiers.count)
        end = step.up_to if bundle is None or size is None else _counted(bundle.size + size, tiers.count)
        where = f"above {above}" if end is None else f"above {above} up to {end}"
        whole = ", for all of them" if tiers.volume is not None else ""
        for rate in _rates(step.price):
            notes = (rate.note, f"{where} a {_period(tiers)}{whole}")
            yield replace(rate, note=", ".join(filter(None, notes)))
        start = end or start


def _counted(size: int, count: str) -> str:
    return f"{format_nanos(size // BILLION)}s" if count == "duration" else format_nanos(size)


def _scheme(price: PriceDoc) -> Iterator[Rate]:
    for key, nanos in (price.per_million or {}).items():
        yield Rate(_per_million(key), format_nanos(nanos), "")
    for key, nanos in (price.each or {}).items():
        yield Rate(_each(key), format_nanos(nanos), "")
    if price.per_hour is not None:
        yield Rate("hour", format_nanos(price.per_hour), _bounds(price))
    if price.outcome is not None:
        for result, nanos in price.outcome.rates.items():
            if nanos or result.lower() in price.outcome.model_fields_set:
                yield Rate(result.lower(), format_nanos(nanos), "")
    yield from _inner(price)


def _inner(price: PriceDoc) -> Iterator[Rate]:
    """Tells the rates of the prices that one is made of."""
    for part in price.plus or ():
        yield from _rates(part)
    if price.measure is not None:
        for rate in _rates(price.measure):
            yield replace(rate, unit=price.measure.unit)
        per_unit = price.per_unit if price.then is None else price.then.per_unit
        yield Rate(price.measure.unit, format_nanos(per_unit or 0), "")
    elif price.then is not None:
        yield from _rates(price.then)
    if price.pool is not None:
        per = price.measure.unit if price.measure is not None else "credit"
        yield Rate(per, format_nanos(price.ratio or 0), "while it lasts", f"pool {price.pool}", pool=True)
    if price.tiers is not None:
        yield from _tiers(price.tiers, price.bundle)


def _bounds(price: PriceDoc) -> str:
    times = {"minimum": price.minimum, "increment": price.increment}
    bounds = [f"{name} {format_nanos(nanos)} s" for name, nanos in times.items() if nanos is not None]
    if price.minimum_again is not None:
        bounds[0] += " at each start"
    if price.maximum is not None:
        bounds.append(f"maximum {format_nanos(price.maximum)} a run")
    return ", ".join(bounds)


def _per_million(key: str) -> str:
    if key == ONLY:
        return "1M"
    return "1M requests" if key == REQUESTS else f"1M {key.replace('_', ' ')} tokens"


def _each(key: str) -> str:
    if key == ONLY:
        return "each"
    return "request" if key == REQUESTS else f"{key.replace('_', ' ')} token"
