"""The ids that are given out: `rsv_…` reservations, `chg_…` charges, `grt_…` grants.

An id is the sequence of the entry that made the thing (for a grant the lot's number too) and a seal over
that, the kind and the customer. So an id needs no look-up, leads to the customer's own rows only, and a
mistyped one, one of another kind or one of another customer is no id of this customer's: it is answered
like an id of something that does not exist.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from ledger.books.model import LotKey

RESERVATION: Final = "rsv_"
CHARGE: Final = "chg_"
GRANT: Final = "grt_"

NOTHING: Final = 0
"""The sequence that names nothing: a customer's entries begin at 1."""

_SEAL_BYTES: Final = 8
_SEQUENCE_MAX: Final = 2**63 - 1


def reservation_id(customer_id: str, sequence: int) -> str:
    """The id of the reservation that the customer's entry `sequence` made."""
    return _encode(RESERVATION, customer_id, sequence)


def charge_id(customer_id: str, sequence: int) -> str:
    """The id of the charge that the customer's entry `sequence` booked."""
    return _encode(CHARGE, customer_id, sequence)


def grant_id(customer_id: str, lot: LotKey) -> str:
    """The id of a lot of the customer."""
    return _encode(GRANT, customer_id, *lot)


def reservation_sequence(customer_id: str, text: str) -> int:
    """The entry that made the reservation; `NOTHING` if the text is no reservation's id of this customer."""
    return _decode(RESERVATION, customer_id, text)


def charge_sequence(customer_id: str, text: str) -> int:
    """The entry that booked the charge; `NOTHING` if the text is no charge's id of this customer."""
    return _decode(CHARGE, customer_id, text)


def _encode(prefix: str, customer_id: str, *numbers: int) -> str:
    payload = bytearray()
    for number in numbers:
        _add_varint(payload, number)
    return prefix + (payload + _seal(prefix, customer_id, payload)).hex()


def _decode(prefix: str, customer_id: str, text: str) -> int:
    if not text.startswith(prefix):
        return NOTHING
    body = text[len(prefix) :]
    try:
        sealed = bytes.fromhex(body)
    except ValueError:
        return NOTHING
    payload = sealed[:-_SEAL_BYTES]
    # One text for each id: neither capitals nor blanks, which fromhex takes.
    if sealed.hex() != body or sealed[-_SEAL_BYTES:] != _seal(prefix, customer_id, payload):
        return NOTHING
    sequence = _number(payload)
    return sequence if sequence <= _SEQUENCE_MAX else NOTHING


def _seal(prefix: str, customer_id: str, payload: bytes | bytearray) -> bytes:
    keyed = f"{prefix}{customer_id}\0".encode() + payload
    return blake2b(keyed, digest_size=_SEAL_BYTES).digest()


def _add_varint(payload: bytearray, number: int) -> None:
    """Seven bits a byte, lowest first; every byte but the last has its top bit set."""
    while number > 0x7F:
        payload.append(number & 0x7F | 0x80)
        number >>= 7
    payload.append(number)


def _number(varint: bytes) -> int:
    return sum((byte & 0x7F) << 7 * position for position, byte in enumerate(varint))
