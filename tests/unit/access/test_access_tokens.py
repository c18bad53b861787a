"""Customers' tokens: what is one, until when, and what only looks like one."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from datetime import UTC, date, datetime, timedelta
from string import ascii_letters, digits
from typing import Any

import jwt
import pytest

from ledger.access import tokens
from ledger.access.keys import Key, parse
from ledger.access.tokens import LASTS_MAX, Token, read, sign
from ledger.store.access.signing_keys import SigningKey

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
TODAY = SigningKey(NOW.date(), bytes(range(32)))
YESTERDAY = SigningKey(date(2026, 11, 28), bytes(range(1, 33)))
ANOTHER_DATABASE = SigningKey(NOW.date(), bytes(range(2, 34)))
KEYS = (YESTERDAY, TODAY)
TOKEN = Token("cus_a", "abcdefghijkl", NOW + timedelta(minutes=15))
CLAIMS = {
    "aud": "acu-ledger/wallet",
    "sub": "cus_a",
    "client_id": "abcdefghijkl",
    "exp": int(TOKEN.expires_at.timestamp()),
}


def part(value: Any) -> str:
    """A part of a token."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(header: Any, claims: Any, secret: bytes = TODAY.secret) -> str:
    """What a token would be that was signed by the right secret."""
    body = f"{part(header)}.{part(claims)}"
    algorithm = jwt.get_algorithm_by_name("HS256")
    return f"{body}.{part(algorithm.sign(body.encode(), secret))}"


def header(**fields: Any) -> dict[str, Any]:
    return {"alg": "HS256", "typ": "JWT", "kid": "2026-11-29", **fields}


def test_a_token_is_what_it_was_signed_for():
    """Whoever's id it is, and by which of the days' keys."""
    for key in KEYS:
        token = TOKEN._replace(expires_at=datetime(2026, 11, 29, 0, 30, tzinfo=UTC))
        assert read(sign(token, key), KEYS, token.expires_at - timedelta(seconds=1)) == token
    longest = TOKEN._replace(customer_id="\U0001f4b8" * 128)
    assert read(sign(longest, TODAY), KEYS, NOW) == longest


def test_a_token_ends_to_the_instant_by_the_clock_that_is_given():
    """However often it was read before."""
    text = sign(TOKEN, TODAY)
    assert read(text, KEYS, TOKEN.expires_at - timedelta(microseconds=1)) == TOKEN
    assert read(text, KEYS, TOKEN.expires_at) is None
    assert read(text, KEYS, TOKEN.expires_at + timedelta(days=9)) is None


def test_a_token_is_of_one_database():
    """The key of the same day of another one does not verify it, and a right one is not remembered for it."""
    text = sign(TOKEN, TODAY)
    assert read(text, KEYS, NOW) == TOKEN
    for keys in ((ANOTHER_DATABASE,), (YESTERDAY,), ()):
        assert read(text, keys, NOW) is None


def test_a_day_s_key_signs_nothing_that_lasts_beyond_its_last_token():
    """A secret that was stolen afterwards is worth nothing."""
    last = datetime(2026, 11, 29, tzinfo=UTC) + LASTS_MAX
    assert read(sign(TOKEN._replace(expires_at=last), YESTERDAY), KEYS, last - timedelta(seconds=1))
    forged = TOKEN._replace(expires_at=last + timedelta(seconds=1))
    assert read(sign(forged, YESTERDAY), KEYS, last - timedelta(seconds=1)) is None


def test_no_character_of_a_token_can_be_another():
    """Nor be left out, doubled, or stand beside it."""
    text = sign(TOKEN, TODAY)
    for index, old in enumerate(text):
        for new in ("", old * 2, *("A", "B", "-", ".", "=", " ", "\n", "é", "\u0661")):
            if new != old:
                assert read(text[:index] + new + text[index + 1 :], KEYS, NOW) is None
    for last in {*ascii_letters, *digits, "-", "_"} - {text[-1]}:
        assert read(text[:-1] + last, KEYS, NOW) is None
    for other in (text + "=", text + "\n", " " + text, text + "." + text, text.upper()):
        assert read(other, KEYS, NOW) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"alg": "none"},
        {"alg": "None"},
        {"alg": "HS512"},
        {"alg": "RS256"},
        {"alg": ["HS256"]},
        {"alg": None},
        {"alg": {}},
        {"kid": ""},
        {"kid": None},
        {"kid": 7},
        {"kid": ["2026-11-29"]},
        {"kid": "2026-11-28"},
        {"kid": "2027-01-01"},
        {"kid": "../../etc/passwd"},
        {"b64": False},
        {"crit": ["b64"], "b64": False},
        {"crit": ["exp"]},
    ],
)
def test_a_header_is_of_one_form(fields):
    """What a token says of its own signature is not believed."""
    assert read(signed(header(), CLAIMS), KEYS, NOW) == TOKEN
    assert read(signed(header(**fields), CLAIMS), KEYS, NOW) is None


@pytest.mark.parametrize("secret", [b"", b"\0", bytes(32), ANOTHER_DATABASE.secret])
def test_a_token_without_the_secret_is_none(secret):
    """Unsigned, signed by nothing, or signed by what anybody can guess."""
    text = signed(header(), CLAIMS, secret)
    assert read(text, KEYS, NOW) is None
    assert read(text.rpartition(".")[0] + ".", KEYS, NOW) is None
    assert read(text.rpartition(".")[0], KEYS, NOW) is None
    assert read(f"{part(header(alg='none'))}.{part(CLAIMS)}.", KEYS, NOW) is None


@pytest.mark.parametrize("claim", ["aud", "sub", "client_id", "exp"])
def test_a_token_says_all_that_is_needed(claim):
    """One that was signed without it, by whoever has the secret, is none."""
    without = {name: value for name, value in CLAIMS.items() if name != claim}
    assert read(signed(header(), CLAIMS), KEYS, NOW) == TOKEN
    assert read(signed(header(), without), KEYS, NOW) is None
    assert read(signed(header(), CLAIMS | {claim: "another" if claim == "aud" else None}), KEYS, NOW) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "a.b." + "c" * 43,
        f"{part(b'[' * 2_500)}.e30.{'c' * 43}",
        f"{part(b'9' * 2_500)}.e30.{'c' * 43}",
        f"{part([])}.e30.{'c' * 43}",
        f"{part(chr(0xD800).encode('utf-16', 'surrogatepass'))}.e30.{'c' * 43}",
        "a" * 10_000_000,
        Key("0" * 12, "0" * 43).text,
    ],
)
def test_what_is_no_token_is_none(text):
    """Whatever stands where a header is to be."""
    assert read(text, KEYS, NOW) is None


def test_no_token_is_a_key():
    """Keys begin with what no token begins with."""
    assert parse(sign(TOKEN, TODAY)) is None
    assert not sign(TOKEN, TODAY).startswith("acu_")


def test_what_is_wrong_is_not_remembered():
    """However many wrong tokens are sent, they take no memory; right ones are bounded."""
    tokens._verified.cache_clear()
    text = sign(TOKEN, TODAY)
    for number in range(1_000):
        assert read(signed(header(), CLAIMS | {"n": number}, ANOTHER_DATABASE.secret), KEYS, NOW) is None
    assert tokens._verified.cache_info().currsize == 0
    assert read(text, KEYS, NOW) == read(text, KEYS, NOW)
    assert tokens._verified.cache_info().currsize == 1
    assert tokens._verified.cache_info().maxsize is not None


def test_a_secret_is_not_shown():
    """A log may have what holds a key, and never what it is."""
    assert repr(TODAY) == "SigningKey(2026-11-29)"
    assert repr(TODAY.secret) not in repr((KEYS,))
