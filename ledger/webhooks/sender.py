"""One delivery: an event as a signed POST, by Standard Webhooks (https://www.standardwebhooks.com).

No redirect is followed, no more of an answer is read than its beginning, TLS is verified against the name in
the URL, and the connection goes to the address that was looked at.
"""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import Iterable, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from functools import cache
from types import TracebackType
from typing import Any, Final, Self

import httpcore2
import orjson
from standardwebhooks import Webhook

from ledger.store.events.webhooks import QueuedEvent, WebhookSecret
from ledger.webhooks.addresses import AddressRefusedError, refuse_url, resolve

SHOWN_BEGINS: Final = "whsec_"
ATTEMPT_SECONDS: Final = 10.0
"""For a delivery in all: a receiver stores the event and answers; it works on it later."""
ANSWER_BYTES_MAX: Final = 16 * 1024
"""Of an answer, head and interim ones too: only its status matters. A longer one costs its connection."""
CONNECTIONS_MAX: Final = 16
"""Deliveries on their way to one endpoint."""

_STATUS_TAKEN: Final = range(200, 300)


def shown(secret: WebhookSecret) -> str:
    """A secret as receivers are given it."""
    return SHOWN_BEGINS + b64encode(secret.key).decode("ascii")


def body_of(event: QueuedEvent) -> bytes:
    """What is posted: the same bytes at each attempt."""
    return orjson.dumps(
        {
            "type": event.type,
            "timestamp": event.at.isoformat(),
            "event_id": event.event_id,
            "customer_id": event.customer_id,
            "number": event.customer_number,
            "data": orjson.Fragment(event.data),
        }
    )


def headers_of(
    event_id: str, body: bytes, secrets: Iterable[WebhookSecret], now: datetime
) -> list[tuple[str, str]]:
    """The headers by which a receiver verifies a body: one signature of each secret that is in force."""
    text = body.decode()
    signatures = [Webhook(secret.key).sign(event_id, now, text) for secret in secrets]
    return [
        ("content-type", "application/json"),
        ("user-agent", "acu-ledger"),
        ("webhook-id", event_id),
        ("webhook-timestamp", str(int(now.timestamp()))),
        ("webhook-signature", " ".join(signatures)),
    ]


@cache
def authorities() -> ssl.SSLContext:
    """By which receivers' certificates are verified: the system's, read once, for that takes 75 ms."""
    return ssl.create_default_context()


class Sender:
    """Connections to one endpoint, from its first delivery to the end of the block."""

    def __init__(self, url: str, verified_by: ssl.SSLContext, *, private_allowed: bool) -> None:
        self._url = url
        self._private_allowed = private_allowed
        self._network = _LookedAt(private_allowed=private_allowed)
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=verified_by, max_connections=CONNECTIONS_MAX, network_backend=self._network
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._network.end()
        await self._pool.aclose()

    async def failure_of(self, event: QueuedEvent, secrets: Sequence[WebhookSecret]) -> str:
        """Delivers an event; says what went wrong, in words of ours alone. Empty: it was taken."""
        body = body_of(event)
        headers = headers_of(event.event_id, body, secrets, datetime.now(UTC))
        try:
            refuse_url(self._url, private_allowed=self._private_allowed)
            async with asyncio.timeout(ATTEMPT_SECONDS):
                status = await self._post(headers, body)
        except AddressRefusedError as refused:
            return f"the URL {refused}"
        except _AnswerTooLongError:
            return f"no status in {ANSWER_BYTES_MAX // 1024} KiB"
        except (TimeoutError, httpcore2.TimeoutException):
            return f"no answer in {ATTEMPT_SECONDS:.0f} s"
        except Exception as error:  # noqa: BLE001 -- whatever a receiver makes of a connection is its own failure
            return f"no connection: {type(error).__name__}"
        return "" if status in _STATUS_TAKEN else f"status {status}"

    async def _post(self, headers: list[tuple[str, str]], body: bytes) -> int:
        async with self._pool.stream("POST", self._url, headers=headers, content=body) as response:
            with suppress(_AnswerTooLongError):
                async with aclosing(response.aiter_stream()) as parts:
                    async for _ in parts:
                        pass
            return response.status


class _AnswerTooLongError(Exception):
    """An answer has more than `ANSWER_BYTES_MAX`."""


class _Bounded(httpcore2.AsyncNetworkStream):
    """A connection of which no more is read between two requests than one answer may have.

    A receiver that sends heads or interim answers without end would have them parsed for as long as it likes.
    """

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream
        self._left_bytes = ANSWER_BYTES_MAX

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 -- the client's own
        if self._left_bytes == 0:
            raise _AnswerTooLongError
        read = await self._stream.read(min(max_bytes, self._left_bytes), timeout)
        self._left_bytes -= len(read)
        return read

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 -- the client's own
        self._left_bytes = ANSWER_BYTES_MAX
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 -- the client's own
    ) -> httpcore2.AsyncNetworkStream:
        return _Bounded(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _LookedAt(httpcore2.AsyncNetworkBackend):
    """Connects to addresses that were looked at, not to names.

    All connections wait for one look-up, so that an endpoint has one under way at a time.
    """

    def __init__(self, *, private_allowed: bool) -> None:
        self._backend = httpcore2.AnyIOBackend()
        self._private_allowed = private_allowed
        self._look_up: asyncio.Task[list[str]] | None = None

    def end(self) -> None:
        """Waits for no look-up any more."""
        if self._look_up is not None:
            self._look_up.cancel()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 -- the client's own
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        if self._look_up is None or self._look_up.done():
            self._look_up = asyncio.create_task(
                resolve(host, port, private_allowed=self._private_allowed), name=f"look-up of {host}"
            )
        addresses = await asyncio.shield(self._look_up)
        for address in addresses[:-1]:
            try:
                return await self._connect(address, port, timeout, local_address, socket_options)
            except (OSError, httpcore2.NetworkError):
                continue
        return await self._connect(addresses[-1], port, timeout, local_address, socket_options)

    async def _connect(self, address: str, *how: Any) -> httpcore2.AsyncNetworkStream:
        return _Bounded(await self._backend.connect_tcp(address, *how))

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)
