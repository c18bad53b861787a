"""The work that is measured: a pair is one `Reserve` and the final `CommitReservation` of its usage.

The same amounts, labels and usage are sent through gRPC, and decided in memory for the store alone.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from secrets import token_hex

import pricing
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import usage_pb2

PLAN = "standard"
"""Of the sample configuration: its card prices every model by the catalog, with a margin."""
HOLD_MICROS = 50_000
TTL_SECONDS = 3_600
"""No hold expires within a run."""
LABELS = {"project": "checkout", "user": "user-4711", "agent": "reviewer", "session": "session-9f31c2"}
MODEL = "anthropic/claude-haiku-4-5"
INPUT, CACHE_READ, OUTPUT = 1_200, 8_000, 350

USAGE: tuple[pricing.Item, ...] = (
    pricing.Tokens(MODEL, {"input": INPUT, "cache_read": CACHE_READ, "output": OUTPUT}),
)

_LABELS = pb.Labels(
    project=LABELS["project"], user=LABELS["user"], agent=LABELS["agent"], session=LABELS["session"]
)
_TOKENS = usage_pb2.TokenUsage(model=MODEL, input=INPUT, cache_read=CACHE_READ, output=OUTPUT)
REPORTED = (usage_pb2.UsageItem(tokens=_TOKENS),)
"""The same usage, as a caller sends it."""
_USAGE = usage_pb2.UsageList(items=REPORTED)


def customer_id(number: int) -> str:
    """The id of the customer of this number, from 1."""
    return f"customer-{number:07d}"


def request_id() -> str:
    """As random as callers' ids are: their index takes them anywhere within a customer."""
    return token_hex(16)


def in_a_year() -> datetime:
    """When the grant ends that is drawn first."""
    return datetime.now(UTC) + timedelta(days=365)


def reserve(customer: str) -> pb.ReserveRequest:
    """A hold, with its labels."""
    request = pb.ReserveRequest(
        request_id=request_id(), customer_id=customer, amount_micros=HOLD_MICROS, labels=_LABELS
    )
    request.ttl.seconds = TTL_SECONDS
    return request


def commit(customer: str, reservation_id: str) -> pb.CommitReservationRequest:
    """The whole usage of a hold, to be priced."""
    return pb.CommitReservationRequest(
        request_id=request_id(),
        customer_id=customer,
        reservation_id=reservation_id,
        usage=_USAGE,
        final=True,
    )
