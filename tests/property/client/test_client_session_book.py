"""A session's figures agree with a wallet's: at rest exactly, and between answers by the last rate."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from ledger.client.answers.balances import Balance
from ledger.client.answers.charges import Charge, ChargeLine, Reservation, ReservationState, Written
from ledger.client.session_book import SessionBook, measure
from ledger.v1.usage_pb2 import ComputeUsage, Outcome, TokenUsage, UnitUsage, UsageItem

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
PRICES = {"search": 10_000, "page": 3}
"""Micro-credits for one."""
SOME = st.sampled_from(sorted(PRICES))


def units(meter: str, quantity: int) -> UsageItem:
    return UsageItem(units=UnitUsage(meter=meter, quantity=str(quantity)))


class Wallet:
    """A customer with one hold, who pays whatever was used as far as there are credits."""

    def __init__(self, available_micros: int, held_micros: int) -> None:
        self.available_micros = available_micros
        self.held_micros = held_micros
        self.charged_micros = 0

    def reservation(self, expires_at: datetime = BEGAN + timedelta(seconds=60)) -> Reservation:
        """The hold as answers have it."""
        balance = Balance(self.available_micros, self.held_micros, 0, 0)
        return Reservation(
            "rsv_1",
            "acme",
            ReservationState.OPEN,
            self.held_micros,
            self.charged_micros,
            BEGAN,
            expires_at,
            {},
            "card",
            Written(balance, 1, replayed=False),
        )

    def commit(self, items: list[tuple[str, int]]) -> Charge:
        """Charges what was used: the hold first, then what is available."""
        lines = tuple(
            ChargeLine(
                meter.title(),
                "units",
                meter,
                {"quantity": Decimal(quantity)},
                PRICES[meter] * quantity,
                unpriced=False,
                included=False,
                pool="",
                pool_micros=0,
            )
            for meter, quantity in items
        )
        priced_micros = sum(line.credits_micros for line in lines)
        charged_micros = min(priced_micros, self.held_micros + self.available_micros)
        beyond_micros = max(0, charged_micros - self.held_micros)
        self.held_micros = max(0, self.held_micros - charged_micros)
        self.available_micros -= beyond_micros
        self.charged_micros += charged_micros
        return Charge(
            charge_id="chg_1",
            customer_id="acme",
            reservation_id="rsv_1",
            charged_micros=charged_micros,
            uncollected_micros=priced_micros - charged_micros,
            refunded_micros=0,
            late=False,
            final=False,
            reversed=False,
            created_at=BEGAN,
            occurred_at=None,
            lines=lines,
            labels={},
            rate_card="card",
            reservation=self.reservation(),
        )

    def extend(self, micros: int) -> bool:
        """Holds more, if it is there."""
        if micros > self.available_micros:
            return False
        self.available_micros -= micros
        self.held_micros += micros
        return True


@given(
    available_micros=st.integers(0, 10_000_000),
    estimate_micros=st.integers(0, 1_000_000),
    parts=st.lists(st.lists(st.tuples(SOME, st.integers(0, 50)), min_size=1, max_size=4), max_size=12),
)
def test_the_book_and_the_wallet_agree(
    available_micros: int, estimate_micros: int, parts: list[list[tuple[str, int]]]
) -> None:
    """What remains, was charged and was used is the wallet's; the hold is filled up while the wallet can."""
    wallet, book, now = Wallet(available_micros, estimate_micros), SessionBook(), 0.0
    book.reserved(wallet.reservation(), (), sent_at=now, answered_at=now)
    known: set[str] = set()
    largest_micros = 0
    for part in parts:
        before_micros = wallet.held_micros + wallet.available_micros
        items = [units(*each) for each in part]
        estimated_micros = book.added(items)
        assert estimated_micros == sum(PRICES[meter] * many for meter, many in part if meter in known)
        assert book.remaining_micros == max(0, before_micros - estimated_micros)
        charge = wallet.commit(part)
        book.answered(estimated_micros)
        book.charged(charge, items)
        known.update(meter for meter, many in part if many)
        largest_micros = max(largest_micros, charge.charged_micros)
        assert book.remaining_micros == wallet.held_micros + wallet.available_micros
        assert book.held_micros == wallet.held_micros
        assert (book.shortage is not None) == bool(book.uncollected_micros)
        if book.shortage is not None:
            assert book.shortage.short_micros == charge.uncollected_micros
            assert book.extension_micros() == 0
            break
        wanted_micros = book.extension_micros()
        low = wallet.held_micros < max(largest_micros, estimate_micros // 10)
        assert bool(wanted_micros) == low
        if wanted_micros and wallet.extend(wanted_micros):
            book.extended(wallet.reservation(), sent_at=now)
            assert book.held_micros == max(estimate_micros, 2 * largest_micros)
            assert book.extension_micros() == 0
    assert book.charged_micros == wallet.charged_micros
    priced_micros = sum(line.credits_micros for line in book.lines.values())
    assert priced_micros == book.charged_micros + book.uncollected_micros


@given(
    sent_at=st.floats(0, 1e6), waited=st.floats(0, 10), life=st.integers(1, 86_400), passed=st.floats(0, 1e5)
)
def test_time_is_asked_for_before_it_runs_out(
    sent_at: float, waited: float, life: int, passed: float
) -> None:
    """At half of what the service says, counted from the question; its clock is never said to be ahead."""
    book = SessionBook()
    expires_at = BEGAN + timedelta(seconds=life)
    book.reserved(Wallet(0, 1).reservation(expires_at), (), sent_at=sent_at, answered_at=sent_at + waited)
    assert sent_at < book.extend_at
    assert book.extend_at <= sent_at + max(0.5, (life + waited) / 2) + 1e-3
    # The service answered between the question and its answer's arrival.
    told = book.at(sent_at + waited + passed)
    assert told is not None
    assert told <= BEGAN + timedelta(seconds=waited + passed + 1e-3)
    book.lost()
    assert (book.held_micros, book.extend_at) == (0, float("inf"))


def test_a_quote_of_one_kind_is_its_rate() -> None:
    """Before anything was charged, usage is counted at what its estimate was held at, rounded up."""
    book = SessionBook()
    book.reserved(Wallet(0, 1_000).reservation(), [units("page", 300)], sent_at=0, answered_at=0)
    assert book.estimate(units("page", 1)) == 4
    assert book.estimate(units("page", 0)) == 0
    assert book.estimate(units("search", 1)) is None
    book.added([units("page", 100)])
    assert (book.held_micros, book.remaining_micros) == (666, 666)


def test_amounts_of_each_kind() -> None:
    """Tokens of all kinds, seconds of all machines, units, outcomes; what is no decimal counts nothing."""
    tokens = UsageItem(tokens=TokenUsage(model="m", input=5, cache_read=3, output=2, requests=7))
    assert measure(tokens) == (("tokens", "m"), 10)
    half = ComputeUsage(resource="gpu", duration=Duration(seconds=3, nanos=500_000_000), count="0.5")
    assert measure(UsageItem(compute=half)) == (("compute", "gpu"), Decimal("1.75"))
    assert measure(units("page", 3)) == (("units", "page"), 3)
    assert measure(UsageItem(units=UnitUsage(meter="page", quantity="NaN"))) == (("units", "page"), 0)
    assert measure(UsageItem(outcome=Outcome(name="solved"))) == (("outcome", "solved"), 1)
