"""Reports of a customer through all their pages: the pieces of what is long are added up."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Context, Decimal
from typing import Final, Literal, TypeVar, get_args

from ledger.v1.wallet_service_pb2 import StatementLine, UsageRow

Row = TypeVar("Row", UsageRow, StatementLine)

_Figure = Literal["items", "credits_micros", "measured", "quantities"]
_FIGURES: Final[tuple[_Figure, ...]] = get_args(_Figure)
"""What rows have beside what tells them apart."""

_EXACT: Final = Context(prec=100)
"""Sums of decimal strings of 30 digits have fewer."""


def added_up(rows: Iterable[Row]) -> list[Row]:
    """Rows that differ in their figures alone as one, but for those of nothing.

    Raises ValueError for a sum of more than 64 bits.
    """
    whole: dict[bytes, Row] = {}
    for row in rows:
        key = _key(row)
        if key in whole:
            _add(whole[key], row)
        else:
            whole[key] = row
    return [row for row in whole.values() if row.items or row.credits_micros or row.quantities]


def _key(row: Row) -> bytes:
    """All of a row but its figures."""
    alike = type(row)()
    alike.CopyFrom(row)
    for figure in _FIGURES:
        alike.ClearField(figure)
    return alike.SerializeToString(deterministic=True)


def _add(to: Row, row: Row) -> None:
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
