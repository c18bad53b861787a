"""A client of the ledger's four services, as any product's backend would write one.

A write keeps its request id over all attempts, so that repeating it is safe. Only what may succeed later is
repeated: an overloaded or unavailable server, and a deadline that passed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from ledger.admin.v1.admin_service_pb2_grpc import AdminServiceStub
from ledger.cli.access import CA, CLIENT_CERTIFICATE, CLIENT_CERTIFICATE_KEY, Access, is_loopback
from ledger.doors.address import DIRECT
from ledger.errors import ClientError
from ledger.finance.v1.finance_service_pb2_grpc import FinanceServiceStub
from ledger.v1.credit_service_pb2 import BatchItem, BatchRequest, BatchResult
from ledger.v1.credit_service_pb2_grpc import CreditServiceStub
from ledger.v1.wallet_service_pb2_grpc import WalletServiceStub

if TYPE_CHECKING:
    from ledger.admin.v1.admin_service_pb2_grpc import AdminServiceAsyncStub
    from ledger.finance.v1.finance_service_pb2_grpc import FinanceServiceAsyncStub
    from ledger.v1.credit_service_pb2_grpc import CreditServiceAsyncStub
    from ledger.v1.wallet_service_pb2_grpc import WalletServiceAsyncStub

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

CALL_TIMEOUT_SECONDS = 60.0
ATTEMPTS_MAX = 8
BACKOFF_SECONDS = 0.05
"""Before the second attempt; it doubles with each."""
MESSAGE_BYTES_MAX = 64 * 1024 * 1024
"""A batch answers with every line of every charge."""

_OPTIONS: Final = (("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),)
_NOTHING: Final = Access()
_HANDSHAKES: Final = {
    "CERTIFICATE_VERIFY_FAILED": f"no authority of --ca ({CA}) signed the server's certificate",
    "Hostname Verification Check failed": "the server's certificate is for other names: call one of them",
    "WRONG_VERSION_NUMBER": "the server speaks no TLS here",
}
"""What gRPC says of a handshake that no repeat will mend, and what it means."""
_CLOSED: Final = "Socket closed"
"""What gRPC says where plaintext meets TLS, and where a server ends."""
_LATER = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        # gRPC's own word for calls that a server has not come to; what this process cancels is no answer.
        grpc.StatusCode.CANCELLED,
    }
)
_LATER_CODES = frozenset(code.value[0] for code in _LATER)
_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call, or one item of a batch, was refused."""

    code: str
    reason: str
    """Of the ErrorInfo; the code's name where there is none."""
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    fields: tuple[str, ...] = ()
    """What is wrong, field by field."""

    def __str__(self) -> str:
        """The whole of it, for a person."""
        return f"{self.reason}: {'; '.join(self.fields) or self.message}"


class CallFailedError(ClientError):
    """A call was refused, or failed after every attempt."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Ledger:
    """The services of one running server."""

    credits: CreditServiceAsyncStub
    wallet: WalletServiceAsyncStub
    admin: AdminServiceAsyncStub
    finance: FinanceServiceAsyncStub


@asynccontextmanager
async def connect(
    public_target: str, back_office_target: str, access: Access = _NOTHING
) -> AsyncIterator[Ledger]:
    """Opens channels to both ports of a server, `HOST:PORT` each; nothing is sent yet."""
    async with channel(public_target, access) as public, channel(back_office_target, access) as back_office:
        yield Ledger(
            CreditServiceStub(public),
            WalletServiceStub(public),
            AdminServiceStub(back_office),
            FinanceServiceStub(back_office),
        )


def channel(target: str, access: Access) -> grpc.aio.Channel:
    """A channel to one port, by TLS or not as `access` has it; a key is shown with each call."""
    credentials = access.credentials(target)
    options = (*_OPTIONS, DIRECT) if is_loopback(target) else _OPTIONS
    interceptors = [_Bearer(access.key)] if access.key else None
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=options, interceptors=interceptors)
    return grpc.aio.secure_channel(target, credentials, options=options, interceptors=interceptors)


class _Bearer(grpc.aio.UnaryUnaryClientInterceptor):
    """Shows a key with each call."""

    def __init__(self, key: str) -> None:
        self._shown = ("authorization", f"Bearer {key}")

    async def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Any], Any],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        metadata = client_call_details.metadata or grpc.aio.Metadata()
        metadata.add(*self._shown)
        with_key = grpc.aio.ClientCallDetails(
            client_call_details.method,
            client_call_details.timeout,
            metadata,
            client_call_details.credentials,
            client_call_details.wait_for_ready,
        )
        return await continuation(with_key, request)


async def call(
    method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
    request: Request,
    timeout_seconds: float = CALL_TIMEOUT_SECONDS,
) -> Response:
    """Calls a method, again while it may succeed later. Raises CallFailedError."""
    for attempt in range(1, ATTEMPTS_MAX + 1):
        try:
            return await method(request, timeout=timeout_seconds)
        except grpc.aio.AioRpcError as error:
            if error.code() not in _LATER or attempt == ATTEMPTS_MAX or _explained(error):
                raise CallFailedError(_failure_of(error)) from None
            await _back_off(attempt)
    raise AssertionError("the last attempt returns or raises")


async def batch(credit_service: CreditServiceAsyncStub, items: Sequence[BatchItem]) -> list[BatchResult]:
    """Sends writes in one call; the items that may succeed later are sent again, the others stand.

    Answers in the order of the items. Raises CallFailedError where the call itself failed.
    """
    results: list[BatchResult] = [BatchResult()] * len(items)
    waiting = list(range(len(items)))
    for attempt in range(1, ATTEMPTS_MAX + 1):
        answer = await call(credit_service.Batch, BatchRequest(items=[items[index] for index in waiting]))
        for index, result in zip(waiting, answer.results, strict=True):
            results[index] = result
        waiting = [index for index in waiting if results[index].error.code in _LATER_CODES]
        if not waiting:
            break
        await _back_off(attempt)
    return results


def failure_of_status(status: Status) -> Failure:
    """What a google.rpc.Status says."""
    reason, metadata, fields = "", {}, []
    for detail in status.details:
        info, bad = ErrorInfo(), BadRequest()
        if detail.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad):
            fields = [f"{violation.field}: {violation.description}" for violation in bad.field_violations]
    code = next((code.name for code in grpc.StatusCode if code.value[0] == status.code), "UNKNOWN")
    return Failure(code, reason or code, status.message, metadata, tuple(fields))


def _failure_of(error: grpc.aio.AioRpcError) -> Failure:
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY:
            return failure_of_status(Status.FromString(value))
    message = _explained(error) or error.details() or "no answer"
    if _CLOSED in message:
        message = (
            f"{message}; a server that speaks TLS is reached with --ca, one that asks for a certificate with"
            f" {CLIENT_CERTIFICATE} and {CLIENT_CERTIFICATE_KEY}"
        )
    return Failure(error.code().name, error.code().name, message)


def _explained(error: grpc.aio.AioRpcError) -> str:
    """What it means where no repeat will mend it; empty where one may."""
    details = error.details() or ""
    return next((f"{meant} ({details})" for said, meant in _HANDSHAKES.items() if said in details), "")


async def _back_off(attempt: int) -> None:
    await asyncio.sleep(BACKOFF_SECONDS * 2 ** (attempt - 1))
