"""Calls that break the rules of gRPC or of HTTP/2, each as the bytes of a whole connection.

None is a whole, valid call that would change anything: whatever comes back, nothing may have happened.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from wire import (
    CANCEL,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Field,
    block,
    body,
    fields,
    frame,
    headers,
    message,
    opening,
)


@dataclass(frozen=True, slots=True)
class Target:
    """A method, and the bytes of a request for it."""

    path: str
    request: bytes
    reads: bool
    """It changes nothing."""

    def body(self, *, ends: bool = True) -> bytes:
        """The request; of one that would change something all but its last byte."""
        whole = message(self.request)
        return body(whole if self.reads else whole[:-1], ends=ends)


Make = Callable[[Random, Target], bytes]
"""Gives the frames of a call."""

TIMEOUTS = (
    b"",
    b"S",
    b"abc",
    b"-1S",
    b"+1S",
    b"1",
    b"1x",
    b"1.5S",
    b"99999999999999999999H",
    b"1S\x00",
    b"1 S",
)
BAD_TEXTS = (b"\x00", b"a\r\nb", b"\x7f", b"\xff\xfe", "\U0001f4b8".encode(), b" lead", b"tail ", b"\x1b[2J")
HUGE_BYTES = 1 << 20


def cut_short(random: Random, target: Target) -> bytes:
    """The stream ends in the middle of the message."""
    whole = message(target.request)
    return headers(target.path) + body(whole[: random.randrange(len(whole))])


def without_a_message(random: Random, target: Target) -> bytes:
    """The stream is closed and no message has come, at once or after the header fields."""
    if random.random() < 0.5:
        return headers(target.path, flags=END_HEADERS | END_STREAM)
    return headers(target.path) + body(b"")


def left_open(random: Random, target: Target) -> bytes:
    """A part of the message, and then nothing more; or no end of the header fields."""
    whole = message(target.request)
    if random.random() < 0.3:
        return headers(target.path, flags=0)
    return headers(target.path) + body(whole[: random.randrange(len(whole))], ends=False)


def reset(random: Random, target: Target) -> bytes:
    """The caller cancels in the middle of the message."""
    whole = message(target.request)
    part = body(whole[: random.randrange(len(whole))], ends=False)
    return headers(target.path) + part + frame(RST_STREAM, 0, 1, bytes((0, 0, 0, CANCEL)))


def wrong_prefix(random: Random, target: Target) -> bytes:
    """The message's own length lies, or it says to be compressed and is not."""
    match random.randrange(3):
        case 0:
            bad = message(
                target.request,
                length=random.choice((len(target.request) + 1, (4 << 20) + 1, 2**31, 2**32 - 1)),
            )
        case 1:
            bad = message(target.request, compressed=random.choice((1, 2, 255)))
        case _:
            bad = message(target.request, length=max(len(target.request) - 1, 0)) + random.randbytes(3)
    return headers(target.path) + body(bad)


def badly_compressed(random: Random, target: Target) -> bytes:
    """Bytes that are no gzip; a gzip cut short; one that unpacks to more than the largest message."""
    packed = random.choice(
        (random.randbytes(40), gzip.compress(target.request * 9)[:-6], gzip.compress(bytes(5 << 20), 9))
    )
    encoding = random.choice((b"gzip", b"gzip", b"deflate", b"snappy", b"identity", b""))
    return headers(target.path, (b"grpc-encoding", encoding)) + body(message(packed, compressed=1))


def wrong_type(random: Random, target: Target) -> bytes:
    """Another content type, or none."""
    kinds = (b"text/html", b"application/json", b"", b"application/grpc+json+", b"application/grpcx", b"\xff")
    if random.random() < 0.2:
        return headers(target.path, without=(b"content-type",)) + target.body()
    return headers(target.path, (b"content-type", random.choice(kinds))) + target.body()


def wrong_request(random: Random, target: Target) -> bytes:
    """Another HTTP method, scheme or path; a field too few or twice."""
    paths = (
        b"/",
        b"",
        b"*",
        target.path.encode() + b"/",
        b"/x/y",
        target.path.upper().encode(),
        b"/" + b"a" * 20_000,
    )
    match random.randrange(5):
        case 0:
            methods = (b"GET", b"PUT", b"OPTIONS", b"CONNECT", b"\x00")
            head = headers(target.path, (b":method", random.choice(methods)))
        case 1:
            head = headers(
                target.path, (b":scheme", random.choice((b"https", b"ftp", b""))), without=(b"te",)
            )
        case 2:
            head = headers(target.path, (b":path", random.choice(paths)))
        case 3:
            missing = random.choice((b":method", b":scheme", b":path", b":authority"))
            head = headers(target.path, without=(missing,))
        case _:
            head = frame(HEADERS, END_HEADERS, 1, block([*fields(target.path), *fields(target.path)]))
    return head + target.body()


def wrong_timeout(random: Random, target: Target) -> bytes:
    """A time-out that is none, or over before it began; a value that is no number or twice."""
    bad = random.choice((*TIMEOUTS, b"0n", b"1n", b"0S"))
    return headers(target.path, (b"grpc-timeout", bad)) + target.body()


def wrong_metadata(random: Random, target: Target) -> bytes:
    """Text where binary is due, bytes where text is, keys that are no keys, more than anyone takes."""
    kinds: tuple[Field, ...] = (
        (b"key-bin", random.choice((b"no base64!", b"A", b"====", b"\xff", b"AAAA,AAAA,%"))),
        (b"key", random.choice(BAD_TEXTS)),
        (random.choice((b"Key", b"k\x00y", b"", b"k y", b"\xc3\xa4", b":own", b"grpc-status")), b"value"),
        (b"grpc-tags-bin", random.randbytes(30)),
        (b"grpc-trace-bin", b"no base64!"),
        (b"grpc-status-details-bin", b"AAAA"),
        (b"huge", b"x" * random.choice((8 << 10, 16 << 10, 1 << 16, HUGE_BYTES))),
    )
    many = [(b"key-%d" % number, b"value") for number in range(random.choice((0, 0, 100, 2_000)))]
    return headers(target.path, random.choice(kinds), *many) + target.body()


def wrong_frames(random: Random, target: Target) -> bytes:
    """Frames that HTTP/2 forbids, or that mean nothing."""
    call, header_fields = headers(target.path) + target.body(ends=False), block(fields(target.path))
    bad = (
        frame(DATA, 0, 0, b"on no stream"),
        frame(DATA, 0, 2, b"on a stream of the server's"),
        frame(HEADERS, 0, 3, block(fields(target.path)))
        + frame(DATA, 0, 3, b"in the middle of header fields"),
        frame(CONTINUATION, END_HEADERS, 1, b"after nothing"),
        frame(CONTINUATION, 0, 1, b"") * 2_000,
        frame(HEADERS, END_HEADERS, 3, random.randbytes(60)),
        frame(WINDOW_UPDATE, 0, 1, bytes(4)),
        frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 2,
        frame(SETTINGS, 0, 0, b"\x00\x04\xff\xff\xff\xff"),
        frame(SETTINGS, 0, 0, b"short"),
        frame(SETTINGS, 1, 0, b"an acknowledgement says nothing"),
        frame(PUSH_PROMISE, END_HEADERS, 1, bytes((0, 0, 0, 2)) + header_fields),
        frame(GOAWAY, 0, 0, bytes(8)),
        frame(PING, 0, 0, b"8 bytes!") * 1_000,
        frame(PING, 0, 0, b"not so"),
        frame(PRIORITY, 0, 1, b"\x00\x00\x00\x01\xff"),
        frame(RST_STREAM, 0, 0, bytes(4)),
        frame(random.randrange(10, 256), 255, random.randrange(2**31), random.randbytes(50)),
        b"\xff\xff\xff" + bytes((DATA, 0, 0, 0, 0, 1)) + bytes(100),
    )
    return call + b"".join(random.choices(bad, k=random.choice((1, 1, 3))))


def noise(random: Random, target: Target) -> bytes:
    """Random bytes, or a valid call with some of its bits the other way."""
    if random.random() < 0.4:
        return random.randbytes(random.randrange(1, 3_000))
    head = bytearray(block(fields(target.path)))
    rest = bytearray(target.body())
    for _ in range(random.choice((1, 3, 20))):
        if random.random() < 0.5:
            # Not the highest bit: a path that is no UTF-8 is a matter of its own.
            head[random.randrange(len(head))] ^= 1 << random.randrange(7)
        else:
            rest[random.randrange(len(rest))] ^= 1 << random.randrange(8)
    return frame(HEADERS, END_HEADERS, 1, bytes(head)) + bytes(rest)


CALLS: Mapping[str, Make] = {
    make.__name__: make
    for make in (
        cut_short,
        without_a_message,
        left_open,
        reset,
        wrong_prefix,
        badly_compressed,
        wrong_type,
        wrong_request,
        wrong_timeout,
        wrong_metadata,
        wrong_frames,
        noise,
    )
}
WITHOUT_PREFACE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"",
    PREFACE[:10],
)


def connection(random: Random, name: str, target: Target) -> bytes:
    """The bytes of a connection with such a call."""
    if name == "noise" and random.random() < 0.3:
        return random.choice((*WITHOUT_PREFACE, random.randbytes(random.randrange(1, 200))))
    return opening() + CALLS[name](random, target)
