"""The part of AdminService about webhooks: endpoints, their secrets, and replays.

A secret is shown once, in the answer that drew it. A repeat of the request cannot show it: whoever lost the
answer rotates it.
"""
# ruff: noqa: N802, ARG002 -- the names and arguments of the methods are gRPC's

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.api.back_office.audit import act_of
from ledger.api.errors import refused
from ledger.api.messages import encode, events, limits, validation
from ledger.api.messages.validation import Problems
from ledger.api.messages.write import fingerprint
from ledger.books.model.refusals import RefusalReason
from ledger.events.derive import EventType
from ledger.store.events import webhooks as store
from ledger.store.events.webhooks import MadeEndpoint, StoredEndpoint, WebhookTarget
from ledger.store.postgres.database import Pool
from ledger.webhooks.addresses import AddressRefusedError, refuse_url, resolve
from ledger.webhooks.sender import shown

CHANGEABLE: Final = {
    "url": "url",
    "description": "description",
    "types": "types",
    "customer_ids": "customers",
}
"""What `update_mask` may name, and the field that it is."""


class WebhookMethods:
    """The methods of AdminService that concern webhooks."""

    _writer: Pool
    _clock: Callable[[], datetime]
    _webhooks_private: bool

    async def CreateWebhook(
        self, request: pb.CreateWebhookRequest, context: object
    ) -> pb.CreateWebhookResponse:
        """Makes an endpoint, and shows its secret."""
        problems = Problems()
        request_id = validation.identifier(problems, "request_id", request.request_id)
        target = _target(problems, "", request)
        await self._check_url(problems, "url", target.url)
        problems.raise_if_any()
        with _refusals(request_id=request_id):
            made = await store.add_endpoint(
                self._writer, target, request_id, fingerprint(request), act_of(request)
            )
        return pb.CreateWebhookResponse(
            webhook=await self._shown(made.endpoint), secret=_secret(made), replayed=made.secret is None
        )

    async def ListWebhooks(self, request: pb.ListWebhooksRequest, context: object) -> pb.ListWebhooksResponse:
        """All endpoints, the oldest first."""
        listed = await store.list_endpoints(self._writer)
        return pb.ListWebhooksResponse(webhooks=[_webhook(*each) for each in listed])

    async def UpdateWebhook(
        self, request: pb.UpdateWebhookRequest, context: object
    ) -> pb.UpdateWebhookResponse:
        """Changes where an endpoint leads, and what for."""
        problems = Problems()
        endpoint_id = validation.identifier(problems, "webhook.endpoint_id", request.webhook.endpoint_id)
        paths = set(request.update_mask.paths)
        if not paths or paths - CHANGEABLE.keys():
            problems.add("update_mask", f"name one or more of {', '.join(CHANGEABLE)}, and nothing else")
        target = _target(problems, "webhook.", request.webhook)
        if "url" in paths:
            await self._check_url(problems, "webhook.url", target.url)
        problems.raise_if_any()
        changes: dict[str, Any] = {CHANGEABLE[path]: getattr(target, CHANGEABLE[path]) for path in paths}
        with _refusals(endpoint_id=endpoint_id):
            changed = await store.change_endpoint(self._writer, endpoint_id, changes, act_of(request))
        return pb.UpdateWebhookResponse(webhook=await self._shown(changed))

    async def DeleteWebhook(
        self, request: pb.DeleteWebhookRequest, context: object
    ) -> pb.DeleteWebhookResponse:
        """Ends an endpoint."""
        problems = Problems()
        endpoint_id = validation.identifier(problems, "endpoint_id", request.endpoint_id)
        problems.raise_if_any()
        with _refusals(endpoint_id=endpoint_id):
            await store.remove_endpoint(self._writer, endpoint_id, act_of(request))
        return pb.DeleteWebhookResponse()

    async def RotateWebhookSecret(
        self, request: pb.RotateWebhookSecretRequest, context: object
    ) -> pb.RotateWebhookSecretResponse:
        """Draws another secret, and shows it."""
        problems = Problems()
        request_id = validation.identifier(problems, "request_id", request.request_id)
        endpoint_id = validation.identifier(problems, "endpoint_id", request.endpoint_id)
        stated = request.overlap if request.HasField("overlap") else None
        overlap = validation.overlap(problems, "overlap", stated)
        problems.raise_if_any()
        with _refusals(endpoint_id=endpoint_id):
            made = await store.rotate_secret(self._writer, endpoint_id, request_id, overlap, act_of(request))
        return pb.RotateWebhookSecretResponse(
            webhook=await self._shown(made.endpoint), secret=_secret(made), replayed=made.secret is None
        )

    async def ReplayEvents(self, request: pb.ReplayEventsRequest, context: object) -> pb.ReplayEventsResponse:
        """Delivers dead letters again, or all events since an instant."""
        problems = Problems()
        endpoint_id = validation.identifier(problems, "endpoint_id", request.endpoint_id)
        since = validation.instant(problems, "since", request.since) if request.HasField("since") else None
        problems.raise_if_any()
        with _refusals(endpoint_id=endpoint_id):
            replayed = await store.replay(self._writer, endpoint_id, since, act_of(request))
        return pb.ReplayEventsResponse(events=replayed)

    async def _shown(self, endpoint: StoredEndpoint) -> pb.Webhook:
        """An endpoint, with how its queue stands."""
        return _webhook(*await store.with_queue(self._writer, endpoint))

    async def _check_url(self, problems: Problems, path: str, url: str) -> None:
        """Notes what is wrong with a URL, or with where it leads to now."""
        try:
            host, port = refuse_url(url, private_allowed=self._webhooks_private)
            await resolve(host, port, private_allowed=self._webhooks_private)
        except AddressRefusedError as error:
            problems.add(path, str(error))


def _target(problems: Problems, within: str, stated: pb.CreateWebhookRequest | pb.Webhook) -> WebhookTarget:
    return WebhookTarget(
        url=stated.url,
        description=validation.text(
            problems, f"{within}description", stated.description, limits.DISPLAY_NAME_LENGTH_MAX
        ),
        types=events.types(problems, stated.types, frozenset(EventType), f"{within}types"),
        customers=_customers(problems, f"{within}customer_ids", stated.customer_ids),
    )


def _customers(problems: Problems, path: str, stated: Iterable[str]) -> tuple[str, ...]:
    customers = tuple(dict.fromkeys(stated))
    if len(customers) > limits.KEY_CUSTOMERS_MAX:
        allowed = f"at most {limits.KEY_CUSTOMERS_MAX} are allowed"
        problems.add(path, f"has {len(customers)} customers; {allowed}")
    for index, customer_id in enumerate(customers[: limits.KEY_CUSTOMERS_MAX]):
        validation.identifier(problems, f"{path}[{index}]", customer_id)
    return customers


def _secret(made: MadeEndpoint) -> str:
    return shown(made.secret) if made.secret is not None else ""


def _webhook(endpoint: StoredEndpoint, waiting: int, dead: int) -> pb.Webhook:
    return pb.Webhook(
        endpoint_id=endpoint.endpoint_id,
        url=endpoint.url,
        description=endpoint.description,
        types=endpoint.types,
        customer_ids=endpoint.customers,
        created_at=encode.timestamp(endpoint.created_at),
        previous_secret_until=encode.timestamp(endpoint.previous_until),
        waiting_events=waiting,
        dead_events=dead,
        last_failure=endpoint.last_failure,
        last_failed_at=encode.timestamp(endpoint.last_failed_at),
    )


@contextmanager
def _refusals(*, endpoint_id: str = "", request_id: str = "") -> Iterator[None]:
    """Tells what the store refuses."""
    try:
        yield
    except store.UnknownWebhookError:
        raise refused(RefusalReason.WEBHOOK_NOT_FOUND, endpoint_id=endpoint_id) from None
    except store.TooManyWebhooksError:
        most = str(store.ENDPOINTS_MAX)
        raise refused(RefusalReason.TOO_MANY_WEBHOOKS, endpoints_max=most) from None
    except store.WebhookRequestReusedError:
        raise refused(RefusalReason.REQUEST_ID_REUSED, request_id=request_id) from None
