"""What a price tells of a line beside its credits: how much was measured, what it costs in lots of a pool."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from pricing.exact import BILLION, format_nanos
from pricing.pairs import Pair


class Measured(NamedTuple):
    """How many units of a name usage amounts to, before it is priced."""

    unit: str
    quantity: Fraction
    """Exact."""

    @property
    def public(self) -> dict[str, str]:
        """As JSON values; the quantity to nine digits, half even."""
        return {"unit": self.unit, "quantity": format_nanos(round(self.quantity * BILLION))}


class PoolPart(NamedTuple):
    """What a line costs in lots of a pool, while they last."""

    pool: str
    exact_micros: Pair
    """Micro-credits of the pool."""
