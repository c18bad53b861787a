"""What a credit buys a customer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import wallet_service_pb2 as wallet


class PriceRate(NamedTuple):
    """What one measure of something costs."""

    per: str
    """As people say it: "1M input tokens", "hour", "each", "DBU"."""
    price: Decimal
    """In credits, or in what `unit` says."""
    note: str
    """What else holds: "minimum 60 s, increment 1 s"; empty if nothing."""
    unit: str
    """A measured unit with a rate of its own, or a pool; empty for credits."""


@dataclass(frozen=True, slots=True)
class PriceListItem:
    """One price of a list."""

    title: str
    kind: str
    """tokens, compute, units or outcome."""
    names: tuple[str, ...]
    """Names or globs that it applies to."""
    conditions: Mapping[str, str]
    rates: tuple[PriceRate, ...]
    varies: bool
    """The price follows the public price of what was asked for."""
    included: bool
    """Another line pays for it."""


@dataclass(frozen=True, slots=True)
class PriceList:
    """What a credit buys a customer."""

    rate_card: str
    credit_name: str
    """What the card calls a credit."""
    items: tuple[PriceListItem, ...]
    """In the order in which they apply."""


def price_list_of(message: wallet.GetPriceListResponse) -> PriceList:
    return PriceList(message.rate_card, message.credit_name, tuple(map(_price_list_item, message.items)))


def price_rate_of(message: wallet.Rate | pb.UnitPrice) -> PriceRate:
    return PriceRate(message.per, Decimal(message.credits), message.note, message.unit)


def _price_list_item(message: wallet.PriceListItem) -> PriceListItem:
    return PriceListItem(
        message.title,
        message.kind,
        tuple(message.names),
        dict(message.conditions),
        tuple(map(price_rate_of, message.rates)),
        message.varies,
        message.included,
    )
