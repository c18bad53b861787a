"""Rounding loses nothing: charges and what is carried are the exact price of what remains."""

from __future__ import annotations

from fractions import Fraction

from books_world import World
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.books import (
    Charge,
    Commit,
    Decision,
    GrantKind,
    IssueGrant,
    OverCapture,
    Plan,
    Priced,
    Refund,
    Reserve,
    Reverse,
    Rounding,
)
from ledger.books.model.wallets import NO_TALLY
from ledger.books.tallies import MAX_TALLIES
from tests.build import tokens

ROUNDINGS = st.builds(
    Rounding, st.sampled_from([1, 7, 10_000]), st.sampled_from(["half_even", "half_up", "up", "down"])
)
SMALL = st.fractions(0, 3, max_denominator=9)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["charge", "commit", "used"]), SMALL),
        st.tuples(st.sampled_from(["reverse", "refund"]), st.integers(0, 20)),
    ),
    max_size=25,
)


class Customer:
    """A customer that uses, and has charges undone; what remains is noted exactly."""

    def __init__(self, rounding: Rounding, granted_micros: int) -> None:
        self.world = World(Plan("capped", None, over_capture=OverCapture.CAP))
        self.rounding = rounding
        self.requests = 0
        self.remains: dict[int, Fraction] = {}
        """By the sequence of a charge, or of a reservation."""
        self.run(IssueGrant(*self.request(), granted_micros, GrantKind.PAID, 0))

    def request(self) -> tuple[str, bytes]:
        self.requests += 1
        return f"request-{self.requests}", b""

    def run(self, command: object, priced: Priced | None = None) -> Decision | None:
        outcome = self.world.run(command, priced)  # type: ignore[arg-type]
        return outcome if isinstance(outcome, Decision) else None

    def charge(self, exact_micros: Fraction, *, used: bool = False) -> None:
        command = Charge(*self.request(), None, already_used=used)
        made = self.run(command, tokens(exact_micros, rounding=self.rounding))
        if made is not None:
            self.remains[made.entry.sequence] = exact_micros

    def used(self, exact_micros: Fraction) -> None:
        self.charge(exact_micros, used=True)

    def commit(self, exact_micros: Fraction) -> None:
        priced = tokens(exact_micros, rounding=self.rounding)
        made = self.run(Reserve(*self.request(), None), priced)
        if made is not None:
            self.run(Commit(*self.request(), made.entry.sequence, None, final=True), priced)
            self.remains[made.entry.sequence] = exact_micros

    def subject(self, number: int) -> int | None:
        return list(self.remains)[number % len(self.remains)] if self.remains else None

    def reverse(self, number: int) -> None:
        subject = self.subject(number)
        if subject is not None:
            is_hold = subject in self.world.reservations
            names = (None, subject) if is_hold else (subject, None)
            if self.run(Reverse(*self.request(), *names, "did not happen")) is not None:
                del self.remains[subject]

    def refund(self, number: int) -> None:
        subject = self.subject(number)
        if subject is not None and subject not in self.world.reservations:
            self.run(Refund(*self.request(), subject, None, "goodwill"))

    @property
    def billed_micros(self) -> int:
        """What was charged, collected or not, less what was charged for what has been undone."""
        undone = [entry for entry in self.world.entries if entry.kind == "REVERSAL"]
        return sum(
            entry.priced_micros
            for entry in self.world.entries
            if entry.kind in ("CHARGE", "COMMIT")
            and not any(
                entry.sequence == each.subject
                or (entry.reservation and entry.reservation.sequence == each.subject)
                for each in undone
            )
        )


@given(STEPS, ROUNDINGS, st.integers(1, 60))
@settings(deadline=None)
def test_charges_and_what_is_carried_are_the_exact_price_of_what_remains(
    steps: list[tuple[str, object]], rounding: Rounding, granted_micros: int
) -> None:
    """Whatever is charged, reversed or refunded, in any order, also where credits do not suffice."""
    customer = Customer(rounding, granted_micros * rounding.quantum_micros)
    for verb, number in steps:
        scaled = number * rounding.quantum_micros if isinstance(number, Fraction) else number
        getattr(customer, verb)(scaled)
        tally = customer.world.wallet.tallies.get("card", NO_TALLY)
        carried = tally.exact_micros - tally.billed_micros
        assert customer.billed_micros + carried == sum(customer.remains.values())


@given(st.lists(SMALL, min_size=1, max_size=40), ROUNDINGS)
@settings(deadline=None)
def test_many_small_charges_cost_what_one_of_their_sum_costs(
    amounts: list[Fraction], rounding: Rounding
) -> None:
    """As long as nothing is undone: to the micro-credit, in every mode of rounding."""
    many, one = Customer(rounding, 10**9), Customer(rounding, 10**9)
    for amount in amounts:
        many.charge(amount * rounding.quantum_micros)
    one.charge(sum(amounts) * rounding.quantum_micros)
    assert many.billed_micros == one.billed_micros


@given(
    st.lists(
        st.tuples(st.sampled_from(["charge", "commit", "used"]), st.one_of(st.just(Fraction(4, 10)), SMALL)),
        min_size=10,
        max_size=20,
    ),
    ROUNDINGS,
)
@settings(deadline=None)
def test_no_more_waits_than_a_quantum_beside_what_rounding_leaves(
    steps: list[tuple[str, Fraction]], rounding: Rounding
) -> None:
    """Whoever has no credits, or few, is not served for nothing in small pieces for ever."""
    customer = Customer(rounding, 2 * rounding.quantum_micros)
    for verb, amount in steps:
        getattr(customer, verb)(amount * rounding.quantum_micros)
        tally = customer.world.wallet.tallies.get("card", NO_TALLY)
        carried = tally.exact_micros - tally.billed_micros
        assert abs(carried) < 2 * rounding.quantum_micros


def test_a_wallet_that_has_forgotten_a_remainder_shows_that_it_has() -> None:
    """It stays full of tallies, empty ones too: else the audit would miss what is forgotten, and say so."""
    customer = Customer(Rounding(), 10**6)
    for number in range(MAX_TALLIES + 1):
        customer.world.terms = customer.world.terms._replace(card=f"card-{number}")
        customer.charge(Fraction(4, 10))
    customer.charge(Fraction(6, 10))
    tallies = customer.world.wallet.tallies
    assert (len(tallies), tallies[f"card-{MAX_TALLIES}"].exact_micros % 1) == (MAX_TALLIES, 0)
    customer.charge(Fraction(1))
    assert (len(customer.world.wallet.tallies), tallies.get("card-0")) == (MAX_TALLIES, None)


def test_a_hundred_charges_of_four_tenths_of_a_micro_credit_cost_forty() -> None:
    """Below half a quantum each, and not free."""
    customer = Customer(Rounding(), 10**6)
    for _ in range(100):
        customer.charge(Fraction(4, 10))
    assert customer.billed_micros == 40


def test_two_hundred_calls_of_a_second_at_a_small_rate_cost_what_they_come_to() -> None:
    """0.0016 credits an hour: 200 seconds come to 88.9 micro-credits."""
    customer = Customer(Rounding(), 10**6)
    for _ in range(200):
        customer.charge(Fraction(1600, 3600))
    assert customer.billed_micros == 89
