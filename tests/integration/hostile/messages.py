"""Messages that nobody would send in good faith, made from the descriptors alone."""

from __future__ import annotations

from random import Random

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

INT32 = (0, 1, -1, 49, 1_000, 1_001, 2**31 - 1, -(2**31))
INT64 = (0, 1, -1, 10**6, 10**15, 10**15 + 1, 2**62, 2**63 - 1, -(2**63))
TEXTS = (
    *("", " ", "0", "1", "-1", "1.5", "0.0000000001", "1e9", "NaN", "Infinity", "-0", "9" * 16, "1" * 40),
    *(
        "x" * 128,
        "x" * 129,
        "x" * 10_000,
        "\x00",
        "a\x00b",
        "\u202e",
        "\U0001f4b8" * 64,
        "'; DROP TABLE x; --",
    ),
    *(
        "standard",
        "metered",
        "acme/large",
        "sandbox",
        "web_search",
        "ticket.resolved",
        "tokens",
        "UTC",
        "active",
    ),
    *("rsv_", "chg_0", "grt_zzzz", "2026-01-01", "%s%n", "../../etc/passwd", "internal.x", "request_id", "*"),
)
DEPTH_MAX = 4
SIZE_BYTES = 5
"""Of a length as protobuf writes it, if with more bytes than it needs."""


def random_message(random: Random, message_type: type[Message], known: tuple[str, ...]) -> Message:
    """A message of a type with random fields; `known` are texts that mean something to the service."""
    message = message_type()
    _fill(random, message, known, 0)
    return message


def _fill(random: Random, message: Message, known: tuple[str, ...], depth: int) -> None:
    for field in message.DESCRIPTOR.fields:
        if random.random() < 0.35:
            continue
        if field.is_repeated:
            _fill_repeated(random, message, field, known, depth)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            if depth < DEPTH_MAX:
                part = getattr(message, field.name)
                part.SetInParent()
                _fill(random, part, known, depth + 1)
        else:
            setattr(message, field.name, _scalar(random, field, known))


def _fill_repeated(
    random: Random, message: Message, field: FieldDescriptor, known: tuple[str, ...], depth: int
) -> None:
    values = getattr(message, field.name)
    is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
    for _ in range(random.choice((0, 1, 1, 2, 5, 20))):
        if is_map:
            values[_text(random, known)] = _text(random, known)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            if depth < DEPTH_MAX:
                _fill(random, values.add(), known, depth + 1)
        else:
            values.append(_scalar(random, field, known))


def _scalar(random: Random, field: FieldDescriptor, known: tuple[str, ...]) -> object:
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            return _text(random, known)
        case FieldDescriptor.TYPE_BYTES:
            return random.randbytes(random.choice((0, 1, 100)))
        case FieldDescriptor.TYPE_BOOL:
            return random.random() < 0.5
        case FieldDescriptor.TYPE_ENUM:
            return random.choice((*(value.number for value in field.enum_type.values), 77, -1))
        case FieldDescriptor.TYPE_INT64:
            return random.choice((*INT64, random.randrange(10**7)))
        case _:
            return random.choice(INT32)


def _text(random: Random, known: tuple[str, ...]) -> str:
    return random.choice(known) if random.random() < 0.5 else random.choice(TEXTS)


def flipped(random: Random, data: bytes) -> bytes:
    """The bytes of a message with some bits the other way, or cut off, or doubled."""
    if not data:
        return random.randbytes(random.randrange(64))
    mutated = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8))):
        mutated[random.randrange(len(mutated))] ^= 1 << random.randrange(8)
    cut = random.random()
    if cut < 0.1:
        return bytes(mutated[: random.randrange(len(mutated))])
    return bytes(mutated) * 2 if cut > 0.95 else bytes(mutated)


def unknown_field(length: int) -> bytes:
    """A message of so many bytes (some thousands at least) that is a field which no message has."""
    head = bytes(((1 << 3 | 2) | 0x80, 0x7F))
    rest, size = length - len(head) - SIZE_BYTES, bytearray()
    for number in range(SIZE_BYTES):
        size.append(rest >> 7 * number & 0x7F | (0x80 if number < SIZE_BYTES - 1 else 0))
    return head + bytes(size) + bytes(rest)
