"""Interceptors that store every byte that comes back to a client."""

from __future__ import annotations

from dataclasses import dataclass, field

import grpc
import grpc.aio
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from ledger.v1 import credit_service_pb2 as pb


@dataclass
class Overheard(grpc.aio.UnaryUnaryClientInterceptor):
    """Keeps every byte that comes back, and the names of the methods that it came from."""

    answers: list[bytes] = field(default_factory=list)
    batches: list[bytes] = field(default_factory=list)
    """Of the answers those of `Batch`, whose errors are inside."""
    methods: set[str] = field(default_factory=set)

    async def intercept_unary_unary(self, continuation, details, request):
        call = await continuation(details, request)
        method = self.called(details)
        self.hear(await call.initial_metadata(), await call.trailing_metadata())
        self.answers.append((await call.details() or "").encode())
        if await call.code() is grpc.StatusCode.OK:
            answer = (await call).SerializeToString()
            self.answers.append(answer)
            if method.endswith("/Batch"):
                self.batches.append(answer)
        return call

    def called(self, details) -> str:
        """Notes the method of a call."""
        method = details.method.decode() if isinstance(details.method, bytes) else details.method
        self.methods.add(method.rpartition("/")[2])
        return method

    def hear(self, *parts) -> None:
        """Keeps metadata."""
        for key, value in (each for metadata in parts for each in metadata or ()):
            self.answers.append(key.encode() + b"=" + (value if isinstance(value, bytes) else value.encode()))

    @property
    def reasons(self) -> set[str]:
        """Of the errors among the answers."""
        details = (answer.partition(b"grpc-status-details-bin=") for answer in self.answers)
        statuses = [Status.FromString(status) for _, key, status in details if key]
        batches = [pb.BatchResponse.FromString(answer) for answer in self.batches]
        statuses += [
            result.error for batch in batches for result in batch.results if result.HasField("error")
        ]
        found = set()
        for status in statuses:
            info = ErrorInfo()
            status.details[0].Unpack(info)
            found.add(info.reason)
        return found


@dataclass
class OverheardStreams(grpc.aio.UnaryStreamClientInterceptor):
    """Keeps the same of streams."""

    overheard: Overheard

    async def intercept_unary_stream(self, continuation, details, request):
        call = await continuation(details, request)
        self.overheard.called(details)
        self.overheard.hear(await call.initial_metadata())

        async def messages():
            try:
                async for message in call:
                    self.overheard.answers.append(message.SerializeToString())
                    yield message
            finally:
                call.cancel()
                self.overheard.hear(await call.trailing_metadata())

        return messages()
