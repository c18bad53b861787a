"""Configuration directory."""

from __future__ import annotations
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pricing.cards import RateCard
from pricing.costs import CostBook


@dataclass(frozen=True, slots=True)
class Config:
    costs: CostBook
    cards: Mapping[str, RateCard]


def load(directory: Path) -> Config:
    raise NotImplementedError
