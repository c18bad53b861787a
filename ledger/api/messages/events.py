"""Pages of events, oldest first, with a cursor that goes on after the last of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, NamedTuple

from ledger.admin.v1 import admin_service_pb2 as admin
from ledger.api.messages import encode, limits, paging
from ledger.api.messages.validation import Problems
from ledger.store.reading.event_list import StoredEvent
from ledger.v1 import wallet_service_pb2 as pb

_NUMBER_MAX: Final = 2**63 - 1

EventsRequest = pb.ListEventsRequest | admin.ListAllEventsRequest


class WantedEvents(NamedTuple):
    """Which events are asked for."""

    after: int
    """Past this number."""
    size: int
    types: tuple[str, ...]
    """None: of any."""


class EventPage(NamedTuple):
    """What both doors answer with."""

    events: list[pb.Event]
    next_page_token: str
    cursor: str


def wanted(problems: Problems, request: EventsRequest, allowed: Collection[str]) -> WantedEvents:
    """What a request asks for, of the types that its door knows."""
    # Keys of pages go down, numbers of events up.
    (left,) = paging.last_key(problems, request, (_NUMBER_MAX,))
    return WantedEvents(
        after=_NUMBER_MAX - left,
        size=paging.page_size(problems, request),
        types=types(problems, request.types, allowed),
    )


def types(
    problems: Problems, asked: Iterable[str], allowed: Collection[str], path: str = "types"
) -> tuple[str, ...]:
    """Types of events; another than these is most likely mistyped, and would wait for ever."""
    found = tuple(dict.fromkeys(asked))
    if len(found) > limits.EVENT_TYPES_MAX:
        problems.add(path, f"has {len(found)} types; at most {limits.EVENT_TYPES_MAX} are allowed")
        return ()
    for index, each in enumerate(found):
        if each not in allowed:
            problems.add(f"{path}[{index}]", f"is none of {', '.join(sorted(allowed))}")
    return found


def page(
    request: EventsRequest,
    rows: Sequence[StoredEvent],
    asked: WantedEvents,
    number: Callable[[StoredEvent], int],
) -> EventPage:
    """The page of rows, of which there may be one more than fit; `number` is what the cursor goes by."""
    shown = rows[: asked.size]
    last = number(shown[-1]) if shown else asked.after
    cursor = paging.next_page_token(request, (_NUMBER_MAX - last,))
    return EventPage([_event(row) for row in shown], cursor if len(rows) > len(shown) else "", cursor)


def _event(row: StoredEvent) -> pb.Event:
    return pb.Event(
        event_id=row.event_id,
        number=row.customer_number,
        type=row.type,
        customer_id=row.customer_id,
        occurred_at=encode.timestamp(row.at),
        data=row.data,
    )
