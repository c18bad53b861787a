"""The section `topup` of a plan: when credits are bought anew for a customer, how many, at what price.

topup: {below: "20", add: "100", credit_price_usd: "0.01", monthly_cap: "1000"}
topup:
  below: "20"
  up_to: "150"
  credit_price_usd: "0.01"
  monthly_cap: "1000"
  expires_after: 365d
  answer_within: 24h
  cool_down: 10m
  attempts: {max: 3, back_off: 1h}
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Self

from pydantic import Field, model_validator

from ledger.books.top_up_rules import CENT_NANOUSD, CREDIT_MICROS, TopUpRules
from ledger.prices.plan_values import AMOUNT_MAX_MICROS, PAID_MAX_NANOUSD, Amount, duration_within
from pricing.documents.field_types import CreditPrice
from pricing.documents.validate import RefusedError, Strict
from pricing.exact import BILLION

ATTEMPTS_MAX = 10
"""The pause doubles with each: after ten of an hour it is three weeks."""

_Life = Annotated[timedelta, *duration_within("1d", "3650d")]
_Wait = Annotated[timedelta, *duration_within("1s", "30d")]
_Pause = Annotated[timedelta, *duration_within("1s", "1d")]


class TopUpAttempts(Strict):
    """How often a payment that fails is asked for, and how long after the first time it is again."""

    max: Annotated[int, Field(ge=1, le=ATTEMPTS_MAX)] = 3
    back_off: _Pause = timedelta(hours=1)


class TopUpModel(Strict):
    """As the document writes it."""

    below: Amount
    add: Amount | None = None
    up_to: Amount | None = None
    credit_price_usd: CreditPrice
    monthly_cap: Amount
    expires_after: _Life | None = None
    answer_within: _Wait = timedelta(hours=24)
    cool_down: _Wait = timedelta(minutes=10)
    attempts: TopUpAttempts = TopUpAttempts()

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if (self.add is None) == (self.up_to is None):
            raise RefusedError("states both of add and up_to, or none", "write one of the two")
        if not self.below:
            raise RefusedError("nothing is ever below 0", "write a number of credits", ("below",))
        if self.add == 0:
            raise RefusedError("adds nothing", "write a number of credits", ("add",))
        if self.up_to is not None and self.up_to < self.below:
            raise RefusedError("is less than below", "write as much or more", ("up_to",))
        self._refuse_amounts()
        if self.add is not None and self.add * self.credit_price_usd % (CENT_NANOUSD * 1_000_000):
            hint = "payment systems take whole cents: choose another add or credit_price_usd"
            raise RefusedError("a top-up costs no whole number of cents", hint, ("add",))
        if self.expires_after is not None and self.expires_after <= self.answer_within:
            hint = "write more than answer_within, until which it may be paid"
            raise RefusedError("a grant would expire before it has to be paid", hint, ("expires_after",))
        return self

    def _refuse_amounts(self) -> None:
        """Refuses a top-up that no month has room for, and one that the books would never take."""
        rules, field = self.rules(), "up_to" if self.add is None else "add"
        if rules.amount_micros(self.below - 1, debt_micros=0) > self.monthly_cap:
            hint = "write as much as one top-up or more"
            raise RefusedError("leaves no room for a single top-up", hint, ("monthly_cap",))
        largest_micros = rules.amount_micros(0, debt_micros=0)
        if largest_micros > AMOUNT_MAX_MICROS:
            most = AMOUNT_MAX_MICROS // CREDIT_MICROS
            raise RefusedError("is no amount of a top-up", f"write {most} or less", (field,))
        if rules.price_nanousd(largest_micros) > PAID_MAX_NANOUSD:
            most = PAID_MAX_NANOUSD // BILLION
            raise RefusedError(f"a top-up costs more than {most} USD", "write less", ("credit_price_usd",))

    def rules(self) -> TopUpRules:
        """As the books go by it."""
        return TopUpRules(
            below_micros=self.below,
            add_micros=self.add,
            up_to_micros=self.up_to,
            credit_price_nanousd=self.credit_price_usd,
            monthly_cap_micros=self.monthly_cap,
            expires_after=self.expires_after,
            answer_within=self.answer_within,
            cool_down=self.cool_down,
            attempts_max=self.attempts.max,
            back_off=self.attempts.back_off,
        )
