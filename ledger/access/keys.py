"""Keys: how one is written, what is stored of it, and which may be made.

`acu_<id>_<secret><checksum>`: an id of 12 characters, which is no secret and stands in logs; a secret of 43
drawn ones, 256 bits; and a CRC-32 of all before it in 6, by which a mistyped key, and one left in a file,
are known without a look-up. Stored is the SHA-256 of the secret: it was drawn and cannot be guessed, so that
a slow hash would protect nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from difflib import get_close_matches
from hashlib import sha256
from secrets import choice
from string import ascii_letters, digits
from typing import Final, NamedTuple, Self
from zlib import crc32

from ledger.access.caller import SCOPES

PREFIX: Final = "acu_"
ID_LENGTH: Final = 12
"""71 bits: no two are ever the same."""
SECRET_LENGTH: Final = 43
"""256 bits."""
CHECKSUM_LENGTH: Final = 6

_DIGITS: Final = digits + ascii_letters
_FORM: Final = re.compile(
    f"({PREFIX}([0-9A-Za-z]{{{ID_LENGTH}}})_([0-9A-Za-z]{{{SECRET_LENGTH}}}))([0-9A-Za-z]{{{CHECKSUM_LENGTH}}})"
)

BOUND: Final = frozenset({"backend", "refund", "wallet"})
"""Scopes whose methods are each about one customer, so that a key may be bound to some."""

LIFE_MAX: Final = timedelta(days=36_500)
"""Of a key that expires: far below the last instant, which the database takes for infinity."""

_NEAR_MAX: Final = 40
"""Characters of a wrong scope that are looked at, and reported."""


class Key(NamedTuple):
    """A key as its holder has it."""

    key_id: str
    secret: str

    @classmethod
    def draw(cls) -> Self:
        """A key that nobody has."""
        return cls(_drawn(ID_LENGTH), _drawn(SECRET_LENGTH))

    @property
    def text(self) -> str:
        """The key as it is shown, once, and sent."""
        body = f"{PREFIX}{self.key_id}_{self.secret}"
        return body + _checksum(body)

    @property
    def hash(self) -> bytes:
        """What is stored of the secret."""
        return sha256(self.secret.encode("ascii")).digest()

    def __repr__(self) -> str:
        """Without the secret: it may come to stand in a log."""
        return f"Key({self.key_id})"


def parse(text: str) -> Key | None:
    """The key that a text is; None for one that was never issued."""
    found = _FORM.fullmatch(text)
    return _key(found) if found is not None else None


def holds_one(text: str) -> bool:
    """Whether there is a key in a text, which then is a secret."""
    return any(_key(found) is not None for found in _FORM.finditer(text))


def problems(
    scopes: Sequence[str],
    customers: Collection[str],
    expires_at: datetime | None,
    now: datetime,
    *,
    is_first: bool,
) -> Iterator[tuple[str, str]]:
    """What is wrong with a key that somebody wants: (field, description) of its scopes, customers, expiry."""
    known = ", ".join(SCOPES)
    if not scopes:
        yield "scopes", f"is empty; one or more of {known} are required"
    if len(scopes) > len(SCOPES):
        yield "scopes", f"has {len(scopes)} scopes; of {known} at most all are allowed"
    for index, scope in enumerate(scopes[: len(SCOPES)]):
        if scope not in SCOPES:
            near = get_close_matches(scope[:_NEAR_MAX].lower(), SCOPES, 1)
            hint = f"; {near[0]} is meant, perhaps" if near else ""
            yield f"scopes[{index}]", f"{scope[:_NEAR_MAX]!r} is no scope{hint}: one of {known} is allowed"
    unbound = [scope for scope in scopes if scope in SCOPES and scope not in BOUND]
    if customers and unbound:
        yield "customer_ids", f"go with no key of scope {unbound[0]}, which is about all customers"
    if "wallet" in scopes and "backend" not in scopes and len(set(customers)) != 1:
        yield "customer_ids", f"has {len(set(customers))} customers; a wallet key names exactly one"
    if is_first and "ops" not in scopes:
        yield "scopes", "lacks ops, which the first key has to have: without it nobody could make the next"
    if expires_at is not None:
        yield from passed(expires_at, now)


def passed(expires_at: datetime, now: datetime) -> Iterator[tuple[str, str]]:
    """What is wrong with an expiry."""
    if expires_at <= now:
        yield "expires_at", f"is {expires_at.isoformat()}, which has passed"
    elif expires_at > now + LIFE_MAX:
        allowed = f"at most {LIFE_MAX.days} days ahead are allowed, and none at all for a key that lasts"
        yield "expires_at", f"is {expires_at.isoformat()}; {allowed}"


def _key(found: re.Match[str]) -> Key | None:
    body, key_id, secret, checksum = found.groups()
    return Key(key_id, secret) if checksum == _checksum(body) else None


def _drawn(length: int) -> str:
    return "".join(choice(_DIGITS) for _ in range(length))


def _checksum(body: str) -> str:
    rest = crc32(body.encode("ascii"))
    text = ""
    for _ in range(CHECKSUM_LENGTH):
        rest, digit = divmod(rest, len(_DIGITS))
        text = _DIGITS[digit] + text
    return text
