"""Compiled terms."""

from __future__ import annotations
from pricing.cards import RateCard
from pricing.costs import CostBook


class Terms:
    card: RateCard
    costs: CostBook


def compile_terms(card: RateCard, costs: CostBook) -> Terms:
    raise NotImplementedError
