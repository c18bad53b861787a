"""The limits of one process, by its parts: an argument for tests, which nobody else sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ledger.api.messages.limits import CALLS, PORT, CallLimits, PortLimits
from ledger.engine.limits import ENGINE_LIMITS, EngineLimits
from ledger.prices.limits import PRICE_LIMITS, PriceLimits
from ledger.store.postgres.database import LOCK_TIMEOUT


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Each part has its own from here."""

    engine: EngineLimits = ENGINE_LIMITS
    calls: CallLimits = CALLS
    port: PortLimits = PORT
    """Of each."""
    prices: PriceLimits = PRICE_LIMITS
    lock_timeout: str = LOCK_TIMEOUT
    look_seconds: float = 1.0
    """Between two looks of what follows the journal: for events, for top-ups, for what is to be delivered."""


LIMITS: Final = Limits()
