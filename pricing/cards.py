"""Rate cards."""

from __future__ import annotations
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from pricing.quote import Rounding


class Rate(NamedTuple):
    per: str
    credits: str
    note: str


@dataclass(frozen=True, slots=True)
class PriceListItem:
    title: str
    kind: str
    names: tuple[str, ...]
    conditions: Mapping[str, str]
    rates: tuple[Rate, ...]
    varies: bool
    included: bool


class RateCard:
    name: str
    version: str
    revision: int
    effective_from: datetime
    credit_name: str
    credit_price_nanousd: int
    rounding: Rounding
    has_outcome_rule: bool
    document: str

    @classmethod
    def from_document(cls, text: str) -> RateCard:
        raise NotImplementedError

    def price_list(self) -> tuple[PriceListItem, ...]:
        raise NotImplementedError
