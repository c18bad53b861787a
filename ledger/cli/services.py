"""What commands call: a product's client, and stubs of the wallet and of the back office beside it.

Calls by stubs are repeated, and fail, as those of the client are (`ledger.client.retries`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from ledger.admin.v1.admin_service_pb2_grpc import AdminServiceStub
from ledger.client import Credits
from ledger.client.channel import Access, open_channel
from ledger.client.retries import with_retries
from ledger.client.statuses import error_of_call
from ledger.finance.v1.finance_service_pb2_grpc import FinanceServiceStub
from ledger.v1.wallet_service_pb2_grpc import WalletServiceStub

if TYPE_CHECKING:
    from ledger.admin.v1.admin_service_pb2_grpc import AdminServiceAsyncStub
    from ledger.finance.v1.finance_service_pb2_grpc import FinanceServiceAsyncStub
    from ledger.v1.wallet_service_pb2_grpc import WalletServiceAsyncStub

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

CALL_TIMEOUT_SECONDS: Final = 60.0
PATIENCE_SECONDS: Final = 6.0
"""A person waits for a server that is away: as long as one takes to start, and no longer."""
_OPEN: Final = Access()


@dataclass(frozen=True, slots=True)
class Ledger:
    """The services of one running server."""

    credits: Credits
    wallet: WalletServiceAsyncStub
    admin: AdminServiceAsyncStub
    finance: FinanceServiceAsyncStub


@asynccontextmanager
async def connect(
    public_target: str, back_office_target: str, access: Access = _OPEN
) -> AsyncIterator[Ledger]:
    """Opens channels to both ports of a server, `HOST:PORT` each; nothing is sent yet."""
    credits = Credits.with_access(public_target, access, timeout_seconds=CALL_TIMEOUT_SECONDS)
    async with (
        credits,
        channel(public_target, access) as public,
        channel(back_office_target, access) as back_office,
    ):
        yield Ledger(
            credits,
            WalletServiceStub(public),
            AdminServiceStub(back_office),
            FinanceServiceStub(back_office),
        )


def channel(target: str, access: Access) -> grpc.aio.Channel:
    """A channel to one port for stubs, which shows the key with each call."""
    return open_channel(target, access, [_Shown(access.metadata)] if access.metadata else None)


class _Shown(grpc.aio.UnaryUnaryClientInterceptor):
    """Adds metadata to each call."""

    def __init__(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self._metadata = metadata

    async def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Any], Any],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        metadata = client_call_details.metadata or grpc.aio.Metadata()
        for each in self._metadata:
            metadata.add(*each)
        shown = grpc.aio.ClientCallDetails(
            client_call_details.method,
            client_call_details.timeout,
            metadata,
            client_call_details.credentials,
            client_call_details.wait_for_ready,
        )
        return await continuation(shown, request)


async def call(
    method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
    request: Request,
    timeout_seconds: float = CALL_TIMEOUT_SECONDS,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Response:
    """Calls a method of a stub, again while it may succeed within the patience. Raises CreditsError."""

    async def attempt() -> Response:
        try:
            return await method(request, timeout=timeout_seconds)
        except grpc.aio.AioRpcError as error:
            raise error_of_call(error) from None

    return await with_retries(attempt, asyncio.get_running_loop().time() + patience_seconds)
