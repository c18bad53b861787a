"""Usage with its exact price and cost in the words of the books, and what prices remember of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from types import MappingProxyType
from typing import NamedTuple

from ledger.books.model.amounts import NO_AMOUNT, Ratio

UNSCALED = 1_000_000_000
"""A multiplier of 1, in billionths."""


class Terms(NamedTuple):
    """What a customer's prices rest on; a reservation pins them for its life."""

    card: str
    card_version: int
    """Number of the card's version. Never its hash: who knows an older document could guess what changed."""
    cost_version: int
    """Number of the cost book's version."""
    credit_price_nanousd: int
    """List price of one credit (1,000,000 micros)."""
    multiplier_nanos: int = UNSCALED
    """What the customer has negotiated: prices are multiplied by it, in billionths."""


class State(NamedTuple):
    """What prices remember under one key of the customer's: a run, a counter of a period, a mark.

    The text is pricing's, or the count of a budget's counter, whose window ends at `closes_at`. What the
    books know of a state is the surplus that is due when it closes, and what the lines that count in it have
    booked (secret, as revenue is).
    """

    text: str
    closes_at: datetime | None = None
    """When the surplus goes back to the customer, or is charged; None: never, or it was."""
    surplus_micros: int = 0
    """What was charged beyond what the usage amounts to, towards 0; below 0: what it amounts to beyond that.

    Where the period has closed: what could not go back, for refunds had left no more of it."""
    collected_micros: int = 0
    uncollected_micros: int = 0
    revenue_nanousd: int = 0
    terms: Terms | None = None
    """What its newest line rested on."""


STATELESS: Mapping[str, State] = MappingProxyType({})


class Effect(NamedTuple):
    """What a line added to a state: pricing's own text, by which a reversal takes it away again."""

    key: str
    text: str
    weight: int = 1
    """How much of the line's price was charged for it, beside the line's other effects."""


class Treatment(StrEnum):
    """How a line's usage is paid for."""

    CHARGED = "CHARGED"
    INCLUDED = "INCLUDED"
    """Free on this line, knowingly: another rule (an outcome, say) pays for it."""
    UNPRICED = "UNPRICED"


class PoolPart(NamedTuple):
    """What a line costs in lots of a pool, while they last."""

    pool: str
    exact_micros: Fraction


class PricedLine(NamedTuple):
    """One usage item with its exact price and cost. `public` may leave by a public door, `internal` never."""

    kind: str
    treatment: Treatment
    exact_micros: Ratio
    cost_exact_nanousd: Ratio
    public: Mapping[str, object]
    """title, kind, name (as asked for), quantities: JSON values."""
    internal: Mapping[str, object]
    """rule, rates, served_by, lever, list/asked/served cost, source of the cost: JSON values."""
    effects: tuple[Effect, ...] = ()
    """What it added to the states that prices remember."""
    saved_exact_nanousd: Ratio = NO_AMOUNT
    """What a lever saved of the cost of what was asked for, signed; on the customer's own key it did."""
    own_key_exact_nanousd: Ratio = NO_AMOUNT
    """What the customer paid the provider for it, on its own key."""
    pool: PoolPart | None = None
    """If it may draw on a pool; `exact_micros` is then what it costs where nothing of that is left."""


class Rounding(NamedTuple):
    """A card's quantum, and `half_even`, `half_up`, `up` or `down`."""

    quantum_micros: int = 1
    mode: str = "half_even"


class Priced(NamedTuple):
    """What pricing said of the usage of one command, in the books' own words."""

    lines: tuple[PricedLine, ...]
    rounding: Rounding
    has_outcome_rule: bool
    """The card prices outcomes: included usage waits for one."""
    outcome_charged: bool
    """One of the lines is an outcome that is charged for."""
    occurred_at: datetime | None
    """The latest instant that the usage states, if it states any."""
    states: Mapping[str, State] = STATELESS
    """States that prices remember, by key, as this usage leaves them: with what earlier lines have booked."""
    own_run: str | None = None
    """New state of the run that is the reservation itself; carried on it."""
