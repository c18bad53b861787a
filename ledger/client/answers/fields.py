"""Fields that many messages have: instants, labels, figures of usage, members of enumerations."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import wallet_service_pb2 as wallet

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def labels_of(message: pb.Labels) -> dict[str, str]:
    """Labels as one mapping, the named ones first."""
    # One by one: each answer has two, and a loop over their names takes thrice as long.
    labels = {}
    if message.project:
        labels["project"] = message.project
    if message.user:
        labels["user"] = message.user
    if message.agent:
        labels["agent"] = message.agent
    if message.session:
        labels["session"] = message.session
    if message.other:
        labels.update(message.other)
    return labels


def instant_of(stamp: Timestamp) -> datetime:
    """An instant of UTC, to the microsecond."""
    # As Timestamp.ToDatetime does, in a third of its time.
    return _EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1_000)


def figures(
    message: wallet.UsageRow | wallet.StatementLine,
) -> tuple[Decimal | None, dict[str, Decimal], int, int]:
    """What was measured, the quantities, the items, and micro-credits."""
    return (
        Decimal(message.measured) if message.measured else None,
        {name: Decimal(quantity) for name, quantity in message.quantities.items()},
        message.items,
        message.credits_micros,
    )


def members(known: type[StrEnum], numbers: Mapping[str, int], prefix: str) -> dict[int, str]:
    """Values by the numbers that the service has for them."""
    return {
        number: name.removeprefix(prefix).lower()
        for name, number in numbers.items()
        if name.removeprefix(prefix) in known.__members__
    }
