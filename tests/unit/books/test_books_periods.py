"""What prices remember, in the books: sums of a period's lines, and the surplus given back at its close."""

from __future__ import annotations

from datetime import timedelta

import pytest
from books_world import World

from ledger.books import (
    Charge,
    Commit,
    Credits,
    Decision,
    Effect,
    EntryKind,
    GrantKind,
    IssueGrant,
    LotKey,
    LotStatus,
    OverCapture,
    Plan,
    Priced,
    Refund,
    Refusal,
    Release,
    Reserve,
    Reverse,
    State,
    Treatment,
)
from ledger.books.model.entries import MoneyLine
from ledger.books.period_close import count
from ledger.books.returns.credit_return import is_refunded
from ledger.books.rounding import MAX_AMOUNT
from tests.amounts import CREDIT, DOLLAR
from tests.build import START, decided, line, priced

KEY = "count/card/hours/2026-11-01"
CLOSES_AT = START + timedelta(days=2)


class PeriodWorld(World):
    """A customer whose usage counts in a state, whose surplus each charge states."""

    requests = 0

    def request(self) -> tuple[str, bytes]:
        self.requests += 1
        return f"request-{self.requests}", b""

    def grant(self, credits_count: int, dollars: int, **more: object) -> Decision:
        command = IssueGrant(
            *self.request(),
            credits_count * CREDIT,
            GrantKind.PAID,
            dollars * DOLLAR,
            **more,  # type: ignore[arg-type]
        )
        return decided(self.run(command))

    def use(
        self, micros: int, surplus: int = 0, key: str = KEY, closes_at: object = CLOSES_AT, other: int = 0
    ) -> Priced:
        """Give usage of a line that counts, and maybe of one that does not."""
        lines = [line(micros, kind="compute", effects=(Effect(key, "1"),))]
        if other:
            lines.append(line(other))
        before = self.states.get(key, State(""))
        state = before._replace(text="{}", closes_at=closes_at, surplus_micros=surplus, terms=self.terms)  # type: ignore[arg-type]
        return priced(*lines, states={key: state})

    def charge(self, micros: int, surplus: int = 0, **more: object) -> Decision:
        usage = self.use(micros, surplus, **more)  # type: ignore[arg-type]
        return decided(self.run(Charge(*self.request(), None, already_used=True), usage))

    def reverse(self, charge: Decision) -> Decision | Refusal:
        return self.run(Reverse(*self.request(), charge.entry.sequence, None, "did not happen"))

    def close(self) -> Decision:
        """Let the clock reach the close."""
        [closed] = self.pass_time(CLOSES_AT - self.now)
        return closed


@pytest.fixture
def world() -> PeriodWorld:
    """Give a customer with 100 credits worth $1 each."""
    world = PeriodWorld()
    world.grant(100, 100)
    return world


def test_lines_that_count_are_summed(world: PeriodWorld) -> None:
    """A state keeps what its lines collected and earned; a line that does not count adds nothing."""
    world.charge(3 * CREDIT, other=CREDIT)
    world.charge(2 * CREDIT)
    state = world.states[KEY]
    assert (state.collected_micros, state.uncollected_micros) == (5 * CREDIT, 0)
    assert (state.revenue_nanousd, state.terms) == (5 * DOLLAR, world.terms)


def test_a_state_that_never_closes_has_no_sums(world: PeriodWorld) -> None:
    """Runs and marks are carried as they are."""
    world.charge(CREDIT, key="run/a", closes_at=None)
    assert world.states["run/a"].collected_micros == 0
    assert world.wallet.next_due_at is None


def test_the_surplus_goes_back_at_the_close(world: PeriodWorld) -> None:
    """Consumed -> available as a lot of 30 days, revenue -> deferred: revenue x surplus / collected."""
    world.charge(10 * CREDIT, surplus=3 * CREDIT)
    assert world.wallet.next_due_at == CLOSES_AT
    closed = world.close()
    entry = closed.entry
    assert (entry.kind, entry.effective_at, entry.request_id) == (EntryKind.PERIOD_CLOSED, CLOSES_AT, None)
    assert entry.credits == Credits(available=3 * CREDIT, consumed=-3 * CREDIT)
    assert (entry.priced_micros, entry.uncollected_micros, entry.terms) == (-3 * CREDIT, 0, world.terms)
    assert entry.money is not None
    assert (entry.money.dollars.revenue, entry.money.dollars.deferred) == (-3 * DOLLAR, 3 * DOLLAR)
    lot = world.lots[LotKey(entry.sequence, 0)]
    assert (lot.kind, lot.amount_micros, lot.remaining_micros) == (
        GrantKind.ADJUSTMENT,
        3 * CREDIT,
        3 * CREDIT,
    )
    assert (lot.scope, lot.effective_at, lot.expires_at) == (None, CLOSES_AT, CLOSES_AT + timedelta(days=30))
    state = world.states[KEY]
    assert (state.text, state.closes_at, state.surplus_micros) == ("{}", None, 0)
    assert (state.collected_micros, state.revenue_nanousd) == (7 * CREDIT, 7 * DOLLAR)
    assert world.wallet.next_due_at == lot.expires_at


def test_revenue_goes_back_rounded_down(world: PeriodWorld) -> None:
    """Of lots that were worth something else the part of the revenue is the part of the credits."""
    world.charge(99_999_990)
    world.grant(100, 0)
    world.charge(11, surplus=10)
    state = world.states[KEY]
    assert (state.collected_micros, state.revenue_nanousd) == (100_000_001, 99_999_990_000)
    money = world.close().entry.money
    assert money is not None
    assert money.dollars.revenue == -(99_999_990_000 * 10 // 100_000_001)


def test_debt_comes_first(world: PeriodWorld) -> None:
    """What the customer owes is forgiven before anything becomes available."""
    world.plan = Plan("standard", None, OverCapture.ALLOW_WITH_OVERDRAFT, overdraft_limit_micros=CREDIT)
    world.charge(101 * CREDIT, surplus=3 * CREDIT)
    entry = world.close().entry
    assert entry.credits == Credits(available=2 * CREDIT, consumed=-3 * CREDIT, debt=CREDIT)
    assert world.wallet.balances.debt == 0


def test_what_was_not_collected_is_not_given_back(world: PeriodWorld) -> None:
    """The surplus covers first what the customer never paid."""
    world.charge(102 * CREDIT, surplus=3 * CREDIT)
    assert world.states[KEY].uncollected_micros == 2 * CREDIT
    assert world.close().entry.credits == Credits(available=CREDIT, consumed=-CREDIT)


def test_a_close_without_anything_to_give_is_an_entry_too(world: PeriodWorld) -> None:
    """From then on the period is closed; no lot is made, no dollar moves."""
    world.charge(104 * CREDIT, surplus=3 * CREDIT)
    closed = world.close()
    assert (closed.entry.credits, closed.entry.money, closed.lots) == (Credits(), None, ())
    assert world.states[KEY].closes_at is None


def test_a_surplus_may_vanish_before_the_close(world: PeriodWorld) -> None:
    """What comes next in the period uses it up: nothing is due then."""
    world.charge(10 * CREDIT, surplus=3 * CREDIT)
    world.charge(0, surplus=0)
    assert world.pass_time(timedelta(days=3)) == []
    assert world.wallet.next_due_at is None


def test_the_order_at_one_instant(world: PeriodWorld) -> None:
    """Holds expire, then lots, then periods close; batches that are cut keep the order."""
    world.due_batch = 1
    world.grant(1, 1, expires_at=CLOSES_AT)
    for n in range(3):
        world.charge(CREDIT, surplus=CREDIT, key=f"{KEY}/{n}")
    world.charge(CREDIT, surplus=CREDIT, key="late", closes_at=CLOSES_AT + timedelta(seconds=1))
    hold = Reserve(*world.request(), 5 * CREDIT, ttl=timedelta(hours=24))
    world.now = CLOSES_AT - timedelta(hours=24)
    decided(world.run(hold))
    kinds = [decision.entry.kind for decision in world.pass_time(timedelta(hours=25))]
    assert kinds == [EntryKind.RESERVATION_EXPIRED, *[EntryKind.PERIOD_CLOSED] * 4]
    assert world.lots[LotKey(3, 0)].status is LotStatus.DEPLETED


def test_a_reversal_takes_its_charge_off_the_sums(world: PeriodWorld) -> None:
    """What was undone is neither collected nor earned; another charge's sums stay."""
    world.charge(2 * CREDIT)
    undone = world.charge(101 * CREDIT, surplus=CREDIT)
    decided(world.reverse(undone))
    state = world.states[KEY]
    sums = (state.collected_micros, state.uncollected_micros, state.revenue_nanousd)
    assert sums == (2 * CREDIT, 0, 2 * DOLLAR)


def test_what_a_close_gave_back_does_not_come_back_twice(world: PeriodWorld) -> None:
    """A charge undone after the close returns what is left of it."""
    charges = [world.charge(10 * CREDIT), world.charge(2 * CREDIT, surplus=3 * CREDIT)]
    world.close()
    first = decided(world.reverse(charges[0])).entry
    assert (first.credits.consumed, first.priced_micros) == (-9 * CREDIT, -9 * CREDIT)
    assert world.wallet.balances.consumed == 0
    second = decided(world.reverse(charges[1])).entry
    assert second.credits.consumed == 0
    assert world.states[KEY].collected_micros == 0


def test_a_reservation_undone_after_the_close(world: PeriodWorld) -> None:
    """It keeps as charged what the close has given back of it: its entries add up to that."""
    held = decided(world.run(Reserve(*world.request(), 20 * CREDIT)))
    sequence = held.entry.sequence
    decided(
        world.run(Commit(*world.request(), sequence, None, final=False), world.use(10 * CREDIT, 3 * CREDIT))
    )
    decided(world.run(Release(*world.request(), sequence)))
    world.close()
    entry = decided(world.run(Reverse(*world.request(), None, sequence, "did not happen"))).entry
    assert entry.credits.consumed == -7 * CREDIT
    reservation = world.reservations[sequence]
    assert (reservation.priced_micros, reservation.charged_micros) == (3 * CREDIT, 3 * CREDIT)
    assert world.wallet.balances.consumed == 0


def test_a_refund_of_all_that_a_close_has_left_is_in_full(world: PeriodWorld) -> None:
    """What the period gave back is gone already: with the rest nothing of the charge is left."""
    charge = world.charge(10 * CREDIT, surplus=3 * CREDIT)
    world.close()

    def refund(micros: int | None) -> Decision:
        command = Refund(*world.request(), charge.entry.sequence, micros, "goodwill")
        return decided(world.run(command))

    part = refund(2 * CREDIT).entry
    assert not is_refunded(charge.entry, [part])
    rest = refund(None).entry
    assert rest.credits.consumed == -5 * CREDIT
    assert is_refunded(charge.entry, [part, rest])


def test_a_line_of_two_states_goes_back_once(world: PeriodWorld) -> None:
    """Of 40 micro-credits 36 are refunded: 4 are left for both closes, though each has a surplus of 8."""
    usage = world.use(40, surplus=8)
    other = f"{KEY}/other"
    [line], states = usage.lines, {**usage.states, other: usage.states[KEY], "run/a": State("{}")}
    line = line._replace(effects=(Effect(KEY, "1", 3), Effect(other, "1", 1), Effect("run/a", "1", 0)))
    usage = usage._replace(lines=(line,), states=states)
    charge = decided(world.run(Charge(*world.request(), None, already_used=True), usage)).entry
    assert [world.states[key].collected_micros for key in (KEY, other)] == [30, 10]
    decided(world.run(Refund(*world.request(), charge.sequence, 36, "goodwill")))
    closed = world.pass_time(CLOSES_AT - world.now)
    assert [decision.entry.credits.consumed for decision in closed] == [-3, -1]
    assert world.wallet.balances.consumed == 0


def test_what_could_not_go_back_stays_with_the_period(world: PeriodWorld) -> None:
    """Of a surplus of 25 nothing is left to give back: it is kept, and is due at no instant."""
    charge = world.charge(40, surplus=25)
    decided(world.run(Refund(*world.request(), charge.entry.sequence, 40, "goodwill")))
    assert world.close().entry.credits.consumed == 0
    state = world.states[KEY]
    assert (state.closes_at, state.surplus_micros, state.collected_micros) == (None, 25, 0)
    assert world.wallet.next_due_at is None


def test_what_is_due_is_charged_at_the_close(world: PeriodWorld) -> None:
    """A surplus below 0: from what is available; what that does not cover is not collected."""
    world.charge(98 * CREDIT, surplus=-3 * CREDIT)
    entry = world.close().entry
    assert (entry.priced_micros, entry.uncollected_micros) == (3 * CREDIT, CREDIT)
    assert entry.credits == Credits(available=-2 * CREDIT, consumed=2 * CREDIT)
    assert (world.states[KEY].collected_micros, world.states[KEY].surplus_micros) == (100 * CREDIT, 0)


def test_what_is_due_becomes_debt_where_the_plan_has_it(world: PeriodWorld) -> None:
    """As a late commit would."""
    world.plan = Plan("standard", None, OverCapture.ALLOW_WITH_OVERDRAFT, overdraft_limit_micros=CREDIT)
    world.charge(100 * CREDIT, surplus=-3 * CREDIT)
    entry = world.close().entry
    assert (entry.uncollected_micros, world.wallet.balances.debt) == (2 * CREDIT, -CREDIT)


@pytest.mark.parametrize(("before", "more"), [(MAX_AMOUNT - 1, 1), (MAX_AMOUNT - 1, 2)])
def test_what_a_period_did_not_collect_stays_within_bounds(before: int, more: int) -> None:
    """At the bound and one past it: the sum stays there, and the work is booked."""
    state = State("{}", CLOSES_AT, uncollected_micros=before)
    line = MoneyLine("units", Treatment.CHARGED, {}, more, 0, 0, (Effect(KEY, "1"),))
    assert count({KEY: state}, [line], more)[KEY].uncollected_micros == MAX_AMOUNT


def test_a_period_never_has_more_than_refunds_have_left(world: PeriodWorld) -> None:
    """Of two lines of 3 micro-credits 3 are refunded: 3 have been collected, and go back at the close."""
    usage = world.use(3, surplus=6)
    usage = usage._replace(lines=usage.lines * 2)
    charge = decided(world.run(Charge(*world.request(), None, already_used=True), usage)).entry
    decided(world.run(Refund(*world.request(), charge.sequence, 3, "goodwill")))
    assert world.states[KEY].collected_micros == 3
    assert world.close().entry.credits.consumed == -3
    assert world.wallet.balances.consumed == 0
