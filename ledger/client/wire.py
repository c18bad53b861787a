"""An open channel to a ledger: its stubs, and the writes that travel over it together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import grpc.aio

from ledger.client.channel import Metadata
from ledger.client.coalescing import Coalescer
from ledger.client.statuses import error_of_status
from ledger.v1 import credit_service_pb2 as pb
from ledger.v1.credit_service_pb2_grpc import CreditServiceStub
from ledger.v1.wallet_service_pb2_grpc import WalletServiceStub

if TYPE_CHECKING:
    from ledger.v1.credit_service_pb2_grpc import CreditServiceAsyncStub
    from ledger.v1.wallet_service_pb2_grpc import WalletServiceAsyncStub


class Wire:
    """An open channel, its stubs, and what travels over it."""

    def __init__(self, channel: grpc.aio.Channel, metadata: Metadata) -> None:
        self._channel = channel
        self.metadata = metadata
        self.credits: CreditServiceAsyncStub = CreditServiceStub(channel)
        self.wallet: WalletServiceAsyncStub = WalletServiceStub(channel)
        self._methods: Mapping[str, grpc.aio.UnaryUnaryMultiCallable[Any, Any]] = {
            "reserve": self.credits.Reserve,
            "extend": self.credits.ExtendReservation,
            "commit": self.credits.CommitReservation,
            "release": self.credits.ReleaseReservation,
            "charge": self.credits.Charge,
            "reverse": self.credits.ReverseCharge,
            "refund": self.credits.Refund,
        }
        """By what a BatchItem calls the write."""
        self.coalescer = Coalescer(self._send)
        self._is_open = True

    def is_open(self) -> bool:
        """Whether another attempt may be made."""
        return self._is_open

    async def close(self) -> None:
        self._is_open = False
        await self.coalescer.close()
        await self._channel.close()

    async def write(self, item: pb.BatchItem, deadline: float) -> pb.BatchResult:
        """What one write is answered, sent once together with others. Raises CreditsError."""
        result = await self.coalescer.attempt(item, deadline)
        if result.HasField("error"):
            raise error_of_status(result.error)
        return result

    async def _send(self, items: Sequence[pb.BatchItem], seconds: float) -> Sequence[pb.BatchResult]:
        """Writes in a batch; one alone by its own method, which the server answers faster."""
        kind = items[0].WhichOneof("write") if len(items) == 1 else None
        if kind is None:
            request = pb.BatchRequest(items=items)
            return (await self.credits.Batch(request, timeout=seconds, metadata=self.metadata)).results
        answer = await self._methods[kind](getattr(items[0], kind), timeout=seconds, metadata=self.metadata)
        return [pb.BatchResult(**{kind: answer})]
