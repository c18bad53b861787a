"""Rate cards: what customers pay, in credits.

A card is a list of rules; the first that matches an item prices it. Its document is the YAML text that ops
wrote; its version is a hash of what the text says, so that a comment or an indentation makes no new one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self

from pricing.cards.card_document import NANOS_PER_MICRO, CardDoc, RuleDoc
from pricing.cards.entitlements import Entitlements
from pricing.cards.periods import DAYS_AT_MOST
from pricing.cards.price_list import PriceListItem, listed
from pricing.documents.validate import Located, read_file, read_text


class Rounding(NamedTuple):
    """A card's quantum, and `half_even`, `half_up`, `up` or `down`."""

    quantum_micros: int = 1
    mode: str = "half_even"


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
    margin_floor: Fraction | None
    """The least margin at the list price that it is published with unasked."""
    rounding: Rounding
    has_outcome_rule: bool
    """A rule prices outcomes: included usage waits for one."""
    document: str
    """The YAML text."""
    rules: tuple[RuleDoc, ...]
    fallback: Mapping[str, str]
    """By kind of usage the rule that charges what has no price, under plans that say so."""
    entitlements: Entitlements | None
    """What whoever is charged by it may begin; None: anything."""
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
        self.margin_floor = doc.margin_floor
        self.rounding = Rounding(doc.round.to // NANOS_PER_MICRO, doc.round.mode)
        self.rules = tuple(doc.rules)
        self.fallback = dict(doc.fallback.items())
        stated = doc.entitlements
        self.entitlements = None if stated is None else Entitlements(stated.allowed, stated.denied)
        self.price_texts = tuple(
            json.dumps(rule["price"], ensure_ascii=False) for rule in located.plain["rules"]
        )
        self.has_outcome_rule = any(part.outcome for rule in doc.rules for part in rule.price.all)
        self.document = located.text

    @classmethod
    def from_document(cls, text: str) -> Self:
        """Restores a version from its document. Raises ConfigError if the text is not one."""
        return cls(read_text(text, CardDoc, "<rate card>"))

    @property
    def longest_period_days(self) -> int:
        """How long the longest period is that a rule counts over; 0 where none does."""
        priced = [price for rule in self.rules for price in rule.price.all]
        counted = [
            part
            for price in priced
            for part in (price.bundle, price.tiers, price.allowance, price.savings_share)
            if part is not None
        ]
        return max((DAYS_AT_MOST[part.per] for part in counted), default=0)

    def price_list(self) -> tuple[PriceListItem, ...]:
        """What customers may know of the card, in the order in which its rules apply."""
        return self._price_list

    def listed(self, rule: str) -> PriceListItem:
        """What customers may know of one rule, by its name."""
        known = self._listed.get(rule)
        if known is None:
            known = self._listed[rule] = listed(self._by_name[rule])
        return known

    @cached_property
    def _by_name(self) -> Mapping[str, RuleDoc]:
        return {rule.name: rule for rule in self.rules}

    @cached_property
    def _listed(self) -> dict[str, PriceListItem]:
        return {}

    @cached_property
    def _price_list(self) -> tuple[PriceListItem, ...]:
        return tuple(map(listed, self.rules))


def read_card(path: Path) -> Located[CardDoc]:
    """Reads one card. Raises ConfigError with all problems of the file."""
    return read_file(path, CardDoc)


def _canonical(plain: object) -> bytes:
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
