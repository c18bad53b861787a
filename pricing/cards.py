"""Rate cards: what customers pay, in credits.

A card is a list of rules; the first that matches an item prices it. Its document is the YAML text that ops
wrote; its version is a hash of what the text says, so that a comment or an indentation makes no new one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Self

from pricing.card_document import NANOS_PER_MICRO, CardDoc, RuleDoc
from pricing.decimals import format_nanos
from pricing.rates import REQUESTS
from pricing.schemes import ONLY, PriceDoc
from pricing.source import Located, read_file, read_text

_INTERNAL_LABEL = "internal."


class Rounding(NamedTuple):
    """A card's quantum, and `half_even`, `half_up`, `up` or `down`."""

    quantum_micros: int = 1
    mode: str = "half_even"


@dataclass(frozen=True, slots=True)
class Rate:
    """Credits for one of something."""

    per: str
    """"1M input tokens", "hour", "each", "resolved"."""
    credits: str
    """A decimal string."""
    note: str
    """Of hourly rates: "minimum 60 s, increment 1 s, maximum 0.1 a run"; empty if none."""


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


class RateCard:
    """One version of a rate card. Immutable."""

    name: str
    version: str
    """SHA-256 of what the document says, in hex."""
    revision: int
    effective_from: datetime
    credit_name: str
    credit_price_nanousd: int
    """List price of one credit."""
    rounding: Rounding
    has_outcome_rule: bool
    """A rule prices outcomes: included usage waits for one."""
    document: str
    """The YAML text."""
    rules: tuple[RuleDoc, ...]
    price_texts: tuple[str, ...]
    """The price of each rule as the document states it, as one line of JSON."""

    def __init__(self, located: Located[CardDoc]) -> None:
        doc = located.model
        self.name = doc.card
        self.version = hashlib.sha256(_canonical(located.plain)).hexdigest()
        self.revision = doc.revision
        self.effective_from = doc.effective_from
        self.credit_name = doc.credit
        self.credit_price_nanousd = doc.credit_price_usd
        self.rounding = Rounding(doc.round.to // NANOS_PER_MICRO, doc.round.mode)
        self.rules = tuple(doc.rules)
        self.price_texts = tuple(
            json.dumps(rule["price"], ensure_ascii=False) for rule in located.plain["rules"]
        )
        self.has_outcome_rule = any(part.outcome for rule in doc.rules for part in rule.price.parts)
        self.document = located.text

    @classmethod
    def from_document(cls, text: str) -> Self:
        """Restore a version from its document. Raises ConfigError if the text is not one."""
        return cls(read_text(text, CardDoc, "<rate card>"))

    def price_list(self) -> tuple[PriceListItem, ...]:
        """Return what customers may know of the card, in the order in which its rules apply."""
        return tuple(_listed(rule) for rule in self.rules)


def read_card(path: Path) -> Located[CardDoc]:
    """Read one card. Raises ConfigError with all problems of the file."""
    return read_file(path, CardDoc)


def _canonical(plain: object) -> bytes:
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _listed(rule: RuleDoc) -> PriceListItem:
    conditions = {name: ", ".join(patterns) for name, patterns in rule.match.conditions.items()}
    labels = {name: ", ".join(patterns) for name, patterns in rule.match.labels.items()}
    public = {f"label {name}": text for name, text in labels.items() if not name.startswith(_INTERNAL_LABEL)}
    return PriceListItem(
        title=rule.public_title,
        kind=rule.match.kind,
        names=rule.match.names,
        conditions={**conditions, **public},
        rates=tuple(rate for part in rule.price.parts for rate in _rates(part)),
        varies=any(part.cost_plus is not None for part in rule.price.parts),
        included=rule.price.included is True,
    )


def _rates(price: PriceDoc) -> Iterator[Rate]:
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
