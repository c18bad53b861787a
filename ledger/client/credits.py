"""The ledger as a product's backend calls it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar, get_args, overload

import grpc
import grpc.aio

from ledger.client import forks
from ledger.client.answers.charges import (
    Charge,
    PendingCharge,
    Refund,
    Reservation,
    charge_of,
    reservation_of,
    written_of,
)
from ledger.client.channel import Access, access_of, open_channel
from ledger.client.delivery import Delivery, OnOutage
from ledger.client.errors import ClientClosed, CreditsError, invalid_argument
from ledger.client.journal import BYTES_MAX, Journal
from ledger.client.limits import CLIENT_LIMITS
from ledger.client.outbox import Outbox
from ledger.client.reads import Method, Reads
from ledger.client.recovery import Recoveries, Recovery
from ledger.client.requests import duration, flag, micros_asked, patience, put_labels, put_work, text, texts
from ledger.client.retries import with_retries
from ledger.client.session import Session
from ledger.client.statuses import error_of_call
from ledger.client.watching import Watched
from ledger.client.wire import Wire
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1 import usage_pb2

Answer = TypeVar("Answer")
Usage = Sequence[usage_pb2.UsageItem]
Amount = Decimal | int
"""Of credits, exact."""
_NOT_OPEN: Final = "the client is not open: use it as `async with`, or open() it"
_OTHER_LOOP: Final = (
    "the client was opened in another event loop, which it belongs to: open one in each asyncio.run, or a"
    " SyncCredits once, which has a loop of its own"
)
_NEEDS_JOURNAL: Final = "on_outage='allow' stores usage that is charged late: it needs a journal"
_REQUEST_ID_BYTES: Final = 16
"""At random: as many as of a UUID, so that no two are the same."""
TIMEOUT_SECONDS: Final = 30.0
"""Of a call with all its attempts: longer than a server takes to come back."""


class Credits(Reads):
    """A client of one ledger. Safe for any number of tasks of one event loop; open it once a process.

    `target` is HOST:PORT of the public API; `key` what the ledger's operators have made; `ca`, `certificate`
    and `certificate_key` are files in PEM form. Off loopback it speaks TLS, unless `plaintext` says that
    something on the way does. Raises ValueError for files that cannot be used. `on_outage` is what sessions
    do while the service is away; a charge says it for itself, and other calls raise.

    Every call ends within `timeout_seconds`, retries included. Writes without a `request_id` get one of their
    own, under which they are repeated; give one where the process may die before the answer. All methods
    raise CreditsError.
    """

    def __init__(
        self,
        target: str,
        *,
        key: str | None = None,
        ca: str | Path | None = None,
        certificate: str | Path | None = None,
        certificate_key: str | Path | None = None,
        plaintext: bool = False,
        timeout_seconds: float = TIMEOUT_SECONDS,
        on_outage: OnOutage = "refuse",
        journal: str | Path | None = None,
        journal_fsync: bool = False,
        journal_bytes_max: int = BYTES_MAX,
    ) -> None:
        if _allows(on_outage) and journal is None:
            raise ValueError(_NEEDS_JOURNAL)
        self._target = target
        self._access = access_of(key, ca, certificate, certificate_key, plaintext=plaintext)
        self._timeout_seconds = patience("timeout_seconds", timeout_seconds)
        self.on_outage: OnOutage = on_outage
        self.journal = None if journal is None else Path(journal)
        self._journal_fsync = journal_fsync
        self._journal_bytes_max = journal_bytes_max
        self._limits = CLIENT_LIMITS
        self._wire: Wire | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        """The one that it was opened in."""
        self._delivery: Delivery | None = None
        self._recoveries: Recoveries | None = None

    @classmethod
    def with_access(cls, target: str, access: Access, *, timeout_seconds: float = TIMEOUT_SECONDS) -> Self:
        """For a caller that has read its key and certificates by itself."""
        made = cls(target, timeout_seconds=timeout_seconds)
        made._access = access
        return made

    # -- opening and closing -----------------------------------------------------------------------

    async def open(self) -> Self:
        """Opens the channel, and a journal if there is to be one; nothing is sent yet.

        Raises JournalError, ClientForked; ClientClosed where it is open in another event loop.
        """
        forks.check()
        if self._wire is None:
            self._loop = asyncio.get_running_loop()
            outbox = Outbox(self._new_journal(), self._limits.waste_bytes_min)
            forks.opens()
            self._wire = Wire(open_channel(self._target, self._access), self._access.metadata)
            self._delivery = Delivery(
                self.write, outbox, self.on_outage, self._timeout_seconds, self._limits.patience_seconds
            )
            self._recoveries = Recoveries(self._delivery, self.journal)
        self._opened()
        return self

    def _new_journal(self) -> Journal | None:
        if self.journal is None:
            return None
        return Journal.create(self.journal, bytes_max=self._journal_bytes_max, fsync=self._journal_fsync)

    async def close(self) -> None:
        """Ends sessions, waits for the writes that are under way, and closes the channel."""
        if forks.is_forked():
            return
        recoveries, self._recoveries = self._recoveries, None
        if recoveries is not None:
            await recoveries.close()
        delivery, self._delivery = self._delivery, None
        if delivery is not None:
            await delivery.close()
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # -- writes ------------------------------------------------------------------------------------

    async def reserve(
        self,
        customer_id: str,
        *,
        usage: Usage | None = None,
        amount: Amount | None = None,
        minimum: Amount | None = None,
        labels: Mapping[str, str] | None = None,
        ttl_seconds: int | None = None,
        request_id: str | None = None,
    ) -> Reservation:
        """Holds an amount or the price of usage; with a minimum, what there is if it is that much."""
        item = pb.BatchItem()
        request = item.reserve
        request.request_id = _named(request_id)
        request.customer_id = text("customer_id", customer_id)
        put_work(request, usage, amount)
        if minimum is not None:
            request.fill, request.minimum_micros = pb.FILL_UP_TO, micros_asked("minimum", minimum)
        ttl = duration("ttl_seconds", ttl_seconds)
        if ttl is not None:
            request.ttl.CopyFrom(ttl)
        if labels is not None:
            put_labels(request.labels, labels)
        answer = (await self.write(item)).reserve
        return reservation_of(answer.reservation, written_of(answer))

    async def extend(
        self,
        customer_id: str,
        reservation_id: str,
        *,
        amount: Amount | None = None,
        ttl_seconds: int | None = None,
        request_id: str | None = None,
    ) -> Reservation:
        """More credits, more time, both or neither."""
        request = pb.ExtendReservationRequest(
            request_id=_named(request_id),
            customer_id=text("customer_id", customer_id),
            reservation_id=text("reservation_id", reservation_id),
            amount_micros=0 if amount is None else micros_asked("amount", amount),
            ttl=duration("ttl_seconds", ttl_seconds),
        )
        answer = (await self.write(pb.BatchItem(extend=request))).extend
        return reservation_of(answer.reservation, written_of(answer))

    async def commit(
        self,
        customer_id: str,
        reservation_id: str,
        usage: Usage | None = None,
        *,
        amount: Amount | None = None,
        final: bool,
        request_id: str | None = None,
    ) -> Charge:
        """Charges what was used against the hold; the final part gives back what is left of it."""
        item = pb.BatchItem()
        request = item.commit
        request.request_id = _named(request_id)
        request.customer_id = text("customer_id", customer_id)
        request.reservation_id = text("reservation_id", reservation_id)
        request.final = flag("final", final)
        put_work(request, usage, amount)
        answer = (await self.write(item)).commit
        written = written_of(answer)
        return charge_of(answer.charge, written, reservation_of(answer.reservation, written))

    async def release(
        self, customer_id: str, reservation_id: str, *, request_id: str | None = None
    ) -> Reservation:
        """Gives the hold back."""
        request = pb.ReleaseReservationRequest(
            request_id=_named(request_id),
            customer_id=text("customer_id", customer_id),
            reservation_id=text("reservation_id", reservation_id),
        )
        answer = (await self.write(pb.BatchItem(release=request))).release
        return reservation_of(answer.reservation, written_of(answer))

    @overload
    async def charge(
        self,
        customer_id: str,
        usage: Usage | None = None,
        *,
        amount: Amount | None = None,
        already_used: bool = False,
        on_outage: Literal["refuse"] = "refuse",
        labels: Mapping[str, str] | None = None,
        request_id: str | None = None,
    ) -> Charge: ...

    @overload
    async def charge(
        self,
        customer_id: str,
        usage: Usage | None = None,
        *,
        amount: Amount | None = None,
        already_used: Literal[True],
        on_outage: Literal["allow"],
        labels: Mapping[str, str] | None = None,
        request_id: str | None = None,
    ) -> Charge | PendingCharge: ...

    async def charge(
        self,
        customer_id: str,
        usage: Usage | None = None,
        *,
        amount: Amount | None = None,
        already_used: bool = False,
        on_outage: OnOutage = "refuse",
        labels: Mapping[str, str] | None = None,
        request_id: str | None = None,
    ) -> Charge | PendingCharge:
        """Charges without a hold: only what is covered, or, if it is already used, as a commit does.

        With `on_outage="allow"`, whatever the client's own is, what is already used is stored in the journal
        first, and where nobody answers within 2 s it is sent until somebody does. Raises JournalFull,
        JournalError where it cannot be stored: it is not sent.
        """
        if _allows(on_outage):
            self._check_allowed(already_used=already_used)
        item = pb.BatchItem()
        request = item.charge
        request.request_id = _named(request_id)
        request.customer_id = text("customer_id", customer_id)
        request.already_used = flag("already_used", already_used)
        put_work(request, usage, amount)
        if labels is not None:
            put_labels(request.labels, labels)
        if on_outage == "allow":
            result = await self._opened_delivery().charge(request)
            if result is None:
                return PendingCharge(request.request_id, request.customer_id)
        else:
            result = await self.write(item)
        answer = result.charge
        return charge_of(answer.charge, written_of(answer))

    def _check_allowed(self, *, already_used: bool) -> None:
        if not already_used:
            raise TypeError(
                "on_outage='allow' charges what is used, whatever the ledger says: already_used=True"
            )
        if self.journal is None:
            raise ValueError(_NEEDS_JOURNAL)

    async def refund(
        self,
        customer_id: str,
        charge_id: str,
        *,
        amount: Amount | None = None,
        reason: str,
        request_id: str | None = None,
    ) -> Refund:
        """Gives credits of a charge back: so many, or all that is left."""
        request = pb.RefundRequest(
            request_id=_named(request_id),
            customer_id=text("customer_id", customer_id),
            charge_id=text("charge_id", charge_id),
            amount_micros=0 if amount is None else micros_asked("amount", amount),
            reason=text("reason", reason),
        )
        answer = (await self.write(pb.BatchItem(refund=request))).refund
        return Refund(answer.refunded_micros, written_of(answer))

    async def reverse(
        self,
        customer_id: str,
        *,
        charge_id: str | None = None,
        reservation_id: str | None = None,
        reason: str,
        request_id: str | None = None,
    ) -> Refund:
        """Undoes a charge that did not happen, or all charges of a closed reservation: one of the two."""
        if (charge_id is None) == (reservation_id is None):
            raise TypeError("name a charge or a reservation: one of them")
        request = pb.ReverseChargeRequest(
            request_id=_named(request_id),
            customer_id=text("customer_id", customer_id),
            reason=text("reason", reason),
        )
        if charge_id is not None:
            request.charge_id = text("charge_id", charge_id)
        else:
            request.reservation_id = text("reservation_id", reservation_id)
        answer = (await self.write(pb.BatchItem(reverse=request))).reverse
        return Refund(answer.returned_micros, written_of(answer))

    async def write(self, item: pb.BatchItem, *, timeout_seconds: float | None = None) -> pb.BatchResult:
        """Carries out one write, together with those of other tasks, and repeated while that may help.

        The request id is the item's own. Answers with the outcome of this write. Raises CreditsError.
        """
        if not isinstance(item, pb.BatchItem):
            raise TypeError(f"a write is a BatchItem, not {type(item).__name__}")
        wire = self._opened()
        deadline = self._deadline(timeout_seconds)
        try:
            return await with_retries(partial(wire.write, item, deadline), deadline, wire.is_open)
        except CreditsError as error:
            error.request_id = _request_id(item)
            raise

    # -- work that goes on -------------------------------------------------------------------------

    def session(
        self,
        customer_id: str,
        *,
        estimate: Amount | usage_pb2.UsageItem | Usage,
        labels: Mapping[str, str] | None = None,
        ttl_seconds: int | None = None,
    ) -> Session:
        """Work of a customer on credits that are held: `async with` begins and ends it.

        The estimate is an amount, or usage of which the price is held. The hold is extended while the work
        goes on; without that it lives for `ttl_seconds`, or as long as the customer's plan has it.
        """
        return Session(
            self._opened_delivery(), customer_id, estimate=estimate, labels=labels, ttl_seconds=ttl_seconds
        )

    async def recover(self, *, give_up: Collection[str] = ()) -> Recovery:
        """Sends what earlier processes with this journal, and ended sessions of this one, left unanswered.

        Under the same request ids: nothing is lost, and nothing charged twice. What is refused stays, and is
        reported; `give_up` drops what was, by its request ids. Where the service is away it says so
        (`complete` is False), and what was found is sent again for as long as the client is open. Raises
        JournalCorrupt for a damaged file, after all others.
        """
        forks.check()
        if self._recoveries is None:
            raise ClientClosed(_NOT_OPEN)
        return await self._recoveries.recover(texts("give_up", give_up))

    def watch_balance(self, customer_id: str) -> Watched:
        """The customer's balance, for `async for`: as it stands, then each other one, within a second or two.

        It goes on over restarts of the service; `async with contextlib.aclosing(aiter(…))` ends it at once.
        """
        return Watched(self._opened, text("customer_id", customer_id), self._timeout_seconds)

    # -- how it is done ----------------------------------------------------------------------------

    async def _read(self, method: Method[Answer], request: Any) -> Answer:
        wire = self._opened()
        deadline = self._deadline(None)
        now = asyncio.get_running_loop().time

        async def attempt() -> Answer:
            try:
                return await method(wire)(request, timeout=deadline - now(), metadata=wire.metadata)
            except grpc.aio.AioRpcError as error:
                raise error_of_call(error) from None

        return await with_retries(attempt, deadline, wire.is_open)

    def _opened(self) -> Wire:
        forks.check()
        if self._wire is None:
            raise ClientClosed(_NOT_OPEN)
        if asyncio.get_running_loop() is not self._loop:
            raise ClientClosed(_OTHER_LOOP)
        return self._wire

    def _opened_delivery(self) -> Delivery:
        forks.check()
        if self._delivery is None:
            raise ClientClosed(_NOT_OPEN)
        return self._delivery

    def _deadline(self, timeout_seconds: float | None) -> float:
        allowed = self._timeout_seconds
        if timeout_seconds is not None:
            allowed = patience("timeout_seconds", timeout_seconds)
        return asyncio.get_running_loop().time() + allowed


def _allows(on_outage: str) -> bool:
    """Whether work goes on while the service is away. Raises InvalidArgument."""
    if on_outage not in get_args(OnOutage):
        raise invalid_argument("on_outage", on_outage, " or ".join(get_args(OnOutage)))
    return on_outage == "allow"


def _named(request_id: str | None) -> str:
    """What names a write: the caller's own, or another. Raises InvalidArgument."""
    return new_request_id() if request_id is None or request_id == "" else text("request_id", request_id)


def new_request_id() -> str:
    """One that nobody else has."""
    return token_hex(_REQUEST_ID_BYTES)


def _request_id(item: pb.BatchItem) -> str:
    kind = item.WhichOneof("write")
    return "" if kind is None else getattr(item, kind).request_id
