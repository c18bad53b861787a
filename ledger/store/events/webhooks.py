"""Endpoints of webhooks, and the queue of each: what is to be delivered, in the customers' order.

An endpoint has a cursor of its own over all events, and a queue of bounded length behind it: a receiver that
is dead keeps nobody else's events waiting. It is leased to one process at a time. What was delivered leaves
the queue after the receiver has taken it: after a crash in between it is delivered again.

Secrets stand in the table as they are, for they sign; only the writer's role may read it. The pool to use is
the writer's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ledger.errors import RequestError
from ledger.store.audit import instant, note
from ledger.store.statements import statements_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import asyncpg

    from ledger.store.audit import Act, Image
    from ledger.store.postgres.database import Pool, PooledConnection

ENDPOINTS_MAX: Final = 100
"""Each is looked at every second, and may have calls on their way."""
QUEUE_MAX: Final = 10_000
"""Waiting events of one endpoint; the next stay in the outbox until these are delivered or dead."""
REFUSED_SHARE: Final = 100
"""Of these, those of one customer whose events the receiver refuses: they wait for days, and must not keep
others' out. It takes a hundred such customers to fill a queue."""
REFUSED_MAX: Final = 1_000
REFUSED_ATTEMPTS: Final = 5
"""Once so many of such a customer wait, and one of them was tried so often, which takes hours, its next ones
are given up at once: else the queue would grow for as long as they are refused."""
ENQUEUED_MAX: Final = 1_000
"""Events that are looked at for an endpoint at a time."""
DUE_MAX: Final = 500
"""Events that are read to be delivered: each is some hundred bytes."""
LEASE: Final = timedelta(seconds=60)
"""Longer than a round takes: then another process may deliver."""

_SQL: Final = statements_of(__name__)


class WebhookTarget(NamedTuple):
    """What whoever makes or changes an endpoint says of it."""

    url: str
    description: str
    types: tuple[str, ...]
    """None: all that customers may see."""
    customers: tuple[str, ...]
    """Ids; none: all customers."""


class StoredEndpoint(NamedTuple):
    """An endpoint, without its secrets."""

    endpoint_id: str
    url: str
    description: str
    types: tuple[str, ...]
    customers: tuple[str, ...]
    created_at: datetime
    previous_until: datetime | None
    """Until when the secret before the last rotation signs too."""
    request_id: str
    fingerprint: bytes
    rotated_by: str | None
    last_failure: str
    last_failed_at: datetime | None
    deleted_at: datetime | None

    @property
    def target(self) -> WebhookTarget:
        return WebhookTarget(self.url, self.description, self.types, self.customers)


class ListedEndpoint(NamedTuple):
    """An endpoint, and how its queue stands."""

    endpoint: StoredEndpoint
    waiting: int
    dead: int


@dataclass(frozen=True, slots=True)
class WebhookSecret:
    """What signs, without its text where it might come to stand in a log."""

    key: bytes = field(repr=False)


class MadeEndpoint(NamedTuple):
    """An endpoint, and its new secret; None: an earlier request of the same id was shown it."""

    endpoint: StoredEndpoint
    secret: WebhookSecret | None


class LeasedEndpoint(NamedTuple):
    """Where to deliver, and by which secrets: the newest first."""

    url: str
    secrets: tuple[WebhookSecret, ...]


class QueuedEvent(NamedTuple):
    """An event that is due to be delivered."""

    number: int
    customer: int
    attempts: int
    event_id: str
    customer_id: str
    customer_number: int
    type: str
    at: datetime
    data: str
    """A JSON object."""


class HandedOver(NamedTuple):
    """What came of handing new events to a queue."""

    there_is_more: bool
    """Maybe: something was handed over."""
    dead: int
    """Events that were given up at once."""


class UnknownWebhookError(RequestError, LookupError):
    """There is no endpoint of this id."""


class TooManyWebhooksError(RequestError):
    """There are `ENDPOINTS_MAX` endpoints."""


class WebhookRequestReusedError(RequestError):
    """Another request has made an endpoint under this request id."""


async def add_endpoint(
    pool: Pool, target: WebhookTarget, request_id: str, fingerprint: bytes, by: Act
) -> MadeEndpoint:
    """Makes an endpoint for what happens from now on, once however often it is asked for.

    Raises WebhookRequestReusedError, TooManyWebhooksError.
    """
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(_SQL["exclude_others"])
        before = await connection.fetchrow(_SQL["of_request"], request_id)
        if before is not None:
            made = _endpoint(before)
            if made.fingerprint != fingerprint:
                raise WebhookRequestReusedError(request_id)
            return MadeEndpoint(made, None)
        if await connection.fetchval(_SQL["count"]) >= ENDPOINTS_MAX:
            raise TooManyWebhooksError
        [record] = await connection.fetch(_SQL["add"], *_bound(target), request_id, fingerprint)
        made = _endpoint(record)
        await note(connection, by, resource_of(made), None, _image(made), request_id=request_id)
    return MadeEndpoint(made, WebhookSecret(record["secret"]))


async def change_endpoint(
    pool: Pool, endpoint_id: str, changes: Mapping[str, Any], by: Act
) -> StoredEndpoint:
    """Changes the named fields of a `WebhookTarget`. Raises UnknownWebhookError."""
    async with pool.acquire() as connection, connection.transaction():
        before = await _find(connection, endpoint_id)
        target = before.target._replace(**changes)
        if target == before.target:
            return before
        [record] = await connection.fetch(_SQL["change"], endpoint_id, *_bound(target))
        after = _endpoint(record)
        await note(connection, by, resource_of(after), _image(before), _image(after))
    return after


async def rotate_secret(
    pool: Pool, endpoint_id: str, request_id: str, overlap: timedelta, by: Act
) -> MadeEndpoint:
    """Draws another secret; the one before signs beside it for the overlap. Raises UnknownWebhookError."""
    async with pool.acquire() as connection, connection.transaction():
        before = await _find(connection, endpoint_id)
        if before.rotated_by == request_id:
            return MadeEndpoint(before, None)
        [record] = await connection.fetch(_SQL["rotate"], endpoint_id, request_id, overlap)
        after = _endpoint(record)
        await note(connection, by, resource_of(after), _image(before), _image(after), request_id=request_id)
    return MadeEndpoint(after, WebhookSecret(record["secret"]))


async def remove_endpoint(pool: Pool, endpoint_id: str, by: Act) -> None:
    """Ends an endpoint, with its queue and its secrets, once. Raises UnknownWebhookError."""
    async with pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(_SQL["find"], endpoint_id)
        if row is None:
            raise UnknownWebhookError(endpoint_id)
        before = _endpoint(row)
        if before.deleted_at is not None:
            return
        await connection.execute(_SQL["remove"], endpoint_id)
        await connection.execute(_SQL["empty_queue"], endpoint_id)
        await note(connection, by, resource_of(before), _image(before), {"is_deleted": True})


async def list_endpoints(pool: Pool) -> list[ListedEndpoint]:
    """All endpoints, the oldest first."""
    return [
        ListedEndpoint(_endpoint(row), row["waiting"], row["dead"])
        for row in await pool.fetch(_SQL["listed"])
    ]


async def with_queue(pool: Pool, endpoint: StoredEndpoint) -> ListedEndpoint:
    """An endpoint, with how its queue stands now."""
    [row] = await pool.fetch(_SQL["queue"], endpoint.endpoint_id)
    return ListedEndpoint(endpoint, row["waiting"], row["dead"])


async def replay(pool: Pool, endpoint_id: str, since: datetime | None, by: Act) -> int:
    """Puts dead letters back into the queue, or (`since`) all events from an instant on; says how many.

    Raises UnknownWebhookError.
    """
    async with pool.acquire() as connection, connection.transaction():
        endpoint = await _find(connection, endpoint_id)
        if since is None:
            status = await connection.execute(_SQL["revive"], endpoint_id)
            events = int(status.rpartition(" ")[2])
        else:
            events = await connection.fetchval(_SQL["replay"], endpoint_id, since)
        if events:
            await note(
                connection, by, resource_of(endpoint), None, {"events": events, "since": instant(since)}
            )
    return events


def resource_of(endpoint: StoredEndpoint) -> str:
    """What an act on an endpoint concerns, in the audit."""
    return f"webhooks/{endpoint.endpoint_id}"


async def endpoints_with_work(pool: Pool, holder: str) -> list[str]:
    """Ids of those for which something is due or new, and that no other process is at."""
    return [row["endpoint_id"] for row in await pool.fetch(_SQL["with_work"], holder)]


async def lease(pool: Pool, endpoint_id: str, holder: str) -> LeasedEndpoint | None:
    """Takes an endpoint, or keeps it; None: another process has it, or it is gone."""
    row = await pool.fetchrow(_SQL["lease"], endpoint_id, holder, LEASE)
    if row is None:
        return None
    secrets = (row["secret"], row["previous_secret"])
    return LeasedEndpoint(row["url"], tuple(WebhookSecret(each) for each in secrets if each is not None))


async def hand_over(pool: Pool, endpoint_id: str) -> HandedOver:
    """Hands new events to the queue of an endpoint that is leased."""
    bounds = (ENQUEUED_MAX, QUEUE_MAX, REFUSED_SHARE, REFUSED_MAX, REFUSED_ATTEMPTS)
    dead = await pool.fetchval(_SQL["enqueue"], endpoint_id, *bounds)
    return HandedOver(dead is not None, dead or 0)


async def due_events(pool: Pool, endpoint_id: str) -> list[QueuedEvent]:
    """What is due of an endpoint, in order."""
    return [QueuedEvent(**row) for row in await pool.fetch(_SQL["due"], endpoint_id, DUE_MAX)]


async def settle(
    pool: Pool,
    endpoint_id: str,
    delivered: Sequence[int],
    failed: Mapping[int, timedelta | None],
    failure: str,
) -> None:
    """Notes what came of deliveries, some at least. `failed`: when to try each again; None: it is dead."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(_SQL["lock"], endpoint_id)
        if delivered:
            await connection.execute(_SQL["delivered"], endpoint_id, list(delivered))
        if failed:
            await connection.execute(_SQL["failed"], endpoint_id, [*failed], [*failed.values()])
            await connection.execute(_SQL["note_failure"], endpoint_id, failure)


async def _find(connection: PooledConnection, endpoint_id: str) -> StoredEndpoint:
    row = await connection.fetchrow(_SQL["find"], endpoint_id)
    if row is None or row["deleted_at"] is not None:
        raise UnknownWebhookError(endpoint_id)
    return _endpoint(row)


def _bound(target: WebhookTarget) -> tuple[str, str, list[str], list[str]]:
    return target.url, target.description, list(target.types), list(target.customers)


def _endpoint(row: asyncpg.Record) -> StoredEndpoint:
    fields = {name: row[name] for name in StoredEndpoint._fields}
    return StoredEndpoint(**{**fields, "types": tuple(row["types"]), "customers": tuple(row["customers"])})


def _image(endpoint: StoredEndpoint) -> Image:
    """An endpoint, in the audit: where it leads and what for; no secret."""
    return {
        "url": endpoint.url,
        "description": endpoint.description,
        "types": endpoint.types,
        "customer_ids": endpoint.customers,
        "previous_secret_until": instant(endpoint.previous_until),
    }
