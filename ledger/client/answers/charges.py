"""What holds and charges credits: reservations, charges and their lines, quotes, refunds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final

from ledger.client.amounts import credits_of
from ledger.client.answers.balances import Balance, balance_of
from ledger.client.answers.fields import instant_of, labels_of
from ledger.client.errors import invalid_argument
from ledger.v1 import credit_service_pb2 as pb


class ReservationState(StrEnum):
    """Where a reservation stands."""

    OPEN = "open"
    COMMITTED = "committed"
    RELEASED = "released"
    EXPIRED = "expired"
    """Its hold went back by the clock; commits are still taken, as late ones."""
    REVERSED = "reversed"
    UNKNOWN = "unknown"
    """A state that this version of the client does not know."""


_STATES: Final[Mapping[pb.ReservationState.ValueType, ReservationState]] = {
    pb.RESERVATION_STATE_OPEN: ReservationState.OPEN,
    pb.RESERVATION_STATE_COMMITTED: ReservationState.COMMITTED,
    pb.RESERVATION_STATE_RELEASED: ReservationState.RELEASED,
    pb.RESERVATION_STATE_EXPIRED: ReservationState.EXPIRED,
    pb.RESERVATION_STATE_REVERSED: ReservationState.REVERSED,
}
_NUMBERS: Final = {state: number for number, state in _STATES.items()}


@dataclass(frozen=True, slots=True)
class Written:
    """What the answer to every write says beside the thing itself."""

    balance: Balance
    """The customer's, after the write."""
    sequence: int
    """Of the customer's entries: it rises with each."""
    replayed: bool
    """The write had its effect at an earlier call with its request id; this is the answer of then."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """Credits that are held for work."""

    reservation_id: str
    customer_id: str
    state: ReservationState
    held_micros: int
    charged_micros: int
    created_at: datetime | None
    """None in the answers to writes after the reserve."""
    expires_at: datetime
    labels: Mapping[str, str]
    rate_card: str
    written: Written | None = None
    """None where it was read."""

    @property
    def held(self) -> Decimal:
        return credits_of(self.held_micros)

    @property
    def charged(self) -> Decimal:
        """What all commits have collected so far."""
        return credits_of(self.charged_micros)


@dataclass(frozen=True, slots=True)
class ChargeLine:
    """One line of a charge or a quote."""

    title: str
    """What the rate card calls it."""
    kind: str
    """tokens, compute, units or outcome."""
    name: str
    """The model asked for, the resource, the meter or the outcome."""
    quantities: Mapping[str, Decimal]
    """What was reported."""
    credits_micros: int
    """Its share of the rounded price, collected or not."""
    unpriced: bool
    """It has no price on the card."""
    included: bool
    """Another line pays for it."""
    pool: str
    """The pool that it may draw on; empty if none."""
    pool_micros: int
    """What of the credits was drawn from that pool."""

    @property
    def credits(self) -> Decimal:
        return credits_of(self.credits_micros)


@dataclass(frozen=True, slots=True)
class Quote:
    """What usage would be charged."""

    credits_micros: int
    lines: tuple[ChargeLine, ...]
    rate_card: str

    @property
    def credits(self) -> Decimal:
        return credits_of(self.credits_micros)


@dataclass(frozen=True, slots=True)
class Charge:
    """What one charge, or one commit of a reservation, has booked."""

    charge_id: str
    customer_id: str
    reservation_id: str
    """Empty for a charge without a hold."""
    charged_micros: int
    uncollected_micros: int
    """Priced, and not collected."""
    refunded_micros: int
    late: bool
    """The reservation had expired."""
    final: bool
    """It closed its reservation."""
    reversed: bool
    created_at: datetime
    occurred_at: datetime | None
    lines: tuple[ChargeLine, ...]
    labels: Mapping[str, str]
    rate_card: str
    reservation: Reservation | None = None
    """As the commit has left it; None for a charge without a hold, and where the charge was read."""
    written: Written | None = None
    """None where it was read."""

    @property
    def charged(self) -> Decimal:
        """What was collected."""
        return credits_of(self.charged_micros)

    @property
    def uncollected(self) -> Decimal:
        return credits_of(self.uncollected_micros)

    @property
    def refunded(self) -> Decimal:
        return credits_of(self.refunded_micros)


@dataclass(frozen=True, slots=True)
class PendingCharge:
    """A charge without an answer: it is stored, and sent until it has one, so there is no amount yet."""

    request_id: str
    customer_id: str


@dataclass(frozen=True, slots=True)
class Refund:
    """What a refund or a reversal gave back."""

    returned_micros: int
    """Credits that came back, or paid debt."""
    written: Written

    @property
    def returned(self) -> Decimal:
        return credits_of(self.returned_micros)


def state_number(state: ReservationState | None) -> pb.ReservationState.ValueType:
    """A state as requests take it; None: any. Raises InvalidArgument for what is none that is known."""
    if state is None:
        return pb.RESERVATION_STATE_UNSPECIFIED
    if not isinstance(state, str) or state not in _NUMBERS:
        raise invalid_argument("state", state, f"a ReservationState: {', '.join(_NUMBERS)}")
    return _NUMBERS[state]


def written_of(
    answer: pb.ReserveResponse
    | pb.ExtendReservationResponse
    | pb.CommitReservationResponse
    | pb.ReleaseReservationResponse
    | pb.ChargeResponse
    | pb.RefundResponse
    | pb.ReverseChargeResponse,
) -> Written:
    return Written(balance_of(answer.balance), answer.sequence, answer.replayed)


def reservation_of(message: pb.Reservation, written: Written | None = None) -> Reservation:
    return Reservation(
        message.reservation_id,
        message.customer_id,
        _STATES.get(message.state, ReservationState.UNKNOWN),
        message.held_micros,
        message.charged_micros,
        instant_of(message.created_at) if message.HasField("created_at") else None,
        instant_of(message.expires_at),
        labels_of(message.labels),
        message.rate_card,
        written,
    )


def charge_of(
    message: pb.Charge, written: Written | None = None, reservation: Reservation | None = None
) -> Charge:
    return Charge(
        message.charge_id,
        message.customer_id,
        message.reservation_id,
        message.charged_micros,
        message.uncollected_micros,
        message.refunded_micros,
        message.late,
        message.final,
        message.reversed,
        instant_of(message.created_at),
        instant_of(message.occurred_at) if message.HasField("occurred_at") else None,
        tuple(line_of(line) for line in message.lines),
        labels_of(message.labels),
        message.rate_card,
        reservation,
        written,
    )


def line_of(message: pb.ChargeLine) -> ChargeLine:
    return ChargeLine(
        message.title,
        message.kind,
        message.name,
        {name: Decimal(quantity) for name, quantity in message.quantities.items()},
        message.credits_micros,
        message.unpriced,
        message.included,
        message.pool,
        message.pool_micros,
    )


def quote_of(message: pb.QuoteResponse) -> Quote:
    return Quote(message.credits_micros, tuple(line_of(line) for line in message.lines), message.rate_card)
