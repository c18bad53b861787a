"""A request to change a customer, decoded: a command of the books, and what else it takes to decide it."""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from typing import Generic, NamedTuple, TypeVar

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

import pricing
from ledger.api.messages import validation
from ledger.api.messages.validation import Problems
from ledger.books.commands import Command
from ledger.books.making import make

C = TypeVar("C", bound=Command)


class Write(NamedTuple, Generic[C]):
    """A request to change a customer, fit to be decided."""

    customer_id: str
    command: C
    usage: tuple[pricing.Item, ...] | None = None
    untimely: tuple[tuple[str, str], ...] = ()
    """Fields that are wrong by the clock of now only: the write is refused, unless it is a repeat."""
    subject: tuple[str, str] | None = None
    """What the write is about, where it names a reservation, a charge or a grant: the field, and the id as
    written."""


def fingerprint(request: Message) -> bytes:
    """16 bytes that distinguish a request from another one under the same id.

    Over the type of the request (each method has its own, also within a batch) and its known fields as they
    were set, before defaults, map keys sorted.
    """
    request.DiscardUnknownFields()
    serialized = request.SerializeToString(deterministic=True)
    return blake2b(_name_of(request.DESCRIPTOR) + serialized, digest_size=16).digest()


@cache
def _name_of(kind: Descriptor) -> bytes:
    return kind.full_name.encode("ascii") + b"\0"


def written(
    problems: Problems,
    customer_id: str,
    command: C,
    usage: tuple[pricing.Item, ...] | None = None,
    subject: tuple[str, str] | None = None,
) -> Write[C]:
    """The write of a command, unless anything is wrong with its request. Raises `InvalidArgumentError`."""
    validation.identifier(problems, "customer_id", customer_id)
    if problems.found:
        problems.raise_if_any()
    return make(Write, (customer_id, command, usage, problems.untimely, subject))
