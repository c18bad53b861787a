"""Usage of a customer, through all pages of its report: the pieces of a long day are added up."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Context, Decimal
from typing import Final

from ledger.v1.wallet_service_pb2 import UsageRow

_EXACT: Final = Context(prec=100)
"""Sums of decimal strings of 30 digits have fewer."""


def added_up(rows: Iterable[UsageRow]) -> list[UsageRow]:
    """Rows of one day, with the same labels, kind and unit, as one, but for those of nothing.

    Raises ValueError for a sum of more than 64 bits.
    """
    whole: dict[tuple[object, ...], UsageRow] = {}
    for row in rows:
        key = (row.day, row.labels.SerializeToString(deterministic=True), row.kind, row.unit)
        if key in whole:
            _add(whole[key], row)
        else:
            whole[key] = row
    return [row for row in whole.values() if row.items or row.credits_micros or row.quantities]


def _add(to: UsageRow, row: UsageRow) -> None:
    to.items += row.items
    to.credits_micros += row.credits_micros
    if row.unit:
        to.measured = _sum(to.measured, row.measured)
    for name, quantity in row.quantities.items():
        total = _sum(to.quantities[name] or "0", quantity)
        if total == "0":
            del to.quantities[name]
        else:
            to.quantities[name] = total


def _sum(one: str, other: str) -> str:
    """Without an exponent and without trailing zeros, as the service writes them."""
    text = f"{_EXACT.add(Decimal(one), Decimal(other)):f}"
    plain = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if plain == "-0" else plain
