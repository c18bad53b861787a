"""What callers say, as requests carry it: labels, usage or an amount, durations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

from google.protobuf.duration_pb2 import Duration

from ledger.client.amounts import micros_of
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import usage_pb2

_NAMED: Final = frozenset({"project", "user", "agent", "session"})
"""Labels with fields of their own."""


def labels_message(labels: Mapping[str, str]) -> pb.Labels:
    """Labels as the service takes them."""
    message = pb.Labels()
    put_labels(message, labels)
    return message


def put_labels(into: pb.Labels, labels: Mapping[str, str]) -> None:
    """Adds labels to those of a request."""
    for key, value in labels.items():
        if key in _NAMED:
            setattr(into, key, value)
        else:
            into.other[key] = value


def put_work(
    request: pb.CheckRequest | pb.ReserveRequest | pb.CommitReservationRequest | pb.ChargeRequest,
    usage: Sequence[usage_pb2.UsageItem] | None,
    amount: Decimal | int | None,
) -> None:
    """Usage or an amount, as requests take either. Raises TypeError for both, neither, or what is none."""
    if (usage is None) == (amount is None):
        raise TypeError("give usage or an amount: one of them")
    if amount is not None:
        request.amount_micros = micros_of(amount)
    if usage is not None:
        request.usage.SetInParent()  # Of no items too: it is the service that says what it takes.
        try:
            request.usage.items.extend(usage)
        except TypeError:
            raise no_usage(usage) from None


def no_usage(given: object) -> TypeError:
    """What is raised where neither items of usage nor an amount was said."""
    found = type(given).__name__
    return TypeError(
        f"usage is a list of UsageItem, as convert(...).items is; an amount is exact: not {found}"
    )


def labels_asked(labels: Mapping[str, str] | None) -> pb.Labels | None:
    """Labels as requests take them; None: not said."""
    return None if labels is None else labels_message(labels)


def duration(seconds: int | None) -> Duration | None:
    """A duration as requests take it; None: not said."""
    return None if seconds is None else Duration(seconds=seconds)
