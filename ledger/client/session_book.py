"""What a session knows of its credits: by the last answer, and by what is not answered yet.

Nothing here waits or sends: answers and instants (of a clock that never goes back, in seconds) come as
arguments.

**What is not committed yet** is estimated at a rate for each kind and name of usage: what the estimate was
quoted at (where it is of one kind and name), then what the last charge with such usage was. Usage of which
no rate is known yet counts nothing, and is sent at once, which tells it.

**More is asked for** when what is left of the hold is less than the largest part that was charged so far,
or than a tenth of the estimate: the next part may not fit. Then the hold is filled up to the estimate, or
to two such parts if that is more. More time is asked for when half of what there is has passed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from math import inf
from typing import Final, NamedTuple

from ledger.client.answers.charges import Charge, ChargeLine, Reservation
from ledger.client.errors import BudgetExceeded, InsufficientCredits
from ledger.v1.usage_pb2 import ComputeUsage, TokenUsage, UsageItem

_TOKENS: Final = tuple(
    each.name for each in TokenUsage.DESCRIPTOR.fields if each.number >= TokenUsage.INPUT_FIELD_NUMBER
)
"""The quantities of tokens."""
_NANOS: Final = 1_000_000_000
PAUSE_SECONDS: Final = 0.5
"""Between two extensions of a hold that cannot live much longer."""

Shortage = InsufficientCredits | BudgetExceeded
SHORT: Final = (InsufficientCredits, BudgetExceeded)
"""What a hold or its extension is refused for that could be smaller."""
Key = tuple[str, str]
"""A kind of usage, and a name: a model, a resource, a meter, an outcome."""


class Rate(NamedTuple):
    """What so much usage was charged, or quoted at."""

    micros: int
    amount: Fraction

    def of(self, amount: Fraction) -> int:
        """What so much would be charged, rounded up."""
        return -(-self.micros * amount // self.amount)


@dataclass(slots=True)
class UsedLine:
    """What a session has used of one thing, under the card's title for it."""

    title: str
    kind: str
    name: str
    quantities: dict[str, Decimal] = field(default_factory=dict)
    credits_micros: int = 0

    def add(self, line: ChargeLine) -> None:
        """Counts a line of a charge."""
        for name, quantity in line.quantities.items():
            self.quantities[name] = self.quantities.get(name, Decimal()) + quantity
        self.credits_micros += line.credits_micros


class SessionBook:
    """The figures of one session."""

    def __init__(self) -> None:
        self.charged_micros = 0
        self.uncollected_micros = 0
        self.lines: dict[tuple[str, str, str], UsedLine] = {}
        self.shortage: Shortage | None = None
        """Why no more is to be used."""
        self._estimate_micros = 0
        self._largest_micros = 0
        self._held_micros = 0
        self._available_micros = 0
        self._uncommitted_micros = 0
        self._rates: dict[Key, Rate] = {}
        self.extend_at = inf
        """When more time is to be asked for."""
        self._clock: tuple[datetime, float] | None = None

    # -- what answers say --------------------------------------------------------------------------

    def reserved(
        self, reservation: Reservation, items: Sequence[UsageItem], *, sent_at: float, answered_at: float
    ) -> None:
        """There is a hold, of an amount or of the price of these items."""
        self._estimate_micros = max(self._estimate_micros, reservation.held_micros)
        if reservation.created_at is not None:
            self._clock = reservation.created_at, answered_at
        amounts = _amounts(items)
        if len(amounts) == 1:
            ((key, amount),) = amounts.items()
            if amount and key not in self._rates:
                self._rates[key] = Rate(reservation.held_micros, amount)
        self.extended(reservation, sent_at=sent_at)

    def extended(self, reservation: Reservation, *, sent_at: float) -> None:
        """The hold has more credits, or more time, counted from when it was asked for."""
        then = self.at(sent_at)
        left = (reservation.expires_at - then).total_seconds() if then else 0.0
        self.extend_at = sent_at + max(left / 2, PAUSE_SECONDS)
        self._holds(reservation)

    def charged(self, charge: Charge, items: Sequence[UsageItem]) -> None:
        """Items were charged."""
        self.charged_micros += charge.charged_micros
        self.uncollected_micros += charge.uncollected_micros
        self._largest_micros = max(self._largest_micros, charge.charged_micros)
        for line in charge.lines:
            key = (line.title, line.kind, line.name)
            self.lines.setdefault(key, UsedLine(*key)).add(line)
        self._learn(charge.lines, items)
        if charge.uncollected_micros:
            self.shortage = self.shortage or _uncollected(charge)
        if charge.reservation is not None:
            self._holds(charge.reservation)
        elif charge.written is not None:
            self._available_micros = charge.written.balance.available_micros

    def lost(self) -> None:
        """There is no hold any more."""
        self._held_micros, self.extend_at = 0, inf

    def answered(self, estimated_micros: int) -> None:
        """Items that were estimated at so much are charged, or refused for good."""
        self._uncommitted_micros -= estimated_micros

    def _learn(self, lines: Iterable[ChargeLine], items: Sequence[UsageItem]) -> None:
        micros: dict[Key, int] = {}
        for line in lines:
            micros[line.kind, line.name] = micros.get((line.kind, line.name), 0) + line.credits_micros
        self._rates.update(
            (key, Rate(micros[key], amount))
            for key, amount in _amounts(items).items()
            if amount and key in micros
        )

    def _holds(self, reservation: Reservation) -> None:
        self._held_micros = reservation.held_micros
        if reservation.written is not None:
            self._available_micros = reservation.written.balance.available_micros

    # -- what was added ----------------------------------------------------------------------------

    def added(self, items: Iterable[UsageItem]) -> int:
        """Counts items that are not committed yet, and returns what they are estimated at, in micros."""
        micros = sum(self.estimate(item) or 0 for item in items)
        self._uncommitted_micros += micros
        return micros

    def estimate(self, item: UsageItem) -> int | None:
        """What an item would be charged, in micro-credits; None while no rate for it is known."""
        key, amount = measure(item)
        if not amount:
            return 0
        rate = self._rates.get(key)
        return None if rate is None else rate.of(amount)

    # -- what follows ------------------------------------------------------------------------------

    @property
    def held_micros(self) -> int:
        """What the hold has left for usage that is not added yet; never negative."""
        return max(0, self._held_micros - self._uncommitted_micros)

    @property
    def remaining_micros(self) -> int:
        """What the last answer said is held and available, less what is not committed yet; never negative."""
        return max(0, self._held_micros + self._available_micros - self._uncommitted_micros)

    @property
    def wanted_micros(self) -> int:
        """What the session is to hold."""
        return max(self._estimate_micros, 2 * self._largest_micros)

    def extension_micros(self) -> int:
        """How much more is to be held now; 0 while what there is lasts for the next part."""
        low = max(self._largest_micros, self._estimate_micros // 10)
        if self.shortage is not None or self.held_micros >= low:
            return 0
        return self.wanted_micros - self.held_micros

    def at(self, now: float) -> datetime | None:
        """The service's time, never ahead of it; None before its first answer."""
        if self._clock is None:
            return None
        clock, answered_at = self._clock
        return clock + timedelta(seconds=now - answered_at)


def _uncollected(charge: Charge) -> InsufficientCredits:
    """What the ledger would have said before the usage that it could not collect."""
    priced_micros = charge.charged_micros + charge.uncollected_micros
    return InsufficientCredits(
        "The customer had fewer credits than what was used.",
        metadata={
            "available_micros": str(charge.charged_micros),
            "required_micros": str(priced_micros),
            "short_micros": str(charge.uncollected_micros),
        },
    )


def _amounts(items: Iterable[UsageItem]) -> dict[Key, Fraction]:
    amounts: dict[Key, Fraction] = {}
    for item in items:
        key, amount = measure(item)
        amounts[key] = amounts.get(key, Fraction()) + amount
    return amounts


def measure(item: UsageItem) -> tuple[Key, Fraction]:
    """What kind of usage an item is, and how much: tokens of all kinds, seconds, units, outcomes."""
    kind = item.WhichOneof("kind")
    if kind == "tokens":
        return (kind, item.tokens.model), Fraction(sum(getattr(item.tokens, each) for each in _TOKENS))
    if kind == "compute":
        return (kind, item.compute.resource), _seconds(item.compute)
    if kind == "units":
        return (kind, item.units.meter), _decimal(item.units.quantity)
    count = item.outcome.count if item.outcome.HasField("count") else 1
    return ("outcome", item.outcome.name), Fraction(count)


def _seconds(compute: ComputeUsage) -> Fraction:
    seconds = compute.duration.seconds + Fraction(compute.duration.nanos, _NANOS)
    return seconds * (_decimal(compute.count) if compute.count else 1)


def _decimal(text: str) -> Fraction:
    """What a decimal says; 0 for what is none, which the service refuses."""
    try:
        return Fraction(Decimal(text))
    except (ArithmeticError, ValueError):
        return Fraction()
