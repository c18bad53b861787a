"""The public door's requests: from messages to commands of the books and items of pricing.

Each function takes a request and the instant of now (so that one table serves them all), and returns a
`Write`, or raises `InvalidArgumentError` with all that is wrong. Checks of shape only: whether a thing
exists, or a plan allows it, is decided later.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple

import pricing
from ledger.api.messages import ids, limits, validation
from ledger.api.messages.decode_usage import decode_usage
from ledger.api.messages.validation import InvalidArgumentError, Problems
from ledger.api.messages.write import Write, fingerprint, written
from ledger.books.commands import Charge, Commit, Extend, Fill, Refund, Release, Reserve, Reverse
from ledger.books.making import make
from ledger.books.model.labels import NOTHING
from ledger.v1 import credit_service_pb2 as pb

_FILLS: Final = {
    pb.FILL_UNSPECIFIED: Fill.ALL_OR_NOTHING,
    pb.FILL_ALL_OR_NOTHING: Fill.ALL_OR_NOTHING,
    pb.FILL_UP_TO: Fill.UP_TO,
}


def reserve(request: pb.ReserveRequest, now: datetime) -> Write[Reserve]:
    """A hold of an amount, or of usage to be priced."""
    problems = Problems()
    amount, usage = _amount_or_usage(problems, request, "hold", now, least=1)
    fields = (
        validation.identifier(problems, "request_id", request.request_id),
        fingerprint(request),
        amount,
        _FILLS.get(request.fill) or _unknown_fill(problems, request.fill),
        _minimum(problems, request, amount) if request.minimum_micros else 1,
        validation.ttl(problems, "ttl", request.ttl) if request.HasField("ttl") else None,
        validation.labels(problems, "labels", request.labels) if request.HasField("labels") else {},
    )
    command = make(Reserve, fields)
    return written(problems, request.customer_id, command, usage)


def _unknown_fill(problems: Problems, fill: int) -> Fill:
    problems.add("fill", f"is {fill}; ALL_OR_NOTHING or UP_TO is allowed")
    return Fill.ALL_OR_NOTHING


def _minimum(problems: Problems, request: pb.ReserveRequest, amount: int | None) -> int:
    minimum = request.minimum_micros
    if request.fill != pb.FILL_UP_TO:
        problems.add("minimum_micros", "goes with fill UP_TO only; leave it unset")
    elif amount is not None and minimum > amount > 0:
        problems.add("minimum_micros", f"is {minimum}, above amount_micros ({amount})")
    return validation.amount(problems, "minimum_micros", minimum, least=0)


def extend(request: pb.ExtendReservationRequest, now: datetime) -> Write[Extend]:  # noqa: ARG001 -- one shape for all
    """More credits, more time, both or neither."""
    problems = Problems()
    command = Extend(
        request_id=validation.identifier(problems, "request_id", request.request_id),
        fingerprint=fingerprint(request),
        reservation=_reservation(problems, request.customer_id, request.reservation_id),
        amount_micros=validation.amount(problems, "amount_micros", request.amount_micros, least=0),
        ttl=validation.ttl(problems, "ttl", request.ttl) if request.HasField("ttl") else None,
    )
    return written(problems, request.customer_id, command, None, ("reservation_id", request.reservation_id))


def commit(request: pb.CommitReservationRequest, now: datetime) -> Write[Commit]:
    """Usage or credits against a hold; 0 credits if nothing was used."""
    problems = Problems()
    amount, usage = _amount_or_usage(
        problems, request, "spent", now, least=0, remark="; 0 credits if nothing was used"
    )
    fields = (
        validation.identifier(problems, "request_id", request.request_id),
        fingerprint(request),
        _reservation(problems, request.customer_id, request.reservation_id),
        amount,
        request.final,
        NOTHING,
    )
    command = make(Commit, fields)
    return written(problems, request.customer_id, command, usage, ("reservation_id", request.reservation_id))


def release(request: pb.ReleaseReservationRequest, now: datetime) -> Write[Release]:  # noqa: ARG001 -- one shape for all
    """The end of a hold."""
    problems = Problems()
    command = Release(
        request_id=validation.identifier(problems, "request_id", request.request_id),
        fingerprint=fingerprint(request),
        reservation=_reservation(problems, request.customer_id, request.reservation_id),
    )
    return written(problems, request.customer_id, command, None, ("reservation_id", request.reservation_id))


def charge(request: pb.ChargeRequest, now: datetime) -> Write[Charge]:
    """Usage or credits without a hold."""
    problems = Problems()
    amount, usage = _amount_or_usage(problems, request, "spent", now, least=1)
    fields = (
        validation.identifier(problems, "request_id", request.request_id),
        fingerprint(request),
        amount,
        request.already_used,
        validation.labels(problems, "labels", request.labels) if request.HasField("labels") else {},
    )
    command = make(Charge, fields)
    return written(problems, request.customer_id, command, usage)


def reverse(request: pb.ReverseChargeRequest, now: datetime) -> Write[Reverse]:  # noqa: ARG001 -- one shape for all
    """The undoing of a charge, or of a closed reservation."""
    problems = Problems()
    charged, reserved = None, None
    match request.WhichOneof("subject"):
        case "charge_id":
            named = validation.identifier(problems, "charge_id", request.charge_id)
            charged = ids.charge_sequence(request.customer_id, named)
        case "reservation_id":
            reserved = _reservation(problems, request.customer_id, request.reservation_id)
        case _:
            problems.add("subject", "one of charge_id, reservation_id is required")
    command = Reverse(
        request_id=validation.identifier(problems, "request_id", request.request_id),
        fingerprint=fingerprint(request),
        charge=charged,
        reservation=reserved,
        reason=validation.name(problems, "reason", request.reason, limits.REASON_LENGTH_MAX),
    )
    subject = request.WhichOneof("subject") or "charge_id"
    return written(problems, request.customer_id, command, None, (subject, getattr(request, subject)))


def refund(request: pb.RefundRequest, now: datetime) -> Write[Refund]:  # noqa: ARG001 -- one shape for all
    """Credits of a charge back; no amount: all that is left."""
    problems = Problems()
    named = validation.identifier(problems, "charge_id", request.charge_id)
    amount = validation.amount(problems, "amount_micros", request.amount_micros, least=0)
    command = Refund(
        request_id=validation.identifier(problems, "request_id", request.request_id),
        fingerprint=fingerprint(request),
        charge=ids.charge_sequence(request.customer_id, named),
        amount_micros=amount or None,
        reason=validation.name(problems, "reason", request.reason, limits.REASON_LENGTH_MAX),
    )
    return written(problems, request.customer_id, command, None, ("charge_id", request.charge_id))


def quote(request: pb.QuoteRequest, now: datetime) -> tuple[tuple[pricing.Item, ...], Mapping[str, str]]:
    """The usage to price, and its labels."""
    problems = Problems()
    validation.identifier(problems, "customer_id", request.customer_id)
    usage = decode_usage(problems, "usage", request.usage, now)
    labels = validation.labels(problems, "labels", request.labels)
    if problems.untimely or problems.found:
        raise InvalidArgumentError([*problems.found, *problems.untimely])
    return usage, labels


class Foreseen(NamedTuple):
    """Work that is asked about."""

    customer_id: str
    amount_micros: int | None
    usage: tuple[pricing.Item, ...] | None
    labels: Mapping[str, str]


def check(request: pb.CheckRequest, now: datetime) -> Foreseen:
    """Usage or credits that a reserve would hold."""
    problems = Problems()
    customer_id = validation.identifier(problems, "customer_id", request.customer_id)
    amount, usage = _amount_or_usage(problems, request, "hold", now, least=1)
    labels = validation.labels(problems, "labels", request.labels)
    if problems.untimely or problems.found:
        raise InvalidArgumentError([*problems.found, *problems.untimely])
    return Foreseen(customer_id, amount, usage, labels)


def _amount_or_usage(
    problems: Problems,
    request: pb.CheckRequest | pb.ReserveRequest | pb.CommitReservationRequest | pb.ChargeRequest,
    field: str,
    now: datetime,
    *,
    least: int,
    remark: str = "",
) -> tuple[int | None, tuple[pricing.Item, ...] | None]:
    """What is held or spent: micro-credits, or usage to be priced. `remark`: for whoever names neither."""
    if request.HasField("amount_micros"):
        return validation.amount(problems, "amount_micros", request.amount_micros, least=least), None
    if request.HasField("usage"):
        return None, decode_usage(problems, "usage", request.usage, now)
    problems.add(field, f"one of amount_micros, usage is required{remark}")
    return None, None


def _reservation(problems: Problems, customer_id: str, value: str) -> int:
    return ids.reservation_sequence(customer_id, validation.identifier(problems, "reservation_id", value))
