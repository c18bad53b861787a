"""The part of AdminService about keys: make, list, revoke, rotate.

A key is shown once, in the answer that made it. So a repeat of the request, which finds the key made, cannot
show it: whoever lost the answer rotates the key, or revokes it and makes another.
"""
# ruff: noqa: N802, ARG002 -- the names and arguments of the methods are gRPC's

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from ledger.access import keys as rules
from ledger.access.keys import Key
from ledger.access.table import KeyTable
from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.api.back_office.audit import act_of
from ledger.api.errors import refused
from ledger.api.messages import encode, limits, paging, validation
from ledger.api.messages.validation import Problems
from ledger.api.messages.write import fingerprint
from ledger.books.model.refusals import RefusalReason
from ledger.store.access import keys as store
from ledger.store.access.keys import NewKey, StoredKey
from ledger.store.audit import Act
from ledger.store.postgres.database import Pool
from ledger.store.reading.reads import NEWEST, CustomerNotFoundError


class KeyMethods:
    """The methods of AdminService that concern keys."""

    _writer: Pool
    _clock: Callable[[], datetime]
    _keys: KeyTable

    async def CreateKey(self, request: pb.CreateKeyRequest, context: object) -> pb.CreateKeyResponse:
        """Makes a key, and shows it."""
        is_first = not self._keys.has_keys
        by, now = act_of(request), self._clock()
        response = await create_key(self._writer, request, by, now, is_first=is_first)
        await self._keys.changed()
        return response

    async def ListKeys(self, request: pb.ListKeysRequest, context: object) -> pb.ListKeysResponse:
        """Keys, the newest first."""
        problems = Problems()
        size = paging.page_size(problems, request)
        (before,) = paging.last_key(problems, request, (NEWEST,))
        problems.raise_if_any()
        found, there_is_more = await store.list_keys(self._writer, before, size)
        token = paging.token_below(request, found[-1].number if there_is_more else None)
        now = self._clock()
        return pb.ListKeysResponse(keys=[_shown(key, now) for key in found], next_page_token=token)

    async def RevokeKey(self, request: pb.RevokeKeyRequest, context: object) -> pb.RevokeKeyResponse:
        """Ends a key."""
        problems = Problems()
        key_id = validation.identifier(problems, "key_id", request.key_id)
        problems.raise_if_any()
        with _refusals():
            revoked = await store.revoke_key(self._writer, key_id, act_of(request))
        await self._keys.changed()
        return pb.RevokeKeyResponse(key=_shown(revoked, self._clock()))

    async def RotateKey(self, request: pb.RotateKeyRequest, context: object) -> pb.RotateKeyResponse:
        """Makes the successor of a key, and shows it."""
        problems = Problems()
        request_id = validation.identifier(problems, "request_id", request.request_id)
        key_id = validation.identifier(problems, "key_id", request.key_id)
        overlap = validation.overlap(
            problems, "overlap", request.overlap if request.HasField("overlap") else None
        )
        expires_at = _expires_at(problems, request)
        if expires_at is not None:
            problems.found += tuple(rules.passed(expires_at, self._clock()))
        problems.raise_if_any()
        key, by, asked = Key.draw(), act_of(request), fingerprint(request)

        def successor(first: StoredKey, now: datetime) -> NewKey:
            return NewKey(
                key_id=key.key_id,
                hash=key.hash,
                name=first.name,
                scopes=first.scopes,
                customers=first.customers,
                by=by,
                expires_at=expires_at or _as_long(first, now),
                request_id=request_id,
                fingerprint=asked,
            )

        with _refusals(request_id):
            made, first, repeated = await store.rotate_key(
                self._writer, key_id, request_id, asked, overlap, successor
            )
        await self._keys.changed()
        secret = "" if repeated else key.text
        now = self._clock()
        return pb.RotateKeyResponse(
            key=_shown(made, now), secret=secret, replaced=_shown(first, now), replayed=repeated
        )


async def create_key(
    pool: Pool, request: pb.CreateKeyRequest, by: Act, now: datetime, *, is_first: bool
) -> pb.CreateKeyResponse:
    """Makes a key; `is_first`: there is none.

    Raises InvalidArgumentError, CustomerNotFoundError, and StatusError for a refusal.
    """
    key = Key.draw()
    draft = _draft(request, key, by, now, is_first=is_first)
    with _refusals(draft.request_id):
        made, repeated = await store.make_key(pool, draft)
    return pb.CreateKeyResponse(key=_shown(made, now), secret="" if repeated else key.text, replayed=repeated)


def _draft(request: pb.CreateKeyRequest, key: Key, by: Act, now: datetime, *, is_first: bool) -> NewKey:
    problems = Problems()
    scopes = tuple(dict.fromkeys(request.scopes))
    customers = tuple(dict.fromkeys(request.customer_ids))
    draft = NewKey(
        key_id=key.key_id,
        hash=key.hash,
        name=validation.identifier(problems, "name", request.name),
        scopes=scopes,
        customers=_customers(problems, customers) or None,
        by=by,
        expires_at=_expires_at(problems, request),
        request_id=validation.identifier(problems, "request_id", request.request_id),
        fingerprint=fingerprint(request),
    )
    problems.found += tuple(rules.problems(scopes, customers, draft.expires_at, now, is_first=is_first))
    problems.raise_if_any()
    return draft


def _customers(problems: Problems, customers: tuple[str, ...]) -> tuple[str, ...]:
    if len(customers) > limits.KEY_CUSTOMERS_MAX:
        allowed = f"at most {limits.KEY_CUSTOMERS_MAX} are allowed"
        problems.add("customer_ids", f"has {len(customers)} customers; {allowed}")
    for index, customer_id in enumerate(customers[: limits.KEY_CUSTOMERS_MAX]):
        validation.identifier(problems, f"customer_ids[{index}]", customer_id)
    return customers


def _shown(key: StoredKey, now: datetime) -> pb.Key:
    return pb.Key(
        key_id=key.key_id,
        name=key.name,
        scopes=key.scopes,
        customer_ids=key.customers or (),
        state=_state(key, now),
        created_by=key.created_by,
        created_by_key_id=key.created_by_key_id,
        created_at=encode.timestamp(key.created_at),
        expires_at=encode.timestamp(key.expires_at),
        revoked_at=encode.timestamp(key.revoked_at),
        revoked_by=key.revoked_by or "",
        revoked_by_key_id=key.revoked_by_key_id or "",
        replaced_by=key.replaced_by or "",
        last_used_day=key.last_used_on.isoformat() if key.last_used_on else "",
    )


def _state(key: StoredKey, now: datetime) -> pb.KeyState.ValueType:
    if key.revoked_at is not None:
        return pb.KEY_STATE_REVOKED
    return pb.KEY_STATE_EXPIRED if store.has_ended(key, now) else pb.KEY_STATE_ACTIVE


def _as_long(first: StoredKey, now: datetime) -> datetime | None:
    """When a key ends that lives as long as another was to live."""
    return now + (first.expires_at - first.created_at) if first.expires_at is not None else None


def _expires_at(problems: Problems, request: pb.CreateKeyRequest | pb.RotateKeyRequest) -> datetime | None:
    if not request.HasField("expires_at"):
        return None
    return validation.instant(problems, "expires_at", request.expires_at)


@contextmanager
def _refusals(request_id: str = "") -> Iterator[None]:
    """Tells what the store refuses."""
    try:
        yield
    except store.UnknownCustomerError as error:
        raise CustomerNotFoundError(str(error)) from None
    except store.UnknownKeyError as error:
        raise refused(RefusalReason.KEY_NOT_FOUND, key_id=str(error)) from None
    except store.KeyEndedError as error:
        successor = {"replaced_by": error.key.replaced_by} if error.key.replaced_by else {}
        raise refused(RefusalReason.KEY_ENDED, key_id=error.key.key_id, **successor) from None
    except store.RequestReusedError:
        raise refused(RefusalReason.REQUEST_ID_REUSED, request_id=request_id) from None
