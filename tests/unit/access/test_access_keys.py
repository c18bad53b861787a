"""Keys: how they are written and read, and which may be made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.access.keys import Key, parse, problems

KEY = Key("a1B2c3D4e5F6", "Z" * 43)
TEXT = "acu_a1B2c3D4e5F6_" + "Z" * 43 + "2iY4vd"
NOW = datetime(2026, 11, 29, tzinfo=UTC)
CHARACTERS = st.sampled_from("0123456789ABCXYZabcxyz_ -é\n\0")


def test_a_key_is_written_as_it_always_was():
    """The form of a key never changes: keys that were given out are in use for years."""
    assert KEY.text == TEXT
    assert parse(TEXT) == KEY


def test_a_drawn_key_is_read_as_it_was_written():
    """Every key that is given out is read again, and no two are the same."""
    drawn = [Key.draw() for _ in range(100)]
    assert [parse(key.text) for key in drawn] == drawn
    assert len({key.key_id for key in drawn}) == len({key.secret for key in drawn}) == 100


def test_what_is_stored_is_the_hash_of_the_secret():
    """SHA-256, by which alone a database that is read by others lets nobody in."""
    assert KEY.hash == sha256(b"Z" * 43).digest()


def test_a_key_does_not_show_its_secret():
    """A key that comes to stand in a log or an error tells its id."""
    assert str(KEY) == repr(KEY) == "Key(a1B2c3D4e5F6)"
    assert KEY.secret not in f"{KEY} {KEY!r} {[KEY]}"


@given(st.integers(0, len(TEXT) - 1), CHARACTERS)
def test_a_mistyped_key_is_none(index, character):
    """One wrong character anywhere is noticed without a look-up."""
    mistyped = TEXT[:index] + character + TEXT[index + 1 :]
    assert (parse(mistyped) is None) == (mistyped != TEXT)


@pytest.mark.parametrize("text", ["", "acu_", TEXT[:-1], TEXT + "0", " " + TEXT, TEXT + "\n", TEXT.upper()])
def test_what_has_another_form_is_no_key(text):
    """Nothing is guessed at: no space is cut off, no letter made small."""
    assert parse(text) is None


@pytest.mark.parametrize(
    ("scopes", "customers"),
    [
        (["backend"], []),
        (["backend"], ["a", "b"]),
        (["backend", "refund"], ["a"]),
        (["refund"], ["a"]),
        (["wallet"], ["a"]),
        (["backend", "wallet"], []),
        (["backend", "wallet"], ["a", "b"]),
        (["ops"], []),
        (["backend", "refund", "wallet", "ops", "finance"], []),
    ],
)
def test_keys_that_may_be_made(scopes, customers):
    """Bound are those alone whose methods are each about one customer."""
    assert list(problems(scopes, customers, None, NOW, is_first=False)) == []
    assert list(problems(scopes, customers, NOW + timedelta(seconds=1), NOW, is_first=False)) == []


@pytest.mark.parametrize(
    ("scopes", "customers", "field", "reported"),
    [
        ([], [], "scopes", "is empty; one or more of backend, refund, wallet, ops, finance are required"),
        (["Backends"], [], "scopes[0]", "'Backends' is no scope; backend is meant, perhaps"),
        (["ops", "root"], [], "scopes[1]", "'root' is no scope: one of backend, refund"),
        (["ops"], ["a"], "customer_ids", "go with no key of scope ops, which is about all customers"),
        (["backend", "finance"], ["a"], "customer_ids", "go with no key of scope finance"),
        (["wallet"], [], "customer_ids", "has 0 customers; a wallet key names exactly one"),
        (["wallet"], ["a", "b"], "customer_ids", "has 2 customers; a wallet key names exactly one"),
    ],
)
def test_keys_that_may_not_be_made(scopes, customers, field, reported):
    """What is wrong is reported with its field, and what is allowed."""
    [(path, description)] = problems(scopes, customers, None, NOW, is_first=False)
    assert path == field
    assert description.startswith(reported)


def test_a_key_that_has_expired_is_not_made():
    """An expiry lies ahead."""
    [(path, description)] = problems(["ops"], [], NOW, NOW, is_first=False)
    assert (path, description) == ("expires_at", "is 2026-11-29T00:00:00+00:00, which has passed")


@pytest.mark.parametrize("scopes", [["backend"], ["finance", "refund"]])
def test_the_first_key_is_one_of_ops(scopes):
    """A server that holds a key asks for one: without one of ops nobody could make the next."""
    [(path, description)] = problems(scopes, [], None, NOW, is_first=True)
    assert (path, description[:9]) == ("scopes", "lacks ops")
    assert list(problems([*scopes, "ops"], [], None, NOW, is_first=True)) == []
