"""Every limit of the engine, with its reason. One object has them all: it is made once, and handed down.

Nobody sets them; they are arguments so that a test may ask what happens at one without a day's work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple


class Urgency(Enum):
    """How late a request is refused; each with the word that metrics have for it."""

    NEW_WORK = "new_work"
    """Work that has not begun: holds, and what asks for a price of it."""
    ANY_TIME = "any_time"
    """Reads, and changes that somebody decides: the same a little later."""
    DONE_WORK = "done_work"
    """What has happened already: usage to be charged, holds to be given back, grants that are paid."""

    __hash__ = object.__hash__
    """Every call is looked up by it, and Enum's own is Python."""


class Bound(NamedTuple):
    """Past either, requests of one urgency are refused."""

    age_seconds: float
    """Of the oldest command in the line."""
    commands: int
    """In the line, beside it, and in batches that have not come to them yet."""


BOUNDS: Final[Mapping[Urgency, Bound]] = {
    Urgency.NEW_WORK: Bound(1.0, 3_000),
    Urgency.ANY_TIME: Bound(1.25, 4_500),
    Urgency.DONE_WORK: Bound(1.75, 6_000),
}
"""What is admitted shortly before a bound has its answer within 2 s. The numbers are what a process does, in
batches, in half a second and in one, where it is fast: they hold back what comes at once, before anything is
old."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """Of one process."""

    bounds: Mapping[Urgency, Bound] = field(default_factory=lambda: BOUNDS)
    """Of the commands that have no answer yet."""

    gather_seconds: float = 0.05
    """How long a statement waits for a batch that is being begun at most: some hundred commands are decided
    in that time. Whoever shares it waits as long."""

    patience_seconds: float = 10.0
    """How long a command is retried inside before it is answered UNAVAILABLE."""

    wallets_max: int = 10_000
    """Customers of a cell in memory; idle ones leave it first."""

    in_use_max: int = 20_000
    """Reservations and states of one customer in memory; past it they go, and those in use are loaded again.

    What waits at once may need more: then there is room for twice as much as was loaded.
    """

    load_customers_max: int = 500
    """Customers in one load."""

    load_states_max: int = 2_000
    """States of prices, and counters of budgets, that one load looks for of a customer's commands, but for a
    command that has more by itself: some 30 ms to name them."""

    round_customers_max: int = 100
    """Customers in one round under the lock."""

    round_work_max: int = 1_000
    """Lines decided in one round under the lock, but for a command that has more: wallets stay locked."""

    batch_commands_max: int = 2_000
    """Commands in one statement; what arrives beyond it forms the next."""

    batch_work_max: int = 5_000
    """Lines, and counters of budgets, in one statement, but for a command that has more by itself: some
    tenth of a second."""

    sweep_seconds: float = 0.5
    """Between two sweeps: half of the second within which what is due is written."""

    swept_max: int = 250
    """Customers woken in one sweep, and so in one load: of each, hundreds of holds may have expired. The next
    sweep follows at once while there are more."""

    due_max: int = 4_000
    """Customers, those due for longest, of whom a sweep takes some at random if there are more than it takes.
    Each server of a cell sweeps: were they to take the same ones, all but one would have done it for nothing.
    """

    swept_counters_max: int = 1_000
    """Counters of budgets that one sweep takes away: some tens of milliseconds. Two million of an hour's
    windows are gone in some minutes."""

    due_wait_seconds: float = 1.0
    """Until the database's clock, as this server knows it, shows an instant that the database has written:
    more than it is off, unless somebody has set that clock."""

    sweep_patience_seconds: float = 15.0
    """For the customers of one sweep, longer than a command is retried: one that takes longer holds up no
    other."""


ENGINE_LIMITS: Final = EngineLimits()
