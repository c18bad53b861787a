"""What counts over periods: the documents of bundles, allowances and shares of savings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, model_validator

from pricing.cards.periods import Period
from pricing.documents.field_types import Name, Percent, parse_duration, parse_positive
from pricing.documents.validate import RefusedError, Strict
from pricing.documents.zones import is_zone
from pricing.exact import BILLION
from pricing.usage.items import RATED_QUANTITIES

COUNTS: Mapping[str, tuple[str, ...]] = {
    "tokens": RATED_QUANTITIES,
    "compute": ("duration",),
    "units": ("quantity",),
    "outcome": ("quantity",),
}
"""What may be counted of each kind of usage; a machine's duration is that of all its `count`."""


def _zone(value: object) -> object:
    if not is_zone(str(value)):
        hint = "write an IANA name, such as UTC or Europe/Berlin"
        raise RefusedError(f"{value!r} is not a time zone", hint)
    return value


def _text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Zone = Annotated[str, BeforeValidator(_zone)]
Amount = Annotated[str, BeforeValidator(_text, json_schema_input_type=str | int)]
"""A quantity, or a duration, by what is counted."""


class PeriodDoc(Strict):
    per: Literal["day", "week", "month", "year"]
    zone: Zone = "UTC"

    @property
    def period(self) -> Period:
        """What its counters count over."""
        return Period(self.per, self.zone)


class CountedDoc(PeriodDoc):
    """Something counted over a period."""

    count: str

    def refuse_other_kinds(self, kind: str) -> None:
        """Raises RefusedError if what is counted is no quantity of a kind of usage."""
        if self.count not in COUNTS[kind]:
            hint = f"for {kind} write one of {', '.join(COUNTS[kind])}"
            raise RefusedError(f"{kind} have no {self.count!r} to count", hint, ("count",))

    def counted(self, amount: str) -> int:
        """An amount of what is counted: in billionths, of a duration twice.

        Raises RefusedError for what is no such amount.
        """
        return parse_duration(amount) * BILLION if self.count == "duration" else parse_positive(amount)


class BundleDoc(CountedDoc):
    """Included before the price applies."""

    quantity: Amount

    @model_validator(mode="after")
    def _has_amount(self) -> Self:
        try:
            self.counted(self.quantity)
        except RefusedError as error:
            raise RefusedError(error.message, error.hint, ("quantity",)) from error
        return self

    @property
    def size(self) -> int:
        """How much is included, as it is counted."""
        return self.counted(self.quantity)


class AllowanceDoc(PeriodDoc):
    """What the rules of a group amount to gives a share of it free here."""

    share: Percent
    of: Name

    @model_validator(mode="after")
    def _a_share(self) -> Self:
        if not 0 < self.share <= 1:
            raise RefusedError("must be above 0% and at most 100%", 'write "10%"', ("share",))
        return self


class SavingsDoc(PeriodDoc):
    """A share of what serving saves, never below 0 in a period."""

    share: Percent
    per: Literal["day", "week", "month", "year"] = "month"


def savings(value: object) -> object:
    """The document of a share that is written alone: of a month."""
    return {"share": value} if isinstance(value, str) else value


Savings = Annotated[SavingsDoc, BeforeValidator(savings, json_schema_input_type=Percent | SavingsDoc)]
