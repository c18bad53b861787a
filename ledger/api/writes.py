"""How a write is carried out: decoded, given to the engine, and answered from its entry."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

from google.protobuf.message import Message

from ledger.access.caller import Caller, current
from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.api.errors import StatusError, refusal_status, refused
from ledger.api.messages import decode, decode_grants, encode
from ledger.api.messages.validation import InvalidArgumentError
from ledger.api.messages.write import Write
from ledger.books.commands import (
    Charge,
    Command,
    Commit,
    ConfirmGrant,
    DisputeGrant,
    Extend,
    ExtendGrant,
    IssueGrant,
    Refund,
    RefundGrant,
    Release,
    Reserve,
    ResolveDispute,
    Reverse,
    VoidGrant,
    WriteOffDebt,
    WriteOffGrant,
)
from ledger.books.model.entries import Entry
from ledger.books.model.refusals import Refusal, RefusalReason
from ledger.engine.command import Asked, Committed, Pending
from ledger.engine.engine import Engine
from ledger.store.audit import Act
from ledger.store.reading.reads import CustomerNotFoundError, Reads
from ledger.v1 import credit_service_pb2 as pb

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)
C = TypeVar("C", bound=Command)


@dataclass(frozen=True, slots=True)
class Method(Generic[Request, C, Response]):
    """A method that writes."""

    command: type[C]
    decode: Callable[[Request, datetime], Write[C]]
    """How its request is read."""
    encode: Callable[[Response, Write[C], Entry], None]
    """How what it alone answers is said of its entry."""
    response: type[Response]

    @property
    def name(self) -> str:
        """As its service calls it."""
        return self.response.DESCRIPTOR.name.removesuffix("Response")

    def answer(self, into: Any, write: Write[C], booked: Committed) -> None:
        """Fills its response where it stands: what it alone answers, and what all do."""
        entry, into.replayed = booked
        self.encode(into, write, entry)
        encode.balance(into.balance, entry.after)
        into.sequence = entry.sequence


RESERVE: Final = Method(Reserve, decode.reserve, encode.held, pb.ReserveResponse)
EXTEND: Final = Method(Extend, decode.extend, encode.held, pb.ExtendReservationResponse)
COMMIT: Final = Method(Commit, decode.commit, encode.committed, pb.CommitReservationResponse)
RELEASE: Final = Method(Release, decode.release, encode.held, pb.ReleaseReservationResponse)
CHARGE: Final = Method(Charge, decode.charge, encode.charged, pb.ChargeResponse)
REFUND: Final = Method(Refund, decode.refund, encode.refunded, pb.RefundResponse)
REVERSE: Final = Method(Reverse, decode.reverse, encode.reversed_, pb.ReverseChargeResponse)
ISSUE_GRANT: Final = Method(IssueGrant, decode_grants.issue_grant, encode.granted, admin.IssueGrantResponse)
CONFIRM_GRANT: Final = Method(
    ConfirmGrant, decode_grants.confirm_grant, encode.nothing_of_its_own, admin.ConfirmGrantResponse
)
VOID_GRANT: Final = Method(VoidGrant, decode_grants.void_grant, encode.voided, admin.VoidGrantResponse)
EXTEND_GRANT: Final = Method(
    ExtendGrant, decode_grants.extend_grant, encode.nothing_of_its_own, admin.ExtendGrantResponse
)

DISPUTE_GRANT: Final = Method(
    DisputeGrant, decode_grants.dispute_grant, encode.disputed, admin.DisputeGrantResponse
)
RESOLVE_DISPUTE: Final = Method(
    ResolveDispute, decode_grants.resolve_dispute, encode.voided, admin.ResolveDisputeResponse
)
REFUND_GRANT: Final = Method(
    RefundGrant, decode_grants.refund_grant, encode.paid_back, admin.RefundGrantResponse
)
WRITE_OFF_GRANT: Final = Method(
    WriteOffGrant, decode_grants.write_off_grant, encode.nothing_of_its_own, admin.WriteOffGrantResponse
)
WRITE_OFF_DEBT: Final = Method(
    WriteOffDebt, decode_grants.write_off_debt, encode.nothing_of_its_own, admin.WriteOffDebtResponse
)

OF_GRANTS: Final[tuple[Method[Any, Any, Any], ...]] = (
    ISSUE_GRANT,
    CONFIRM_GRANT,
    VOID_GRANT,
    EXTEND_GRANT,
    DISPUTE_GRANT,
    RESOLVE_DISPUTE,
    REFUND_GRANT,
    WRITE_OFF_GRANT,
    WRITE_OFF_DEBT,
)
"""Those of the back office that join the line of commands with others."""

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


class Writes:
    """Carries out writes."""

    def __init__(self, engine: Engine, reads: Reads, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._reads = reads
        self.now = clock
        """The database's time, as the process knows it."""

    async def answer(
        self, method: Method[Request, C, Response], request: Request, act: Act | None = None
    ) -> Response:
        """The answer to a request. Raises InvalidArgumentError, StatusError, or what the engine raises."""
        write = method.decode(request, self.now())
        booked = await self.carry_out(write, act)
        response = method.response()
        method.answer(response, write, booked)
        return response

    async def carry_out(self, write: Write[Any], act: Act | None = None) -> Committed:
        """The entry of a write, maybe an act of the back office.

        Raises CustomerNotFoundError or StatusError for a refusal, InvalidArgumentError, or what the engine
        raises.
        """
        asked = self.ask()
        outcome = self.begin(write, asked, current(), act)
        await asked.all_done()
        return committed(write, outcome) if outcome is not None else await self.untimely(write)

    async def write_due(self, customer_id: str, at: datetime) -> None:
        """Writes what a customer's write has made due at its instant, which readers then find."""
        await self._engine.write_due(customer_id, at)

    def ask(self) -> Asked:
        """What the writes of a call are begun with."""
        return self._engine.waiting.ask()

    def begin(
        self, write: Write[Any], asked: Asked, caller: Caller, act: Act | None = None
    ) -> Pending | None:
        """What is to come of a write, which goes on whether anybody waits for it or not.

        None for one that is begun no more: it came in time, or it has no effect.
        """
        if write.untimely:
            return None
        customer_id = caller.looks_up(write.customer_id)
        return self._engine.begin(customer_id, write.command, write.usage, act, asked)

    def untimely(self, write: Write[Any]) -> Awaitable[Committed]:
        """The entry of a write that is begun no more. Raises InvalidArgumentError if it has none."""
        return self.repeat(write, InvalidArgumentError(write.untimely))

    async def repeat(self, write: Write[Any], error: Exception) -> Committed:
        """The entry of a write that can no longer be carried out, if it was booked while it could.

        Raises the error if it was not: a request that had an effect is answered from it for ever. Raises
        StatusError if another request was booked under its id.
        """
        try:
            entry = await self._reads.entry_of_request(write.customer_id, write.command.request_id)
        except CustomerNotFoundError:
            entry = None
        if entry is None:
            raise error
        if entry.fingerprint != write.command.fingerprint:
            raise refused(RefusalReason.REQUEST_ID_REUSED, request_id=write.command.request_id)
        return Committed(entry, replayed=True)


def committed(write: Write[Any], outcome: Pending) -> Committed:
    """The entry of a write that has its outcome.

    Raises CustomerNotFoundError or StatusError for a refusal, or what the engine raises.
    """
    answer = outcome.result()
    if not isinstance(answer, Refusal):
        return answer
    if answer.reason is RefusalReason.CUSTOMER_NOT_FOUND:
        raise CustomerNotFoundError(write.customer_id)
    raise StatusError(refusal_status(answer, write.subject))
