"""What is to be written and is not acknowledged yet: writes by their request ids, with their usage.

The same in memory and in the journal: each change is a record, and the records of a file, carried out in
their order, are what its process had to write when it ended. A write takes items until it is sent; what it
holds then is sent under its request id until it is answered, by this process or by one that finds its
journal. It is never sent with anything else under that id: what it is replaced by has ids of its own, made
of it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from ledger.client.errors import UsageError
from ledger.v1.credit_service_pb2 import (
    BatchItem,
    ChargeRequest,
    CommitReservationRequest,
    Labels,
    ReleaseReservationRequest,
)
from ledger.v1.usage_pb2 import UsageItem

LATE: Final = ".late"
"""Ends the request id of the charge that a commit became."""

_KEY: Final = struct.Struct("<BH")
_KEY_BYTES_MAX: Final = 0xFFFF
_PART: Final = struct.Struct("<II")
_LENGTH: Final = struct.Struct("<I")


class Kind(IntEnum):
    """What a record says."""

    BEGUN = 1
    """There is a write: what it says beside its usage, and the labels of its reservation."""
    ITEM = 2
    """An item of its usage."""
    FINAL = 3
    """It ends its reservation."""
    SETTLED = 4
    """It was answered, or given up: there is nothing to do."""
    REPLACED = 5
    """Others take its place, each with a run of its items."""


class Part(NamedTuple):
    """A write that takes the place of another, with its items from `first` to before `end`."""

    outline: BatchItem
    first: int
    end: int


class Write:
    """A write that is to be answered."""

    __slots__ = ("items", "labels", "outline", "place", "request_id", "reservation_id")

    def __init__(self, outline: BatchItem, labels: Labels, items: Iterable[UsageItem] = ()) -> None:
        request = _request(outline)
        self.outline = outline
        """All but the usage."""
        self.labels = labels
        """Those of its reservation: a charge in its place has them."""
        self.items = list(items)
        self.request_id: str = request.request_id
        self.reservation_id: str = getattr(request, "reservation_id", "")
        """Empty for a charge."""
        self.place: tuple[int, ...] = ()
        """In the order of all: what takes its place comes before what comes after it."""

    @property
    def customer_id(self) -> str:
        """Whom it is about."""
        customer_id: str = _request(self.outline).customer_id
        return customer_id

    @property
    def amount_micros(self) -> int | None:
        """What it charges in micro-credits; None where it charges usage, or nothing."""
        charge = self.outline.charge
        return charge.amount_micros if charge.HasField("amount_micros") else None

    @property
    def is_release(self) -> bool:
        """Whether it only gives back what is held: it comes after all commits of its reservation."""
        return self.outline.HasField("release")

    @property
    def is_final(self) -> bool:
        """Whether nothing of its reservation is left to be done once it is answered."""
        return self.is_release or (self.outline.HasField("commit") and self.outline.commit.final)

    def message(self) -> BatchItem:
        """What is sent: the same whenever it is made."""
        whole = BatchItem()
        whole.CopyFrom(self.outline)
        request = _request(whole)
        # A charge of an amount has none, and is not to say that it has.
        if self.items and not isinstance(request, ReleaseReservationRequest):
            request.usage.items.extend(self.items)
        return whole

    def records(self) -> Iterator[bytes]:
        """What says of it all that there is to say."""
        yield begun(self)
        for item in self.items:
            yield item_of(self.request_id, item)


def begun(write: Write) -> bytes:
    """The record of a write that begins, without its items."""
    outline = write.outline.SerializeToString()
    return b"".join(
        (
            _keyed(Kind.BEGUN, write.request_id),
            _LENGTH.pack(len(outline)),
            outline,
            write.labels.SerializeToString(),
        )
    )


def item_of(request_id: str, item: UsageItem) -> bytes:
    """The record of an item of a write."""
    return _keyed(Kind.ITEM, request_id) + item.SerializeToString()


def final(request_id: str) -> bytes:
    """The record by which a commit ends its reservation."""
    return _keyed(Kind.FINAL, request_id)


def settled(request_id: str) -> bytes:
    """The record of a write for which nothing is left to do."""
    return _keyed(Kind.SETTLED, request_id)


def replaced(request_id: str, parts: Sequence[Part]) -> bytes:
    """The record of a write whose place others take."""
    pieces = [_keyed(Kind.REPLACED, request_id)]
    for part in parts:
        outline = part.outline.SerializeToString()
        pieces += (_LENGTH.pack(len(outline)), _PART.pack(part.first, part.end), outline)
    return b"".join(pieces)


def late_charge(write: Write) -> list[Part]:
    """What takes the place of a commit whose reservation takes none, or of a refused charge.

    It is a charge of work that is done, of which nothing is refused.
    """
    charge = ChargeRequest(
        request_id=write.request_id + LATE,
        customer_id=write.customer_id,
        already_used=True,
        labels=write.labels,
    )
    return [Part(BatchItem(charge=charge), 0, len(write.items))]


def halves(write: Write) -> list[Part]:
    """What takes the place of a write of whose items one is refused: each half by itself."""
    middle, end = len(write.items) // 2, len(write.items)
    parts = []
    for number, (first, after) in enumerate(((0, middle), (middle, end)), start=1):
        outline = BatchItem()
        outline.CopyFrom(write.outline)
        request = _request(outline)
        request.request_id = f"{write.request_id}.{number}"
        if outline.HasField("commit"):
            outline.commit.final = write.is_final and after == end
        parts.append(Part(outline, first, after))
    return parts


class Outstanding:
    """The writes that are not answered, in the order in which they are to be sent."""

    def __init__(self, records: Iterable[bytes] = ()) -> None:
        self.writes: dict[str, Write] = {}
        self._begun = 0
        for record in records:
            self.apply(record)

    def apply(self, record: bytes) -> None:
        """Carries out what a record says. One of a write that is settled already says nothing.

        Raises ValueError, struct.error, DecodeError for what this version does not read.
        """
        number, length = _KEY.unpack_from(record)
        kind = Kind(number)
        start = _KEY.size + length
        request_id, rest = record[_KEY.size : start].decode(), record[start:]
        if kind == Kind.BEGUN:
            write = _begun(rest)
            if write.request_id != request_id:
                raise ValueError(f"a write of a kind that is not known, {request_id}")
            self.begin(write)
        elif (known := self.writes.get(request_id)) is not None:
            self._change(kind, known, rest)

    def _change(self, kind: Kind, write: Write, rest: bytes) -> None:
        match kind:
            case Kind.ITEM:
                write.items.append(UsageItem.FromString(rest))
            case Kind.FINAL:
                write.outline.commit.final = True
            case Kind.SETTLED:
                self.settle(write)
            case Kind.REPLACED:
                self.replace(write, list(_parts(rest)))

    def begin(self, write: Write) -> None:
        """Takes a write in."""
        self._begun += 1
        write.place = (self._begun,)
        self.writes[write.request_id] = write

    def settle(self, write: Write) -> None:
        """Drops a write; with the one that ended a reservation its release too."""
        self.writes.pop(write.request_id, None)
        if write.is_final:
            self.writes.pop(release_id(write.reservation_id), None)

    def replace(self, write: Write, parts: Sequence[Part]) -> list[Write]:
        """Puts others in a write's place, and returns them."""
        others = [Write(part.outline, write.labels, write.items[part.first : part.end]) for part in parts]
        self.writes.pop(write.request_id, None)
        for number, other in enumerate(others):
            other.place = (*write.place, number)
            self.writes[other.request_id] = other
        return others

    def in_turns(self) -> list[list[Write]]:
        """All writes: those of one reservation after each other, its release last; each charge by itself."""
        turns: dict[str, list[Write]] = {}
        for write in self._in_order():
            turns.setdefault(write.reservation_id or write.request_id, []).append(write)
        return [sorted(turn, key=lambda write: write.is_release) for turn in turns.values()]

    def records(self) -> Iterator[bytes]:
        """The fewest records that say the same."""
        for write in self._in_order():
            yield from write.records()

    def _in_order(self) -> list[Write]:
        return sorted(self.writes.values(), key=lambda write: write.place)


def commit_of(request_id: str, customer_id: str, reservation_id: str, labels: Labels) -> Write:
    """A commit that takes items; a partial one, until it is said to be final."""
    request = CommitReservationRequest(
        request_id=request_id, customer_id=customer_id, reservation_id=reservation_id
    )
    return Write(BatchItem(commit=request), labels)


def charge_of(request_id: str, customer_id: str, labels: Labels) -> Write:
    """A charge of work that is done, which takes items: there is no hold for them."""
    request = ChargeRequest(request_id=request_id, customer_id=customer_id, already_used=True, labels=labels)
    return Write(BatchItem(charge=request), labels)


def charge_as(request: ChargeRequest) -> Write:
    """A charge as its caller made it, which is to take the items of its usage."""
    outline = ChargeRequest()
    outline.CopyFrom(request)
    outline.ClearField("usage")
    return Write(BatchItem(charge=outline), request.labels)


def release_of(customer_id: str, reservation_id: str) -> Write:
    """What gives a hold back, if no final commit does."""
    request = ReleaseReservationRequest(
        request_id=release_id(reservation_id), customer_id=customer_id, reservation_id=reservation_id
    )
    return Write(BatchItem(release=request), Labels())


def release_id(reservation_id: str) -> str:
    """The request id under which a reservation is given back, by whichever process does."""
    return f"{reservation_id}.end"


def _request(outline: BatchItem) -> CommitReservationRequest | ChargeRequest | ReleaseReservationRequest:
    if outline.HasField("commit"):
        return outline.commit
    return outline.charge if outline.HasField("charge") else outline.release


def _keyed(kind: Kind, request_id: str) -> bytes:
    key = request_id.encode()
    if len(key) > _KEY_BYTES_MAX:
        raise UsageError(f"request_id: has {len(key)} bytes (a journal takes {_KEY_BYTES_MAX})")
    return _KEY.pack(kind, len(key)) + key


def _begun(rest: bytes) -> Write:
    (length,) = _LENGTH.unpack_from(rest)
    end = _LENGTH.size + length
    return Write(BatchItem.FromString(rest[_LENGTH.size : end]), Labels.FromString(rest[end:]))


def _parts(rest: bytes) -> Iterator[Part]:
    at = 0
    while at < len(rest):
        (length,) = _LENGTH.unpack_from(rest, at)
        first, end = _PART.unpack_from(rest, at + _LENGTH.size)
        start = at + _LENGTH.size + _PART.size
        at = start + length
        yield Part(BatchItem.FromString(rest[start:at]), first, end)
