"""How a write is carried out: decoded, given to the engine, and answered from its entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

from google.protobuf.message import Message

from ledger.access.caller import looked_up
from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.api import decode, encode
from ledger.api.checks import InvalidArgumentError
from ledger.api.decode import Write
from ledger.api.errors import StatusError, refusal_status
from ledger.books.commands import (
    Charge,
    Command,
    Commit,
    Extend,
    IssueGrant,
    Refund,
    Release,
    Reserve,
    Reverse,
)
from ledger.books.model import Entry, Refusal, RefusalReason
from ledger.engine.engine import Engine, told
from ledger.engine.outcomes import Committed
from ledger.engine.pending import Pending, all_done_or_abandoned
from ledger.store.acts import Act
from ledger.store.reads import CustomerNotFoundError, Reads
from ledger.v1 import credit_service_pb2 as pb

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)
C = TypeVar("C", bound=Command)


@dataclass(frozen=True, slots=True)
class Method(Generic[Request, C, Response]):
    """A method that writes: how its request is read, and how its entry is told in its response."""

    command: type[C]
    decode: Callable[[Request, datetime], Write[C]]
    encode: Callable[[Response, Write[C], Entry, bool], None]
    response: type[Response]

    @property
    def name(self) -> str:
        """As its service calls it."""
        return self.response.DESCRIPTOR.name.removesuffix("Response")


RESERVE: Final = Method(Reserve, decode.reserve, encode.reserved, pb.ReserveResponse)
EXTEND: Final = Method(Extend, decode.extend, encode.extended, pb.ExtendReservationResponse)
COMMIT: Final = Method(Commit, decode.commit, encode.committed, pb.CommitReservationResponse)
RELEASE: Final = Method(Release, decode.release, encode.released, pb.ReleaseReservationResponse)
CHARGE: Final = Method(Charge, decode.charge, encode.charged, pb.ChargeResponse)
REFUND: Final = Method(Refund, decode.refund, encode.refunded, pb.RefundResponse)
REVERSE: Final = Method(Reverse, decode.reverse, encode.reversed_, pb.ReverseChargeResponse)
ISSUE_GRANT: Final = Method(IssueGrant, decode.issue_grant, encode.granted, admin.IssueGrantResponse)

OF_BATCH: Final[dict[str, Method[Any, Any, Any]]] = {
    "reserve": RESERVE,
    "extend": EXTEND,
    "commit": COMMIT,
    "release": RELEASE,
    "charge": CHARGE,
    "reverse": REVERSE,
    "refund": REFUND,
}
"""The writes that a batch may hold, by their names in it."""

Begun = tuple[Write[Any], Pending | None]
"""A write, and what is to come of it, which goes on whether anybody waits or not.

None for one that is begun no more: it came in time, or it has no effect.
"""


class Writes:
    """Carries out writes."""

    def __init__(self, engine: Engine, reads: Reads, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._reads = reads
        self._clock = clock
        """The database's time, as the process knows it."""

    async def answer(
        self, method: Method[Request, C, Response], request: Request, act: Act | None = None
    ) -> Response:
        """The answer to a request. Raises InvalidArgumentError, StatusError, or what the engine raises."""
        write, outcome = self.begin(method, request, self._clock(), act)
        entry, replayed = await self.committed(write, outcome)
        response = method.response()
        method.encode(response, write, entry, replayed)
        return response

    def begin(
        self,
        method: Method[Request, C, Response],
        request: Request,
        now: datetime,
        act: Act | None = None,
    ) -> Begun:
        """A write on its way, maybe an act of the back office. Raises InvalidArgumentError."""
        return self.begin_write(method.decode(request, now), act)

    def begin_write(self, write: Write[Any], act: Act | None = None) -> Begun:
        """The same for one that has been decoded."""
        if write.untimely:
            return write, None
        return write, self._engine.begin(looked_up(write.customer_id), write.command, write.usage, act)

    async def committed(self, write: Write[Any], outcome: Pending | None) -> Committed:
        """The entry of a write that has been begun.

        Raises CustomerNotFoundError or StatusError for a refusal, InvalidArgumentError, or what the engine
        raises.
        """
        if outcome is None:
            return await self.repeat(write, InvalidArgumentError(write.untimely))
        if not outcome.done:
            await all_done_or_abandoned((outcome,))
        answer = told(outcome)
        if isinstance(answer, Refusal):
            if answer.reason is RefusalReason.CUSTOMER_NOT_FOUND:
                raise CustomerNotFoundError(write.customer_id)
            raise StatusError(refusal_status(answer, write.subject))
        return answer

    async def repeat(self, write: Write[Any], error: Exception) -> Committed:
        """The entry of a write that can no longer be carried out, if it was booked while it could.

        Raises the error if it was not: a request that had an effect is answered from it for ever.
        """
        try:
            entry = await self._reads.entry_of_request(write.customer_id, write.command.request_id)
        except CustomerNotFoundError:
            entry = None
        if entry is None or entry.fingerprint != write.command.fingerprint:
            raise error
        return Committed(entry, replayed=True)
