"""A client that costs little: many more calls a second than Python's gRPC can make, over plain sockets.

It speaks as much of HTTP/2 as an open loop of unary calls needs: prepared headers, one message a call, the
bounds that the server sets. An answer with a message is a success; one without is a refusal.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from time import perf_counter
from typing import Final, NamedTuple, cast

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACK = _END_STREAM = 1
_END_HEADERS = 4
_MAX_CONCURRENT_STREAMS, _INITIAL_WINDOW_SIZE = 3, 4
_FRAME_HEADER_BYTES: Final = 9
_MESSAGE_HEADER_BYTES: Final = 5
_WINDOW_BYTES: Final = 2**31 - 1
_DEFAULT_WINDOW_BYTES: Final = 65_535
_CALL_BYTES_MAX: Final = 4_096

Ended = Callable[[bytes | None, float], None]
"""Takes a call's answer (None: it was refused) and the seconds from its sending to that."""


class _Stream(NamedTuple):
    sent_at: float
    ended: Ended
    message: bytearray


class FloodClient(asyncio.Protocol):
    """One connection. A call for which the server leaves no room is for the caller to give up."""

    def __init__(self, authority: str) -> None:
        self._authority = authority
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._streams: dict[int, _Stream] = {}
        self._next_stream = 1
        self._window_bytes = _DEFAULT_WINDOW_BYTES
        self._streams_max = 0
        self._headers: dict[str, bytes] = {}
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once the server has said what it bears."""

    @property
    def has_room(self) -> bool:
        """Whether the server takes one more call now."""
        return len(self._streams) < self._streams_max and self._window_bytes > _CALL_BYTES_MAX

    def call(self, path: str, message: bytes, ended: Ended) -> None:
        """Sends a call."""
        number, self._next_stream = self._next_stream, self._next_stream + 2
        body = struct.pack(">BI", 0, len(message)) + message
        headers = self._headers.get(path)
        if headers is None:
            headers = self._headers[path] = _headers(path, self._authority)
        self._streams[number] = _Stream(perf_counter(), ended, bytearray())
        self._window_bytes -= len(body)
        self._write(
            _frame(_HEADERS, _END_HEADERS, number, headers) + _frame(_DATA, _END_STREAM, number, body)
        )

    def close(self) -> None:
        """Ends the connection."""
        if self._transport is not None:
            self._transport.close()

    # -- what asyncio calls ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        settings = struct.pack(">HI", _INITIAL_WINDOW_SIZE, _WINDOW_BYTES)
        more = struct.pack(">I", _WINDOW_BYTES - _DEFAULT_WINDOW_BYTES)
        self._write(_PREFACE + _frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW_UPDATE, 0, 0, more))

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._streams_max = 0
        for number in list(self._streams):
            self._end(number)

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        at = 0
        while len(received) - at >= _FRAME_HEADER_BYTES:
            end = at + _FRAME_HEADER_BYTES + int.from_bytes(received[at : at + 3], "big")
            if len(received) < end:
                break
            number = int.from_bytes(received[at + 5 : at + _FRAME_HEADER_BYTES], "big")
            payload = bytes(received[at + _FRAME_HEADER_BYTES : end])
            if number:
                self._of_stream(received[at + 3], received[at + 4], number, payload)
            else:
                self._of_connection(received[at + 3], received[at + 4], payload)
            at = end
        del received[:at]

    # -- frames ----------------------------------------------------------------------------------

    def _of_stream(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        stream = self._streams.get(number)
        if stream is not None and kind == _DATA:
            stream.message.extend(payload)
        if kind == _RST_STREAM or (kind in (_DATA, _HEADERS) and flags & _END_STREAM):
            self._end(number)

    def _end(self, number: int) -> None:
        stream = self._streams.pop(number, None)
        if stream is not None:
            answer = bytes(stream.message[_MESSAGE_HEADER_BYTES:]) if stream.message else None
            stream.ended(answer, perf_counter() - stream.sent_at)

    def _of_connection(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == _WINDOW_UPDATE:
            self._window_bytes += int.from_bytes(payload, "big")
        elif kind == _GOAWAY:
            self.close()
        elif kind == _PING and not flags & _ACK:
            self._write(_frame(_PING, _ACK, 0, payload))
        elif kind == _SETTINGS and not flags & _ACK:
            self._streams_max = dict(struct.iter_unpack(">HI", payload)).get(
                _MAX_CONCURRENT_STREAMS, self._streams_max
            )
            self._write(_frame(_SETTINGS, _ACK, 0, b""))
            if not self.ready.done():
                self.ready.set_result(None)

    def _write(self, frames: bytes) -> None:
        if self._transport is not None:
            self._transport.write(frames)


async def flood_client(target: str) -> FloodClient:
    """A connection to `host:port` that the server has greeted."""
    host, _, port = target.rpartition(":")
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: FloodClient(target), host, int(port))
    await client.ready
    return client


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def _headers(path: str, authority: str) -> bytes:
    """A call's headers as HPACK has them: two by their index, names by theirs, texts as they are."""
    post, http, path_, authority_, content_type, new = (
        b"\x83",
        b"\x86",
        b"\x04",
        b"\x01",
        b"\x0f\x10",
        b"\x00",
    )
    return b"".join(
        (
            post,
            http,
            path_ + _text(path),
            authority_ + _text(authority),
            content_type + _text("application/grpc"),
            new + _text("te") + _text("trailers"),
        )
    )


def _text(value: str) -> bytes:
    """A short text."""
    return len(value).to_bytes(1, "big") + value.encode("ascii")
