"""Usage: facts about work done, in quantities that never overlap.

A cached token is not also an input token, a reasoning token not also an output token, so nothing can be
priced twice. Zero is allowed and costs nothing; negative is not. Who makes an item has validated it: the
limits stand beside each field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from pricing.exact import BILLION

INPUT_QUANTITIES = ("input", "cache_read", "cache_write", "cache_write_1h", "input_audio", "input_image")
OUTPUT_QUANTITIES = ("output", "reasoning", "output_audio", "output_image")
TOKEN_QUANTITIES = INPUT_QUANTITIES + OUTPUT_QUANTITIES
"""The keys of `Tokens.quantities`."""
REQUESTS = "requests"
RATED_QUANTITIES = (*TOKEN_QUANTITIES, REQUESTS)
"""The quantities of a tokens item that may have a rate."""

CACHE = "cache"
"""What `served_by` says when nothing ran: an answer came from our cache."""


class KeyOwner(StrEnum):
    """Whose contract with the provider paid for the tokens."""

    __hash__ = str.__hash__  # that of enumerations is Python, and slow
    OURS = "OURS"
    CUSTOMER = "CUSTOMER"


OURS = KeyOwner.OURS
"""The usual one. A member by way of its class takes 0.08 us to look up."""


class Result(StrEnum):
    """How a piece of work ended."""

    __hash__ = str.__hash__  # that of enumerations is Python, and slow
    RESOLVED = "RESOLVED"
    FAILED = "FAILED"
    ESCALATED = "ESCALATED"
    ABANDONED = "ABANDONED"


class Tokens(NamedTuple):
    """Tokens of a model, of one request or the sum over several."""

    model: str
    """What was asked for, as provider/name."""
    quantities: Mapping[str, int]
    """By a key of `TOKEN_QUANTITIES`; each 0 to 10**15."""
    served_by: str | None = None
    """What really ran, as provider/name, or `cache`; None: the model."""
    key_owner: KeyOwner = OURS
    service_tier: str = ""
    """The provider's tier of service (batch, flex, priority); empty: the standard one."""
    requests: int = 1
    """Requests that these tokens are the sum of; 0 to 10**15."""
    occurred_at: datetime | None = None

    @property
    def ran(self) -> str:
        """What really ran."""
        return self.served_by or self.model


class Compute(NamedTuple):
    """Time of a machine."""

    resource: str
    duration_nanos: int
    """0 or more."""
    count_nanos: int = BILLION
    """How many at once, in billionths: half a GPU is 500,000,000."""
    served_by: str | None = None
    """The resource that really ran, or `cache`; None: the resource."""
    run_id: str | None = None
    """The run that a minimum, an increment and a maximum belong to; None: the reservation."""
    state: str = "active"
    started_at: datetime | None = None
    """When the machine started, or was resized, to run as it did; None: not reported."""
    resized_from: str | None = None
    """The resource that it was until then; None: it was none, it started. Reported with `started_at` only."""
    occurred_at: datetime | None = None

    @property
    def ran(self) -> str:
        """What really ran."""
        return self.served_by or self.resource


class Units(NamedTuple):
    """A count of anything: searches, pages, gigabytes."""

    meter: str
    quantity_nanos: int
    """In billionths; 0 or more."""
    occurred_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of the work."""

    name: str
    result: Result
    subject: str = ""
    """What it is about: a conversation, a ticket."""
    count: int = 1
    """0 to 10**15."""
    occurred_at: datetime | None = None


Item = Tokens | Compute | Units | Outcome


def as_asked(item: Item) -> Item:
    """Usage as if what was asked for had served it."""
    return item._replace(served_by=None) if isinstance(item, (Tokens, Compute)) and item.served_by else item
