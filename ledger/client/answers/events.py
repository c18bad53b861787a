"""What happened to a customer's credits, in the order in which it happened."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from ledger.client.answers.fields import instant_of
from ledger.v1 import wallet_service_pb2 as wallet


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to a customer's credits."""

    event_id: str
    """The same in a webhook: whoever has met it before need do nothing."""
    number: int
    """1, 2, 3 … of the customer's, in the order in which they happened."""
    type: str
    """`credit.balance.low` and others (docs/events.md). There may be more one day: pass over them."""
    customer_id: str
    occurred_at: datetime
    data: Mapping[str, Any]
    """By the type. Amounts are micro-credits: integers, as texts."""


class EventPage(NamedTuple):
    """Some events."""

    events: tuple[Event, ...]
    cursor: str
    """Leads to what comes after them, now or later: whoever stores it misses none and meets none twice."""
    is_last: bool
    """There are no more for now."""


def event_page_of(answer: wallet.ListEventsResponse) -> EventPage:
    return EventPage(tuple(map(_event_of, answer.events)), answer.cursor, not answer.next_page_token)


def _event_of(event: wallet.Event) -> Event:
    return Event(
        event.event_id,
        event.number,
        event.type,
        event.customer_id,
        instant_of(event.occurred_at),
        json.loads(event.data),
    )
