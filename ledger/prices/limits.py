"""When what is published takes effect, and how long a process may go by what it has found."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from ledger.store.prices.versions import CONVERGENCE


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceLimits:
    """Of one process."""

    convergence: timedelta = CONVERGENCE
    """Of what it publishes."""
    current_seconds: float = CONVERGENCE.total_seconds() * 3 / 4
    """How long a look holds: what is published after it is not in force yet. A quarter is
    left for commits."""


PRICE_LIMITS: Final = PriceLimits()
