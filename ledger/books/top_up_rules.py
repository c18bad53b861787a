"""What a plan says of top-ups: when one is needed, how many credits, at what price, how often.

What is done by it stands in `top_ups`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final, NamedTuple

CENT_NANOUSD: Final = 10_000_000
CREDIT_MICROS: Final = 1_000_000


class TopUpRules(NamedTuple):
    """What a plan says of top-ups."""

    below_micros: int
    """Where fewer credits than these are left, a top-up is needed."""
    add_micros: int | None
    """How many are added; None: up to `up_to_micros`."""
    up_to_micros: int | None
    """How many are to be left after it, what is owed being paid; None: `add_micros` are added."""
    credit_price_nanousd: int
    """What the customer pays for a credit."""
    monthly_cap_micros: int
    """Requested in a month of the customer's zone, what has failed left out."""
    expires_after: timedelta | None = None
    """Life of the grant from the request on; None: for ever."""
    answer_within: timedelta = timedelta(hours=24)
    """A payment that is neither confirmed nor given up by then has failed."""
    cool_down: timedelta = timedelta(minutes=10)
    """From a top-up that succeeded to the next request."""
    attempts_max: int = 3
    """Requests that fail one after the other."""
    back_off: timedelta = timedelta(hours=1)
    """After the first that fails; it doubles with each."""

    def amount_micros(self, left_micros: int, debt_micros: int) -> int:
        """What is requested; what is missing to a target is rounded up to whole credits."""
        if self.add_micros is not None:
            return self.add_micros
        missing_micros = (self.up_to_micros or 0) - left_micros + debt_micros
        return -(-missing_micros // CREDIT_MICROS) * CREDIT_MICROS

    def price_nanousd(self, amount_micros: int) -> int:
        """What the customer pays for an amount, rounded up to a cent: payment systems take no less."""
        return -(-amount_micros * self.credit_price_nanousd // (CREDIT_MICROS * CENT_NANOUSD)) * CENT_NANOUSD

    def pause(self, failed_attempts: int) -> timedelta | None:
        """How long to wait after so many attempts that failed; None: for ever."""
        if failed_attempts >= self.attempts_max:
            return None
        return self.back_off * (1 << (failed_attempts - 1))
