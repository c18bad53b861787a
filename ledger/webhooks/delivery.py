"""Delivery of events: each endpoint by itself, so that a receiver that is slow or dead holds up nobody else.

Every replica runs one; an endpoint is leased to one of them at a time. Customers of an endpoint are delivered
side by side, the events of one customer one after the other: a later one waits until the earlier one is taken
or given up, about three days after it was first tried.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import partial
from random import random
from secrets import token_hex
from typing import TYPE_CHECKING, Final

import structlog

from ledger.clock import boot_seconds
from ledger.metrics.operations import OperationsMetrics
from ledger.rounds import rounds
from ledger.store.events.webhooks import (
    LeasedEndpoint,
    QueuedEvent,
    due_events,
    endpoints_with_work,
    hand_over,
    lease,
    settle,
)
from ledger.webhooks.sender import CONNECTIONS_MAX, Sender, authorities

if TYPE_CHECKING:
    from ledger.store.postgres.database import Pool

ROUND_SECONDS: Final = 10.0
"""After it no delivery begins: a round ends within this and an attempt, well within the lease."""

PAUSES: Final = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"""After each failed attempt, as Standard Webhooks suggests: 76 hours. After the last one an event is dead."""
JITTER: Final = 0.1
"""Of a pause, added at random: receivers that come back are not met by all at once."""

_log = structlog.get_logger(__name__)


class WebhookDelivery:
    """One per process."""

    def __init__(
        self, writer: Pool, metrics: OperationsMetrics, look_seconds: float, *, private_allowed: bool
    ) -> None:
        self._writer = writer
        self._metrics = metrics
        self._look_seconds = look_seconds
        self._private_allowed = private_allowed
        self._holder = token_hex(8)
        self._at_work: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Delivers until cancelled; while the database is away the queues stand."""
        try:
            await rounds(self._begin, self._look_seconds, "webhooks.not_looked_at")
        finally:
            tasks = [*self._at_work.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _begin(self) -> bool:
        """Begins with the endpoints that have work, each in a task of its own, all that there are."""
        for endpoint_id in await endpoints_with_work(self._writer, self._holder):
            if endpoint_id not in self._at_work:
                task = asyncio.create_task(self._work_off(endpoint_id), name=f"webhooks of {endpoint_id}")
                self._at_work[endpoint_id] = task
                task.add_done_callback(partial(self._done, endpoint_id))
        return False

    def _done(self, endpoint_id: str, _: object) -> None:
        del self._at_work[endpoint_id]

    async def _work_off(self, endpoint_id: str) -> None:
        """Delivers to one endpoint, as long as there is something that may be taken."""
        try:
            leased = await lease(self._writer, endpoint_id, self._holder)
            verified_by = await asyncio.to_thread(authorities)
            while leased is not None:
                async with Sender(leased.url, verified_by, private_allowed=self._private_allowed) as sender:
                    leased = await self._rounds(endpoint_id, leased.url, sender)
        except Exception as error:  # noqa: BLE001 -- the next look begins anew
            _log.warning("webhooks.not_delivered", endpoint_id=endpoint_id, error=repr(error))

    async def _rounds(self, endpoint_id: str, url: str, sender: Sender) -> LeasedEndpoint | None:
        """Rounds to one URL, until the endpoint leads elsewhere; None: there is nothing more for now."""
        while True:
            there_is_more, dead = await hand_over(self._writer, endpoint_id)
            self._given_up(endpoint_id, dead)
            events = await due_events(self._writer, endpoint_id)
            # After them: what happens after a rotation is not signed by what was in force before.
            leased = await lease(self._writer, endpoint_id, self._holder)
            if leased is None or leased.url != url:
                return leased
            taken = await self._deliver(endpoint_id, leased, sender, events)
            if not taken and not there_is_more:
                return None

    async def _deliver(
        self, endpoint_id: str, leased: LeasedEndpoint, sender: Sender, events: Sequence[QueuedEvent]
    ) -> int:
        """Delivers events, and notes what came of it; says how many were taken."""
        attempts = _Round(leased, sender)
        await attempts.deliver(events)
        if not attempts.delivered and not attempts.failed:
            return 0
        await settle(self._writer, endpoint_id, attempts.delivered, attempts.failed, attempts.last_failure)
        dead = sum(pause is None for pause in attempts.failed.values())
        self._metrics.webhooks(len(attempts.delivered), len(attempts.failed) - dead, 0)
        self._given_up(endpoint_id, dead)
        return len(attempts.delivered)

    def _given_up(self, endpoint_id: str, events: int) -> None:
        """Counts and reports dead letters."""
        if events:
            self._metrics.webhooks(0, 0, events)
            _log.warning("webhooks.given_up", endpoint_id=endpoint_id, events=events)


class _Round:
    """What is delivered of one endpoint at a time."""

    def __init__(self, leased: LeasedEndpoint, sender: Sender) -> None:
        self._leased = leased
        self._sender = sender
        self._places = asyncio.Semaphore(CONNECTIONS_MAX)
        self._ends_at = boot_seconds() + ROUND_SECONDS
        self.delivered: list[int] = []
        self.failed: dict[int, timedelta | None] = {}
        self.last_failure = ""

    async def deliver(self, events: Iterable[QueuedEvent]) -> None:
        by_customer: defaultdict[int, list[QueuedEvent]] = defaultdict(list)
        for event in events:
            by_customer[event.customer].append(event)
        async with asyncio.TaskGroup() as customers:
            for own in by_customer.values():
                customers.create_task(self._deliver_in_order(own))

    async def _deliver_in_order(self, events: Sequence[QueuedEvent]) -> None:
        """Events of one customer, up to the first that is not taken."""
        async with self._places:
            for event in events:
                if boot_seconds() >= self._ends_at:
                    return
                failure = await self._sender.failure_of(event, self._leased.secrets)
                if failure:
                    self.failed[event.number] = pause_after(event.attempts)
                    self.last_failure = failure
                    return
                self.delivered.append(event.number)


def pause_after(attempts: int) -> timedelta | None:
    """How long to wait after another failed attempt, beside so many before it; None: it is given up."""
    return PAUSES[attempts] * (1 + JITTER * random()) if attempts < len(PAUSES) else None  # noqa: S311 -- no secret
