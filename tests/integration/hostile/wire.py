"""gRPC as no client library lets anyone send it: HTTP/2 frames written by hand (RFC 9113, RFC 7541).

Header fields are sent as literals that are never indexed. Of what comes back only the status is read: of a
connection's first call gRPC sends it as a plain literal too.
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import Iterable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
END_STREAM, END_HEADERS = 1, 4
CANCEL = 8
FRAME_BYTES_MAX = 1 << 14
STATUS = re.compile(rb"grpc-status[\x01\x02](\d{1,2})")

Field = tuple[bytes, bytes]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame, whatever it says."""
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def opening(*settings: tuple[int, int]) -> bytes:
    """What a connection begins with."""
    return PREFACE + frame(SETTINGS, 0, 0, b"".join(struct.pack("!HI", *each) for each in settings))


def fields(path: str, *more: Field, without: Iterable[bytes] = ()) -> list[Field]:
    """The header fields of a call; more of them come last, and replace those of their names."""
    usual = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", b"localhost"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    ]
    replaced = {*without, *(name for name, _ in more)}
    pseudo = [field for field in more if field[0].startswith(b":")]
    return [
        *pseudo,
        *(field for field in usual if field[0] not in replaced),
        *(field for field in more if field not in pseudo),
    ]


def block(headers: Iterable[Field]) -> bytes:
    """Header fields as literals, never indexed, without Huffman's code."""
    return b"".join(b"\x10" + _text(name) + _text(value) for name, value in headers)


def headers(path: str, *more: Field, without: Iterable[bytes] = (), flags: int = END_HEADERS) -> bytes:
    """The frames of a call's header fields: as many as they need."""
    rest = block(fields(path, *more, without=without))
    pieces = [rest[at : at + FRAME_BYTES_MAX] for at in range(0, len(rest), FRAME_BYTES_MAX)]
    frames = [frame(HEADERS, flags if len(pieces) == 1 else flags & ~END_HEADERS, 1, pieces[0])]
    frames += [
        frame(CONTINUATION, END_HEADERS if piece is pieces[-1] else 0, 1, piece) for piece in pieces[1:]
    ]
    return b"".join(frames)


def message(data: bytes, *, compressed: int = 0, length: int | None = None) -> bytes:
    """A message with gRPC's prefix, which may lie."""
    return struct.pack("!BI", compressed, len(data) if length is None else length) + data


def body(data: bytes, *, ends: bool = True) -> bytes:
    """The frames of a call's body; no more than a server takes before it says so."""
    pieces = [data[at : at + FRAME_BYTES_MAX] for at in range(0, len(data), FRAME_BYTES_MAX)] or [b""]
    return b"".join(
        frame(DATA, END_STREAM if ends and number == len(pieces) else 0, 1, piece)
        for number, piece in enumerate(pieces, 1)
    )


def _text(text: bytes) -> bytes:
    """A string literal: its length, 7 bits of it first."""
    if len(text) < 127:
        return bytes((len(text),)) + text
    rest, more = len(text) - 127, bytearray()
    while rest > 127:
        more.append(rest & 127 | 128)
        rest >>= 7
    return bytes((127, *more, rest)) + text


async def exchange(target: str, data: bytes, *, hang_up: bool, wait_seconds: float) -> int | None:
    """Sends bytes on a connection of their own; the status that comes back, None if the server tells none.

    Reads until there is a status, until the server closes the connection, or for so long; where it hangs up,
    not at all.
    """
    host, _, port = target.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    received = bytearray()
    try:
        writer.write(data)
        await writer.drain()
        if hang_up:
            writer.transport.abort()
            return None
        async with asyncio.timeout(wait_seconds):
            while not (found := STATUS.search(received)):
                piece = await reader.read(1 << 16)
                if not piece:
                    return None
                received += piece
            return int(found[1])
    except (ConnectionError, TimeoutError):
        return None
    finally:
        writer.transport.abort()
