"""Credits and money: postings to a customer's accounts, and exact amounts that are not rounded yet.

Credits are integer micro-credits (`_micros`), money is integer nano-dollars (`_nanousd`). An exact amount is
of the same units: a `Ratio` where every charge has one, else a `Fraction`.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple, TypeAlias

ZERO = Fraction(0)

Ratio: TypeAlias = tuple[int, int]
"""An exact amount as numerator and denominator (above 0): cheaper than a fraction, for it is reduced only
where it is stored. Those that are said to be reduced may be compared by `==`."""

NO_AMOUNT: Ratio = (0, 1)
"""An exact amount of nothing, reduced."""


class Credits(NamedTuple):
    """Postings to (or balances of) the credit accounts of one customer, in micro-credits."""

    issued: int = 0
    pending: int = 0
    available: int = 0
    held: int = 0
    consumed: int = 0
    expired: int = 0
    voided: int = 0
    refunded: int = 0
    debt: int = 0


class Dollars(NamedTuple):
    """Postings to the dollar accounts of one customer, in nano-dollars.

    Liabilities and income are positive, assets and expenses negative.
    """

    receivable: int = 0
    unbilled: int = 0
    refund_payable: int = 0
    deferred: int = 0
    revenue: int = 0
    breakage: int = 0
    write_off: int = 0
    cost: int = 0
    provider_payable: int = 0
