"""What the client answers of work that is not begun: whether it may be, and what it would cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from ledger.client.amounts import credits_of
from ledger.client.answers.balances import Balance, balance_of
from ledger.client.answers.budgets import Budget, budget_of
from ledger.client.answers.charges import ChargeLine, line_of
from ledger.client.answers.fields import instant_of
from ledger.client.answers.prices import PriceRate, price_rate_of
from ledger.client.errors import CreditsError
from ledger.client.statuses import error_of_status
from ledger.v1 import credit_service_pb2 as pb


@dataclass(frozen=True, slots=True)
class CheckedItem:
    """What a check says of one item of the usage."""

    line: ChargeLine
    denied_by: str
    """The list that does not allow it, as `NotEntitled.of_list` has it; empty if it is allowed."""
    prices: tuple[PriceRate, ...]
    """By the rule that prices the item; none where it has no price."""
    varies: bool
    """The price, or a part of it, follows the public price of what was asked for."""


@dataclass(frozen=True, slots=True)
class Check:
    """Whether a reserve would be taken, and what it would find. Nothing is held by it."""

    allowed: bool
    refusal: CreditsError | None
    """What the reserve would raise; None if it is allowed."""
    items: tuple[CheckedItem, ...]
    credits_micros: int | None
    """What would be held; None where an item has no price."""
    rate_card: str
    balance: Balance
    as_of: datetime
    budgets: tuple[Budget, ...]
    """Those that work with these labels counts in, as they stand before it."""

    @property
    def credits(self) -> Decimal | None:
        return None if self.credits_micros is None else credits_of(self.credits_micros)


def check_of(message: pb.CheckResponse) -> Check:
    return Check(
        message.allowed,
        error_of_status(message.refusal) if message.HasField("refusal") else None,
        tuple(_item_of(item, message.prices) for item in message.items),
        message.credits_micros if message.HasField("credits_micros") else None,
        message.rate_card,
        balance_of(message.balance),
        instant_of(message.as_of),
        tuple(map(budget_of, message.budgets)),
    )


def _item_of(message: pb.CheckedItem, prices: Sequence[pb.UnitPrices]) -> CheckedItem:
    own = prices[message.prices_index] if message.HasField("prices_index") else pb.UnitPrices()
    rates = tuple(map(price_rate_of, own.prices))
    return CheckedItem(line_of(message.line), message.denied_by, rates, own.varies)
