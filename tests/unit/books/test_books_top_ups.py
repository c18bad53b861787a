"""Each case of `top_ups.txt` proves the rule that its title states."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from books_tables import Case, read_cases

from ledger.books.top_up_rules import TopUpRules
from ledger.books.top_ups import (
    Announce,
    Fail,
    Payment,
    ReportCap,
    RequestTopUp,
    Step,
    Succeed,
    TakeBack,
    TopUp,
    TopUpFailure,
    TopUpStanding,
    TopUpState,
    Wait,
    next_step,
)
from tests.amounts import micros_of, nanousd_of

CASES = list(read_cases(Path(__file__).parent / "top_ups.txt"))
UNITS = {"m": 60, "h": 3600}


def duration(text: str) -> timedelta:
    return timedelta(seconds=int(text[:-1]) * UNITS[text[-1]])


def shown(value: timedelta) -> str:
    minutes = value // timedelta(minutes=1)
    return f"{minutes // 60}h" if minutes % 60 == 0 else f"{minutes}m"


class TopUpTable:
    """A customer, and what the store would keep of its top-ups."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 10, 12, tzinfo=UTC)
        self.standing = TopUpStanding(None, 0, 0, "UTC", 0, None, ())

    def step(self, line: str) -> None:
        """Takes one line: a verb and its words, and after `->` what must come of it."""
        said, _, expected = line.partition("->")
        verb, *words = said.split()
        found = getattr(self, f"do_{verb}")(*words)
        if expected.split():
            assert found == expected.split()

    def change(self, **fields: Any) -> None:
        self.standing = self.standing._replace(**fields)

    def do_plan(self, *words: str) -> None:
        said = dict(word.split("=") for word in words)
        amounts = {key: micros_of(said[key]) if key in said else None for key in ("add", "up_to")}
        durations = {
            key: duration(said[key]) for key in ("answer_within", "cool_down", "back_off") if key in said
        }
        rules = TopUpRules(
            below_micros=micros_of(said["below"]),
            add_micros=amounts["add"],
            up_to_micros=amounts["up_to"],
            credit_price_nanousd=nanousd_of(said["price"]),
            monthly_cap_micros=micros_of(said["cap"]),
            attempts_max=int(said.get("attempts", 3)),
            **durations,
        )
        self.change(rules=rules)

    def do_no(self, _: str) -> None:
        self.change(rules=None)

    def do_zone(self, zone: str) -> None:
        self.change(zone=zone)

    def do_left(self, amount: str) -> None:
        self.change(left_micros=micros_of(amount))

    def do_owed(self, amount: str) -> None:
        self.change(debt_micros=micros_of(amount))

    def do_tick(self, length: str) -> None:
        self.now += duration(length)

    def do_until(self, instant: str) -> None:
        self.now = datetime.fromisoformat(instant).replace(tzinfo=UTC)

    def do_stated(self) -> None:
        self.change(payment=Payment.PENDING)

    def do_paid(self) -> None:
        self.change(payment=Payment.PAID)

    def do_declined(self) -> None:
        self.change(payment=Payment.GIVEN_UP)

    def do_refused(self) -> None:
        self.change(payment=Payment.REFUSED)

    def do_retry(self) -> None:
        self.change(failed_attempts=0, not_before=None)

    def do_requested(self, attempt: str = "attempt=1") -> None:
        """A request, up to where its payment is waited for."""
        assert self.do_look()[-1] == attempt
        self.do_stated()
        assert self.do_look() == ["Announce"]

    def do_look(self) -> list[str]:
        """The next step, which is taken, and what it says."""
        step = next_step(self.standing, self.now)
        self.take(step)
        said = [type(step).__name__]
        match step:
            case RequestTopUp():
                price = Decimal(step.price_nanousd).scaleb(-9)
                amount = Decimal(step.amount_micros).scaleb(-6)
                said += [f"{amount.normalize():f}", f"price={price:.2f}", f"attempt={step.attempt}"]
            case ReportCap(request):
                said.append(f"{Decimal(request.amount_micros).scaleb(-6).normalize():f}")
            case Fail():
                said.append(step.failure)
                if step.next_attempt_at is not None:
                    said.append(f"next={shown(step.next_attempt_at - self.now)}")
            case Wait(until):
                said.append(shown(until - self.now))
        return said

    def take(self, step: Step) -> None:
        """What the store writes of a step."""
        match step:
            case RequestTopUp():
                self.enter(step, TopUpState.REQUESTED, None)
                self.change(payment=Payment.NOT_STATED)
            case ReportCap(request):
                self.enter(request, TopUpState.FAILED, TopUpFailure.MONTHLY_CAP)
            case Announce():
                self.newest(grant_sequence=7)
            case TakeBack():
                self.newest(failure=TopUpFailure.TIMED_OUT)
            case Succeed():
                self.newest(state=TopUpState.SUCCEEDED, failure=None, ended_at=self.now)
                self.change(failed_attempts=0, not_before=None)
            case Fail():
                self.newest(state=TopUpState.FAILED, failure=step.failure, ended_at=self.now)
                attempts = self.standing.failed_attempts + 1
                self.change(failed_attempts=attempts, not_before=step.next_attempt_at)

    def enter(self, request: RequestTopUp, state: TopUpState, failure: TopUpFailure | None) -> None:
        top_up = TopUp(
            number=len(self.standing.top_ups) + 1,
            state=state,
            failure=failure,
            attempt=request.attempt,
            amount_micros=request.amount_micros,
            price_nanousd=request.price_nanousd,
            expires_at=request.expires_at,
            requested_at=self.now,
            answer_by=request.answer_by,
            request_id="r",
            ended_at=None if failure is None else self.now,
        )
        self.change(top_ups=(top_up, *self.standing.top_ups))

    def newest(self, **fields: Any) -> None:
        first, *others = self.standing.top_ups
        self.change(top_ups=(first._replace(**fields), *others))


@pytest.mark.parametrize("case", CASES, ids=[case.title for case in CASES])
def test_rule(case: Case) -> None:
    """A rule of top-ups, as the title of its case states it."""
    table = TopUpTable()
    for number, line in case.steps:
        try:
            table.step(line)
        except AssertionError as error:
            raise AssertionError(f"top_ups.txt:{number}: {line}\n{error}") from error
