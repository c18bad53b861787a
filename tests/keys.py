"""Keys of callers, in the database of a test."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

from ledger.access.keys import Key
from ledger.store.access.keys import NewKey, make_key
from tests.acts import ACT

if TYPE_CHECKING:
    from ledger.store.postgres.database import Database

_numbers = count(1)


def draft(key: Key, *scopes: str, **fields: Any) -> NewKey:
    """What a key is to be: for every customer and without an end, if nothing else is said."""
    given = {
        "name": "a test's",
        "customers": None,
        "by": ACT,
        "expires_at": None,
        "request_id": f"key_{next(_numbers)}",
        "fingerprint": b"f",
        **fields,
    }
    return NewKey(key_id=key.key_id, hash=key.hash, scopes=scopes, **given)


async def new_key(database: Database, *scopes: str, **fields: Any) -> Key:
    """A key of these scopes that may be used at once."""
    key = Key.draw()
    await make_key(database.writer, draft(key, *scopes, **fields))
    return key
