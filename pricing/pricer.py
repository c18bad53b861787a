"""Pricing."""

from __future__ import annotations
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pricing.costs import CostBook
from pricing.items import Item
from pricing.quote import Memory, Quote
from pricing.terms import Terms


def price(
    items: Sequence[Item],
    labels: Mapping[str, str],
    terms: Terms,
    memory: Memory,
    *,
    now: datetime,
    costs_at: Callable[[datetime | None], CostBook] | None = None,
    estimate: bool = False,
) -> Quote:
    """`now` stands for the instant of items that state none (time-of-day prices); `estimate` ignores served_by."""
    raise NotImplementedError
