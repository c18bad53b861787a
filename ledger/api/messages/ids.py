"""The ids that are given out: `rsv_…` reservations, `chg_…` charges, `grt_…` grants.

An id is the sequence of the entry that made the thing (for a grant the lot's number too) and a seal over
that, the kind and the customer. So an id needs no look-up, leads to the customer's own rows only, and a
mistyped one, one of another kind or one of another customer is no id of this customer's: it is answered
like an id of something that does not exist.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import Final

from ledger.books.model.lots import LotKey

RESERVATION: Final = "rsv_"
CHARGE: Final = "chg_"
GRANT: Final = "grt_"

NOTHING: Final = 0
"""The sequence that names nothing: a customer's entries begin at 1."""

NO_LOT: Final = LotKey(NOTHING, 0)

_SEAL_BYTES: Final = 8
_REMEMBERED_MAX: Final = 10_000
"""Ids of reservations: 3 MB. A commit meets its own three times, and often soon after its `Reserve`."""
_SEQUENCE_MAX: Final = 2**63 - 1
_N_MAX: Final = 2**31 - 1


@lru_cache(_REMEMBERED_MAX)
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
    sequence = _sequence(RESERVATION, text)
    # An id is right if it is the one that would be given out.
    return sequence if text == reservation_id(customer_id, sequence) else NOTHING


def charge_sequence(customer_id: str, text: str) -> int:
    """The entry that booked the charge; `NOTHING` if the text is no charge's id of this customer."""
    sequence = _sequence(CHARGE, text)
    return sequence if text == charge_id(customer_id, sequence) else NOTHING


def grant_lot(customer_id: str, text: str) -> LotKey:
    """The lot that an id names; that of the entry `NOTHING` if the text is no grant's id of this customer."""
    # The first number ends with the first byte below 128: its digits are an id of two, cut in two.
    digits = text[len(GRANT) :]
    payload, seal = digits[: -2 * _SEAL_BYTES], digits[-2 * _SEAL_BYTES :]
    ends = [place + 2 for place in range(0, len(payload), 2) if payload[place : place + 1] < "8"]
    if len(ends) != len(LotKey._fields):
        return NO_LOT
    parts = (payload[: ends[0]], payload[ends[0] :])
    lot = LotKey(*[_sequence(GRANT, GRANT + part + seal) for part in parts])
    # An id is right if it is the one that would be given out.
    return lot if lot.n <= _N_MAX and text == grant_id(customer_id, lot) else NO_LOT


def _encode(prefix: str, customer_id: str, *numbers: int) -> str:
    payload = bytearray()
    for number in numbers:
        # Seven bits a byte, lowest first; every byte but the last has its top bit set.
        left = number
        while left > 0x7F:
            payload.append(left & 0x7F | 0x80)
            left >>= 7
        payload.append(left)
    seal = blake2b(f"{prefix}{customer_id}\0".encode() + payload, digest_size=_SEAL_BYTES)
    return prefix + payload.hex() + seal.hexdigest()


def _sequence(prefix: str, text: str) -> int:
    """The sequence that a text names if it is an id; `NOTHING` if it is none at first sight."""
    if not text.startswith(prefix):
        return NOTHING
    try:
        payload = bytes.fromhex(text[len(prefix) :])[:-_SEAL_BYTES]
    except ValueError:
        return NOTHING
    sequence, shift = 0, 0
    for byte in payload:
        sequence |= (byte & 0x7F) << shift
        shift += 7
    return sequence if sequence <= _SEQUENCE_MAX else NOTHING
