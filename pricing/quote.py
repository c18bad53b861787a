"""What pricing says of usage: its lines, each with an exact price and an exact cost.

Nothing here is rounded: a charge is rounded once, where it is made, to the card's quantum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple


class Treatment(StrEnum):
    """How a line's usage is paid for."""

    CHARGED = "CHARGED"
    INCLUDED = "INCLUDED"
    """Free on this line, knowingly: another rule (an outcome, say) pays for it."""
    UNPRICED = "UNPRICED"
    """No price or no cost was found: 0 credits, flagged, to be corrected later."""


class Rounding(NamedTuple):
    """A card's quantum, and `half_even`, `half_up`, `up` or `down`."""

    quantum_micros: int = 1
    mode: str = "half_even"


@dataclass(frozen=True, slots=True)
class Memory:
    """What rules with a past need to know of it: opaque, kept by the caller, given back in the quote."""

    runs: Mapping[str, str] = field(default_factory=dict)
    """States of the customer's named runs, by run id."""
    own_run: str | None = None
    """State of the run that is the reservation itself."""


@dataclass(frozen=True, slots=True)
class Line:
    """One usage item, priced. `public` may leave by a public door, `internal` never."""

    kind: str
    """tokens, compute, units, outcome."""
    treatment: Treatment
    exact_micros: Fraction
    """The price in micro-credits."""
    cost_exact_nanousd: Fraction
    """The cost to post: of what was served; 0 on the customer's own key."""
    public: Mapping[str, object]
    """title, kind, name (as asked for), quantities: JSON values."""
    internal: Mapping[str, object]
    """JSON values: rule, price, name, served_by, key_owner, lever, list_nanousd, asked_nanousd, served_nanousd
    (exact: an integer or `n/d`; None: unknown), cost_source, unpriced_reason."""


@dataclass(frozen=True, slots=True)
class Quote:
    """The items' prices and costs, in their order, and the memory as they leave it."""

    lines: tuple[Line, ...]
    exact_micros: Fraction
    """The sum of the lines."""
    runs: Mapping[str, str]
    """New states of named runs: only those that changed."""
    own_run: str | None
    """New state of the reservation's own run; None if it has none."""
    has_outcome_rule: bool
    """The card prices outcomes: included usage waits for one."""
    outcome_charged: bool
    """One of the lines is an outcome that is charged for."""
    unpriced: tuple[int, ...]
    """Indexes of the lines that could not be priced."""
