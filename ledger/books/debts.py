"""Debts: what a plan lets a customer overdraw, at the credit price of the terms."""

from __future__ import annotations

from fractions import Fraction

from ledger.books.model.plans import OverCapture, Plan
from ledger.books.model.priced import Terms
from ledger.books.model.wallets import Wallet
from ledger.books.posting import Draft
from ledger.books.rounding import MAX_AMOUNT, MICROS_PER_CREDIT, round_exact


def overdraft_left(wallet: Wallet, plan: Plan, terms: Terms) -> int:
    """What the customer may still come to owe, in micro-credits, its price within bounds too."""
    if plan.over_capture is not OverCapture.ALLOW_WITH_OVERDRAFT:
        return 0
    left = min(plan.overdraft_limit_micros, MAX_AMOUNT) + wallet.balances.debt
    if terms.credit_price_nanousd > 0:
        value_left = MAX_AMOUNT + wallet.unbilled_nanousd
        left = min(left, value_left * MICROS_PER_CREDIT // terms.credit_price_nanousd)
    return max(0, left)


def borrow(draft: Draft, micros: int, terms: Terms) -> None:
    """Books an overdraft at the credit price of the terms."""
    if micros:
        price = Fraction(micros * terms.credit_price_nanousd, MICROS_PER_CREDIT)
        draft.borrow(micros, round_exact(price))
