"""The hold of a session: taken, extended before it runs out, taken anew where it has ended, given back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from time import monotonic
from typing import Final
from uuid import uuid4

from ledger.client.answers import charges
from ledger.client.delivery import Delivery
from ledger.client.errors import (
    BudgetExceeded,
    CreditsError,
    JournalError,
    ReservationClosed,
    ReservationExpired,
    ReservationNotFound,
)
from ledger.client.outbox import Settling
from ledger.client.outstanding import Write, release_of
from ledger.client.requests import duration, micros_asked, no_usage, usage_list
from ledger.client.session_book import SHORT, SessionBook, Shortage
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1.usage_pb2 import UsageItem

Estimate = Decimal | int | UsageItem | Sequence[UsageItem]
"""Credits, or usage of which the price is held."""

_GONE: Final = (ReservationClosed, ReservationExpired, ReservationNotFound)


class Hold:
    """The credits that a session holds, if any; what is known of them stands in its book."""

    def __init__(
        self,
        delivery: Delivery,
        book: SessionBook,
        customer_id: str,
        estimate: Estimate,
        labels: pb.Labels,
        ttl_seconds: int | None,
    ) -> None:
        self._delivery = delivery
        self._outbox = delivery.outbox
        self._book = book
        self._customer_id = customer_id
        self._estimate, self._estimated_items = _estimate_of(estimate)
        self._labels = labels
        self._ttl = duration("ttl_seconds", ttl_seconds)
        self.release: Write | None = None
        """What gives the hold back; None while there is none."""

    @property
    def reservation_id(self) -> str | None:
        """The hold's id; None while there is none."""
        return None if self.release is None else self.release.reservation_id

    def is_of(self, write: Write) -> bool:
        """Whether a write is of this hold, and not of none, or of one that has ended."""
        return bool(write.reservation_id) and write.reservation_id == self.reservation_id

    async def reserve(self) -> None:
        """Holds the estimate. Raises CreditsError."""
        request = pb.ReserveRequest(
            request_id=uuid4().hex, customer_id=self._customer_id, ttl=self._ttl, labels=self._labels
        )
        request.MergeFrom(self._estimate)
        sent_at = monotonic()
        answer = (await self._delivery.send(pb.BatchItem(reserve=request))).reserve
        reservation = charges.reservation_of(answer.reservation, charges.written_of(answer))
        release = release_of(self._customer_id, reservation.reservation_id)
        try:
            self._outbox.take([release], [])
        except JournalError:
            # Nobody would give it back; if this does not, the clock will.
            with suppress(CreditsError):
                await self._delivery.send(release.message())
            raise
        self.release = release
        self._book.reserved(reservation, self._estimated_items, sent_at=sent_at, answered_at=monotonic())

    async def renew(self) -> None:
        """Takes a hold where there is none. A refusal for want of credits ends the work."""
        try:
            await self.reserve()
        except SHORT as error:
            self._book.shortage = error

    async def extend(self) -> None:
        """Asks for more credits and time where they run out."""
        micros = self._book.extension_micros()
        release = self.release
        if release is None or not (micros or monotonic() >= self._book.extend_at):
            return
        try:
            await self._ask(release, micros)
        except SHORT as error:
            await self._ask_for_what_there_is(release, error)
        except _GONE:
            self.lose()

    async def _ask_for_what_there_is(self, release: Write, error: Shortage) -> None:
        """After a refusal: if it is enough for the next part, the work goes on."""
        with suppress(*_GONE, *SHORT):
            await self._ask(
                release, error.left_micros if isinstance(error, BudgetExceeded) else error.available_micros
            )
        if self._book.extension_micros():
            self._book.shortage = error

    async def _ask(self, release: Write, micros: int) -> None:
        request = pb.ExtendReservationRequest(
            request_id=uuid4().hex,
            customer_id=self._customer_id,
            reservation_id=release.reservation_id,
            amount_micros=micros,
            ttl=self._ttl,
        )
        sent_at = monotonic()
        answer = (await self._delivery.send(pb.BatchItem(extend=request))).extend
        self._book.extended(
            charges.reservation_of(answer.reservation, charges.written_of(answer)), sent_at=sent_at
        )

    def lose(self) -> None:
        """There is no hold any more."""
        if self.release is not None:
            self._outbox.drop(self.release)
        self.release = None
        self._book.lost()

    async def give_back(self) -> None:
        """Releases what is held. Raises CreditsError: it is held still."""
        if self.release is not None:
            await Settling(self._outbox, self.release).run(self._delivery.send)
            self.lose()


def _estimate_of(
    estimate: Estimate,
) -> tuple[pb.ReserveRequest, Sequence[UsageItem]]:
    """What is to be held, as a request says it, and the usage that it is for."""
    if isinstance(estimate, Decimal | int):
        return pb.ReserveRequest(amount_micros=micros_asked("estimate", estimate)), ()
    try:
        items = (estimate,) if isinstance(estimate, UsageItem) else tuple(estimate)
    except TypeError:
        raise no_usage(estimate) from None
    return pb.ReserveRequest(usage=usage_list(items)), items
