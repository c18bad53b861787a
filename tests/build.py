"""Values of the books as tests need them: whatever a test does not name is the plainest there is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from ledger.books import (
    Decision,
    Effect,
    GrantKind,
    Lot,
    LotKey,
    LotStatus,
    PoolPart,
    Priced,
    PricedLine,
    Refusal,
    Rounding,
    Terms,
    Treatment,
)
from tests.amounts import DOLLAR

START = datetime(2026, 11, 1, tzinfo=UTC)


def terms(
    card: str = "card",
    *,
    card_version: int = 1,
    cost_version: int = 1,
    credit_price_nanousd: int = DOLLAR,
) -> Terms:
    """The versions that a customer's prices rest on, and the list price of a credit."""
    return Terms(card, card_version, cost_version, credit_price_nanousd)


def line(
    micros: Fraction | int = 0,
    cost_nanousd: Fraction | int = 0,
    *,
    kind: str = "tokens",
    treatment: Treatment = Treatment.CHARGED,
    public: Mapping[str, object] | None = None,
    internal: Mapping[str, object] | None = None,
    effects: tuple[Effect, ...] = (),
    saved_nanousd: Fraction | int = 0,
    own_key_nanousd: Fraction | int = 0,
    pool: PoolPart | None = None,
) -> PricedLine:
    """An item of usage with its exact price and cost."""
    return PricedLine(
        kind,
        treatment,
        Fraction(micros).as_integer_ratio(),
        Fraction(cost_nanousd).as_integer_ratio(),
        public or {},
        internal or {},
        effects,
        Fraction(saved_nanousd).as_integer_ratio(),
        Fraction(own_key_nanousd).as_integer_ratio(),
        pool,
    )


def priced(*lines: PricedLine, **fields: Any) -> Priced:
    """Usage of these lines, on a card that prices no outcomes and remembers nothing."""
    plain = Priced(lines, Rounding(), has_outcome_rule=False, outcome_charged=False, occurred_at=None)
    return plain._replace(**fields)


def tokens(micros: Fraction | int, cost_nanousd: Fraction | int = 0, **fields: Any) -> Priced:
    """Usage of one line at a price and a cost."""
    return priced(line(micros, cost_nanousd), **fields)


def lot(number: int, micros: int, scope: str | None = None) -> Lot:
    """A promotional lot with nothing drawn or held, in force from `START`; lots burn by their numbers."""
    key = LotKey(number, 0)
    return Lot(key, GrantKind.PROMO, micros, micros, 0, 0, 0, scope, START, None, LotStatus.ACTIVE)


def decided(outcome: Decision | Refusal) -> Decision:
    """A decision, never a refusal."""
    assert isinstance(outcome, Decision), outcome
    return outcome


def refused(outcome: Decision | Refusal) -> Refusal:
    """A refusal, never a decision."""
    assert isinstance(outcome, Refusal), outcome
    return outcome
