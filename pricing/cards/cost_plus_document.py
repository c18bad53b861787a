"""The schemes that follow cost: what they say, and what they make of a dollar of it.

Cost is that of what was asked for, unless the scheme says to follow what was served.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal, NamedTuple, Self

from pydantic import model_validator

from pricing.documents.field_types import Percent
from pricing.documents.validate import RefusedError, Strict


class CostPlusDoc(Strict):
    markup: Percent | None = None
    margin: Percent | None = None
    on: Literal["asked", "served"] = "asked"

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.markup is None) == (self.margin is None):
            hint = 'write markup: "30%" (cost x 1.30), or margin: "30%" (cost / 0.70)'
            raise RefusedError("must say either markup or margin", hint)
        if self.margin is not None and self.margin >= 1:
            raise RefusedError("a margin of 100% or more has no price", "write less than 100%", ("margin",))
        return self

    @property
    def markup_on_cost(self) -> Fraction:
        """What is added to cost, as a share of it: a margin of p adds p / (1 - p)."""
        if self.margin is not None:
            return self.margin / (1 - self.margin)
        return self.markup or Fraction(0)


class Shares(NamedTuple):
    """What is charged of a cost, as shares of it."""

    ours: Fraction
    """Where we pay the provider."""
    customers: Fraction
    """On the customer's own key: of list prices."""


def cost_plus_shares(doc: CostPlusDoc) -> Shares:
    """Cost and surcharge; the surcharge alone where the customer pays the provider."""
    return Shares(1 + doc.markup_on_cost, doc.markup_on_cost)


def fee_shares(fee: Fraction) -> Shares:
    """The fee, whoever pays the provider."""
    return Shares(fee, fee)
