"""Customers' tokens: by which a product's own front end reads the wallet of one customer, for a short time.

A token is a JSON Web Token, signed by HMAC with a key of the database. A server needs no look-up to verify
it: it holds the signing keys, as it holds those of callers, and a token names the key of the caller that has
made it, with which it ends.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple

import jwt

from ledger.store.access.signing_keys import SigningKey

LASTS_MAX: Final = timedelta(hours=1)
"""How long a token may last: it is in a browser, and is not taken back but with its maker's key."""

_ALGORITHM: Final = "HS256"
_AUDIENCE: Final = "acu-ledger/wallet"
_MADE_BY: Final = "client_id"
"""The claim that RFC 8693 has for who asked for a token."""
_OPTIONS: Final[Any] = {
    "require": ["aud", "sub", "exp", _MADE_BY],
    # By the database's clock, not by the machine's that they would be compared with.
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
}
_LENGTH_MAX: Final = 4_096
"""Characters: the longest that is made names a customer of 128 characters, each of 12 in JSON."""
_FORM: Final = re.compile(r"[0-9A-Za-z_-]+\.[0-9A-Za-z_-]+\.[0-9A-Za-z_-]{43}")
"""The last part is of 32 bytes."""
_VERIFIED_MAX: Final = 4_096
"""Tokens whose signature was found right and need not be looked at again: some MiB."""


class Token(NamedTuple):
    """Whom a token stands for."""

    customer_id: str
    made_by: str
    """The id of its maker's key; empty where no key was asked for."""
    expires_at: datetime
    """To the second."""


def sign(token: Token, key: SigningKey) -> str:
    """A token as it is shown, once, and sent."""
    claims = {
        "aud": _AUDIENCE,
        "sub": token.customer_id,
        _MADE_BY: token.made_by,
        "exp": int(token.expires_at.timestamp()),
    }
    return jwt.encode(claims, key.secret, algorithm=_ALGORITHM, headers={"kid": key.day.isoformat()})


def read(text: str, keys: tuple[SigningKey, ...], now: datetime) -> Token | None:
    """The token that a text is, by these signing keys; None for all that is none, or has ended."""
    if len(text) > _LENGTH_MAX or _FORM.fullmatch(text) is None:
        return None
    try:
        token = _verified(text, keys)
    except jwt.PyJWTError:
        return None
    return token if now < token.expires_at else None


@lru_cache(_VERIFIED_MAX)
def _verified(text: str, keys: tuple[SigningKey, ...]) -> Token:
    """The token that a text is, at whatever time. Raises jwt.PyJWTError: what is wrong is not reported."""
    day = jwt.get_unverified_header(text).get("kid")
    key = next((key for key in keys if key.day.isoformat() == day), None)
    if key is None:
        raise jwt.InvalidTokenError
    claims = jwt.decode(text, key.secret, algorithms=[_ALGORITHM], audience=_AUDIENCE, options=_OPTIONS)
    token = Token(claims["sub"], claims[_MADE_BY], datetime.fromtimestamp(claims["exp"], UTC))
    if token.expires_at > _last_end(key):
        raise jwt.InvalidTokenError
    return token


def _last_end(key: SigningKey) -> datetime:
    """When the last token that a key has signed ends."""
    return datetime.combine(key.day, time(), UTC) + timedelta(days=1) + LASTS_MAX
