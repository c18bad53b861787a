"""A client that costs little: many more calls a second than Python's gRPC can make, over plain sockets.

It speaks as much of HTTP/2 as an open loop of unary calls needs: prepared headers, one message a call, the
bounds that the server sets for calls and for bytes. An answer with a message is a success; one without is a
refusal.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final, cast

from ledger.client.channel import Access

_OPEN: Final = Access()
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACK = _END_STREAM = 1
_END_HEADERS = 4
_MAX_CONCURRENT_STREAMS, _INITIAL_WINDOW_SIZE = 3, 4
_NO_ERROR: Final = bytes(4)
_FRAME_HEADER_BYTES: Final = 9
_MESSAGE_HEADER_BYTES: Final = 5
_WINDOW_BYTES: Final = 2**31 - 1
_DEFAULT_WINDOW_BYTES: Final = 65_535
_FRAME_BYTES_MAX: Final = 16_384

Ended = Callable[[bytes | None, float], None]
"""Takes a call's answer (None: it was refused) and the seconds from its sending to that."""


@dataclass(slots=True)
class _Stream:
    sent_at: float
    ended: Ended
    window_bytes: int
    """How much more of the request the server takes."""
    unsent: memoryview
    answer: bytearray = field(default_factory=bytearray)


class FloodClient(asyncio.Protocol):
    """One connection. A call for which the server leaves no room is for the caller to give up."""

    def __init__(self, authority: str, key: str = "") -> None:
        """`key`: empty where none is to be shown."""
        self._authority = authority
        self._key = key
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._streams: dict[int, _Stream] = {}
        self._next_stream = 1
        self._window_bytes = self._window_of_stream_bytes = _DEFAULT_WINDOW_BYTES
        self._sending: dict[int, _Stream] = {}
        self._streams_max = 0
        self._headers: dict[str, bytes] = {}
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once the server has said what it bears."""

    @property
    def has_room(self) -> bool:
        """Whether the server takes one more call now, and has taken all of the others."""
        return len(self._streams) < self._streams_max and self._window_bytes > 0

    def call(self, path: str, message: bytes, ended: Ended) -> None:
        """Sends a call, and of its message as much as the server takes."""
        number, self._next_stream = self._next_stream, self._next_stream + 2
        body = struct.pack(">BI", 0, len(message)) + message
        headers = self._headers.get(path)
        if headers is None:
            headers = self._headers[path] = _headers(path, self._authority, self._key)
        stream = _Stream(perf_counter(), ended, self._window_of_stream_bytes, memoryview(body))
        self._streams[number] = self._sending[number] = stream
        self._write(_frame(_HEADERS, _END_HEADERS, number, headers) + self._more(number, stream))

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
            stream.answer.extend(payload)
        if stream is not None and kind == _WINDOW_UPDATE:
            stream.window_bytes += int.from_bytes(payload, "big")
            self._write(self._more(number, stream))
        elif kind == _RST_STREAM or (kind in (_DATA, _HEADERS) and flags & _END_STREAM):
            self._end(number)

    def _end(self, number: int) -> None:
        stream = self._streams.pop(number, None)
        if self._sending.pop(number, None) is not None:
            self._write(_frame(_RST_STREAM, 0, number, _NO_ERROR))
        if stream is not None:
            answer = bytes(stream.answer[_MESSAGE_HEADER_BYTES:]) if stream.answer else None
            stream.ended(answer, perf_counter() - stream.sent_at)

    def _of_connection(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == _WINDOW_UPDATE:
            self._window_bytes += int.from_bytes(payload, "big")
            self._go_on()
        elif kind == _GOAWAY:
            self.close()
        elif kind == _PING and not flags & _ACK:
            self._write(_frame(_PING, _ACK, 0, payload))
        elif kind == _SETTINGS and not flags & _ACK:
            self._take_settings(dict(struct.iter_unpack(">HI", payload)))
            self._write(_frame(_SETTINGS, _ACK, 0, b""))
            if not self.ready.done():
                self.ready.set_result(None)

    def _take_settings(self, settings: dict[int, int]) -> None:
        self._streams_max = settings.get(_MAX_CONCURRENT_STREAMS, self._streams_max)
        window_bytes = settings.get(_INITIAL_WINDOW_SIZE, self._window_of_stream_bytes)
        for stream in self._streams.values():
            stream.window_bytes += window_bytes - self._window_of_stream_bytes
        self._window_of_stream_bytes = window_bytes
        self._go_on()

    def _go_on(self) -> None:
        """Sends what there is room for now."""
        for number, stream in list(self._sending.items()):
            self._write(self._more(number, stream))

    def _more(self, number: int, stream: _Stream) -> bytes:
        """The next frames of a request, as far as the windows of its stream and of the connection go."""
        frames = []
        while stream.unsent:
            size = min(_FRAME_BYTES_MAX, len(stream.unsent), stream.window_bytes, self._window_bytes)
            if size <= 0:
                break
            part, stream.unsent = stream.unsent[:size], stream.unsent[size:]
            stream.window_bytes -= size
            self._window_bytes -= size
            frames.append(_frame(_DATA, 0 if stream.unsent else _END_STREAM, number, bytes(part)))
        if not stream.unsent:
            self._sending.pop(number, None)
        return b"".join(frames)

    def _write(self, frames: bytes) -> None:
        if self._transport is not None:
            self._transport.write(frames)


async def flood_client(target: str, access: Access = _OPEN) -> FloodClient:
    """A connection to `host:port` that the server has greeted."""
    host, _, port = target.rpartition(":")
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(
        lambda: FloodClient(target, access.key), host, int(port), ssl=_by_tls(access)
    )
    await client.ready
    return client


def _by_tls(access: Access) -> ssl.SSLContext | None:
    """None: plaintext."""
    if access.authorities is None:
        return None
    context = ssl.create_default_context(cadata=access.authorities.decode("ascii"))
    context.set_alpn_protocols(["h2"])
    return context


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def _headers(path: str, authority: str, key: str) -> bytes:
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
            new + _text("authorization") + _text(f"Bearer {key}") if key else b"",
        )
    )


def _text(value: str) -> bytes:
    """A short text."""
    return len(value).to_bytes(1, "big") + value.encode("ascii")
