"""How fast events come to one receiver, while another one never answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Final

import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.admin.v1.admin_service_pb2_grpc import AdminServiceStub
from ledger.environment import environment_name
from tests.benchmarks.postgres import Books, connected
from tests.benchmarks.stage import service

_LOOK_SECONDS: Final = 0.1
_WRITTEN: Final = "SELECT events FROM ledger.event_log"
_TAKEN: Final = b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n"
_LENGTH: Final = b"content-length: "
_FROM_THE_FIRST: Final = Timestamp(seconds=1)


async def events_per_second(books: Books, log: Path) -> float:
    """Events of books, one at least for each customer, replayed to both: those that one takes a second."""
    settings = {**books.environment, environment_name("webhooks_private"): "1"}
    async with (
        service(settings, log) as fresh,
        connected(books.owner) as owner,
        grpc.aio.insecure_channel(fresh.server.back_office_target) as channel,
        receiving(answers=True) as live,
        receiving(answers=False) as dead,
    ):
        while await owner.fetchval(_WRITTEN) < books.customers:  # noqa: ASYNC110 -- nothing here is told of it
            await asyncio.sleep(_LOOK_SECONDS)
        ledger = AdminServiceStub(channel)
        endpoints = [
            (
                await ledger.CreateWebhook(
                    admin.CreateWebhookRequest(request_id=f"events {each.port}", url=each.url)
                )
            ).webhook.endpoint_id
            for each in (dead, live)
        ]
        for endpoint_id in endpoints:
            replayed = await ledger.ReplayEvents(
                admin.ReplayEventsRequest(endpoint_id=endpoint_id, since=_FROM_THE_FIRST)
            )
        await live.begun.wait()
        began = monotonic()
        while live.taken < replayed.events:  # noqa: ASYNC110 -- nothing here is told of it
            await asyncio.sleep(_LOOK_SECONDS)
        return replayed.events / (monotonic() - began)


class Receiver:
    """Takes every event as fast as it can, or hears all and never answers."""

    def __init__(self, *, answers: bool) -> None:
        self.taken = 0
        self.begun = asyncio.Event()
        self.port = 0
        self._answers = answers

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = head.partition(_LENGTH)[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length))
                self.begun.set()
                if self._answers:
                    self.taken += 1
                    writer.write(_TAKEN)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def receiving(*, answers: bool) -> AsyncIterator[Receiver]:
    """A receiver that listens."""
    receiver = Receiver(answers=answers)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
