"""Keys of callers: by whom they were made, what they may do, until when. Of the secret its hash alone.

The pool to use is the writer's: no role that answers a public read sees a hash. A key is never deleted, and
each change of any is numbered, so that processes find what is new cheaply.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from ledger.errors import RequestError
from ledger.store.audit import instant, note
from ledger.store.lists import page_of, sized_page
from ledger.store.statements import statements_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from ledger.store.audit import Act, Image
    from ledger.store.postgres.database import Pool, PooledConnection

_SQL = statements_of(__name__)
LOCK = _SQL["lock"]
GENERATION = _SQL["generation"]
ADVANCE = _SQL["advance"]
STORE = _SQL["store"]
OF_REQUEST = _SQL["of_request"]
FIND = _SQL["find"]
SINCE = _SQL["since"]
LIST = sized_page(
    _SQL["stored"],
    "FROM ledger.keys WHERE number < $1",
    bytes_="octet_length(concat(customers))",
    order="number DESC",
    limit="$2",
)
REVOKE = _SQL["revoke"]
REPLACE = _SQL["replace"]
USED = _SQL["used"]
UNKNOWN_CUSTOMER = _SQL["unknown_customer"]


class NewKey(NamedTuple):
    """A key that somebody wants to be made."""

    key_id: str
    hash: bytes
    name: str
    scopes: tuple[str, ...]
    customers: tuple[str, ...] | None
    """The only ones that it may name; None: any."""
    by: Act
    expires_at: datetime | None
    request_id: str
    fingerprint: bytes


class StoredKey(NamedTuple):
    """A key as it stands in the database."""

    key_id: str
    hash: bytes
    name: str
    scopes: tuple[str, ...]
    customers: tuple[str, ...] | None
    """The only ones that it may name; None: any."""
    created_by: str
    """The name of the key, which another may have too; without a key it says how."""
    created_by_key_id: str
    """Empty: with no key."""
    created_at: datetime
    expires_at: datetime | None
    """None: never."""
    revoked_at: datetime | None
    revoked_by: str | None
    revoked_by_key_id: str | None
    replaced_by: str | None
    """The id of the key that a rotation has made in its place."""
    last_used_on: date | None
    """A day of UTC, as of the last look of whoever was called with it."""
    request_id: str
    fingerprint: bytes
    number: int
    """Rises with every key."""
    generation: int
    """Rises with every change of any key, but for the day of its last use."""


class Made(NamedTuple):
    """What came of a draft."""

    key: StoredKey
    repeated: bool
    """The same request had made it before: what is stored is of the secret that was shown then."""


class Rotated(NamedTuple):
    """What came of a rotation."""

    key: StoredKey
    first: StoredKey
    """The one that it replaces."""
    repeated: bool


class UnknownKeyError(RequestError, LookupError):
    """There is no key of this id."""


class UnknownCustomerError(RequestError, LookupError):
    """A key is to be bound to a customer that does not exist; its id."""


class RequestReusedError(RequestError):
    """Another request has made a key under this request id."""


class KeyEndedError(RequestError):
    """The key was revoked, has expired, or was rotated before."""

    def __init__(self, key: StoredKey) -> None:
        self.key = key
        super().__init__(key.key_id)


async def make_key(pool: Pool, draft: NewKey) -> Made:
    """Makes a key, once however often it is asked for. Raises RequestReusedError, UnknownCustomerError."""
    async with pool.acquire() as connection, connection.transaction():
        generation, now = await _lock(connection)
        before = await _of_request(connection, draft.request_id, draft.fingerprint)
        if before is not None:
            return Made(before, repeated=True)
        unknown = await connection.fetchval(UNKNOWN_CUSTOMER, draft.customers or ())
        if unknown is not None:
            raise UnknownCustomerError(unknown)
        made = await _store(connection, draft, now, generation + 1)
        await connection.execute(ADVANCE, made.generation)
        resource = resource_of(made.key_id)
        await note(connection, draft.by, resource, None, _image(made), request_id=made.request_id)
    return Made(made, repeated=False)


async def rotate_key(
    pool: Pool,
    key_id: str,
    request_id: str,
    fingerprint: bytes,
    overlap: timedelta,
    draft: Callable[[StoredKey, datetime], NewKey],
) -> Rotated:
    """Makes a key in the place of another, which ends after the overlap at the latest.

    `draft` says what the second is to be, given the first and the database's time. Raises UnknownKeyError,
    KeyEndedError, and RequestReusedError.
    """
    async with pool.acquire() as connection, connection.transaction():
        generation, now = await _lock(connection)
        first = await _find(connection, key_id)
        before = await _of_request(connection, request_id, fingerprint)
        if before is not None:
            return Rotated(before, first, repeated=True)
        if has_ended(first, now) or first.replaced_by is not None:
            raise KeyEndedError(first)
        second = draft(first, now)
        made = await _store(connection, second, now, generation + 1)
        [record] = await connection.fetch(REPLACE, key_id, made.key_id, now + overlap, generation + 2)
        await connection.execute(ADVANCE, generation + 2)
        ended = _key(record)
        after = {**_image(ended), "successor": _image(made)}
        await note(connection, second.by, resource_of(key_id), _image(first), after, request_id=request_id)
    return Rotated(made, ended, repeated=False)


async def revoke_key(pool: Pool, key_id: str, by: Act) -> StoredKey:
    """Ends a key at once; one that was revoked before stands as it is. Raises UnknownKeyError."""
    async with pool.acquire() as connection, connection.transaction():
        generation, _ = await _lock(connection)
        key = await _find(connection, key_id)
        if key.revoked_at is not None:
            return key
        [record] = await connection.fetch(REVOKE, key_id, by.name, by.key_id, generation + 1)
        await connection.execute(ADVANCE, generation + 1)
        revoked = _key(record)
        await note(connection, by, resource_of(key_id), _image(key), _image(revoked))
    return revoked


def resource_of(key_id: str) -> str:
    """What an act on a key concerns, in the audit."""
    return f"keys/{key_id}"


def has_ended(key: StoredKey, now: datetime) -> bool:
    """Whether a key was revoked, or has expired."""
    return key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now)


async def list_keys(pool: Pool, before: int, limit: int) -> tuple[list[StoredKey], bool]:
    """Keys, the newest first, those whose number is below `before`; and whether there are more."""
    return page_of(await pool.fetch(LIST, before, limit), limit, _key)


async def key_generation(pool: Pool) -> int:
    """How many changes of keys there have been."""
    return int(await pool.fetchval(GENERATION))


async def keys_since(pool: Pool, generation: int) -> list[StoredKey]:
    """Keys that were made or changed after a generation, as they stand, in order."""
    return [_key(record) for record in await pool.fetch(SINCE, generation)]


async def note_uses(pool: Pool, key_ids: Collection[str], day: date) -> None:
    """Notes that keys were used on a day. That is no change that processes look for."""
    await pool.execute(USED, list(key_ids), day)


async def _lock(connection: PooledConnection) -> tuple[int, datetime]:
    """The generation, which nobody else advances before the transaction ends, and the database's time."""
    generation = await connection.fetchval(LOCK)
    return generation, await connection.fetchval("SELECT clock_timestamp()")


async def _of_request(connection: PooledConnection, request_id: str, fingerprint: bytes) -> StoredKey | None:
    record = await connection.fetchrow(OF_REQUEST, request_id)
    if record is None:
        return None
    key = _key(record)
    if key.fingerprint != fingerprint:
        raise RequestReusedError(request_id)
    return key


async def _find(connection: PooledConnection, key_id: str) -> StoredKey:
    record = await connection.fetchrow(FIND, key_id)
    if record is None:
        raise UnknownKeyError(key_id)
    return _key(record)


async def _store(connection: PooledConnection, draft: NewKey, now: datetime, generation: int) -> StoredKey:
    made = StoredKey(
        key_id=draft.key_id,
        hash=draft.hash,
        name=draft.name,
        scopes=draft.scopes,
        customers=draft.customers,
        created_by=draft.by.name,
        created_by_key_id=draft.by.key_id,
        created_at=now,
        expires_at=draft.expires_at,
        revoked_at=None,
        revoked_by=None,
        revoked_by_key_id=None,
        replaced_by=None,
        last_used_on=None,
        request_id=draft.request_id,
        fingerprint=draft.fingerprint,
        number=generation,
        generation=generation,
    )
    await connection.execute(STORE, *made)
    return made


def _image(key: StoredKey) -> Image:
    """A key, in the audit: what it may do, and until when; not its hash."""
    return {
        "key_id": key.key_id,
        "name": key.name,
        "scopes": key.scopes,
        "customer_ids": key.customers,
        "created_by": key.created_by,
        "created_by_key_id": key.created_by_key_id,
        "created_at": instant(key.created_at),
        "expires_at": instant(key.expires_at),
        "revoked_at": instant(key.revoked_at),
        "revoked_by": key.revoked_by,
        "revoked_by_key_id": key.revoked_by_key_id,
        "replaced_by": key.replaced_by,
    }


def _key(record: Iterable[Any]) -> StoredKey:
    made = StoredKey(*record)
    customers = tuple(made.customers) if made.customers is not None else None
    return made._replace(scopes=tuple(made.scopes), customers=customers)
