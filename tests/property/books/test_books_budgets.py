"""Budgets agree with a simple model: what is held and charged of the work that began in a window."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import count

from books_world import World
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.books import (
    Budget,
    BudgetWindow,
    Charge,
    Commit,
    Decision,
    Extend,
    Fill,
    GrantKind,
    IssueGrant,
    Plan,
    Refusal,
    RefusalReason,
    Release,
    Reserve,
    Reverse,
)
from tests.build import START

AGENTS = ("a", "b")
ALL_LIMIT, EACH_LIMIT = 30, 18
BUDGETS = (
    Budget("all", ALL_LIMIT, BudgetWindow.HOUR),
    Budget("each", EACH_LIMIT, BudgetWindow.HOUR, ("agent",)),
)
TTL_MINUTES = 70
AMOUNTS, PICK = st.integers(1, 12), st.integers(0, 10)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), AMOUNTS, st.sampled_from(AGENTS), st.booleans()),
        st.tuples(st.just("charge"), AMOUNTS, st.sampled_from(AGENTS), st.booleans()),
        st.tuples(st.just("commit"), AMOUNTS, PICK, st.booleans()),
        st.tuples(st.sampled_from(["extend", "release", "reverse"]), AMOUNTS, PICK, st.just(value=False)),
        st.tuples(st.just("tick"), st.integers(1, 50), PICK, st.just(value=False)),
    ),
    max_size=30,
)


@dataclass
class Work:
    """A reservation, or a charge."""

    sequence: int
    agent: str
    hour: int
    held: int
    charged: int = 0
    expires: int = 0
    is_open: bool = True
    is_reservation: bool = True
    is_undone: bool = False


class Model:
    """All work, and the minute that it is."""

    def __init__(self) -> None:
        self.works: list[Work] = []
        self.minute = 0

    def used(self, hour: int, agent: str | None) -> int:
        """Add up what is held and charged."""
        return sum(w.held + w.charged for w in self.works if w.hour == hour and agent in (None, w.agent))

    def left(self, hour: int, agent: str) -> int:
        """Give what the tighter budget leaves."""
        return min(ALL_LIMIT - self.used(hour, None), EACH_LIMIT - self.used(hour, agent))

    def tick(self, minutes: int) -> None:
        """Let time pass, and holds expire."""
        self.minute += minutes
        for work in self.works:
            if work.is_open and work.expires <= self.minute:
                work.held = 0


def _step(
    world: World, model: Model, request: tuple[str, bytes], step: tuple[str, int, str | int, bool]
) -> None:
    verb, amount, subject, flag = step
    hour = model.minute // 60
    if isinstance(subject, str):
        left = model.left(hour, subject)
        labels = {"agent": subject}
        if verb == "reserve":
            fill = Fill.UP_TO if flag else Fill.ALL_OR_NOTHING
            ttl = timedelta(minutes=TTL_MINUTES)
            outcome = world.run(Reserve(*request, amount, fill, 1, ttl, labels))
            taken = min(amount, left) if flag else amount
        else:
            outcome = world.run(Charge(*request, amount, flag, labels))
            taken = min(amount, left) if flag else amount
        if taken > left or (taken == 0 and verb == "reserve"):
            assert isinstance(outcome, Refusal)
            assert outcome.reason is RefusalReason.BUDGET_EXCEEDED
            assert outcome.detail["left_micros"] == str(left)
            return
        assert isinstance(outcome, Decision)
        work = Work(outcome.entry.sequence, subject, hour, 0, expires=model.minute + TTL_MINUTES)
        model.works.append(work)
        if verb == "reserve":
            work.held = taken
            assert outcome.entry.credits.held == taken
        else:
            work.charged, work.is_open, work.is_reservation = taken, False, False
            assert outcome.entry.credits.consumed == taken
        return
    if not model.works:
        return
    _go_on(world, model, request, verb, amount, model.works[subject % len(model.works)], final=flag)


def _go_on(
    world: World, model: Model, request: tuple[str, bytes], verb: str, amount: int, work: Work, *, final: bool
) -> None:
    left = model.left(work.hour, work.agent)
    is_held = work.is_open and work.expires > model.minute
    if verb == "commit" and work.is_open:
        outcome = world.run(Commit(*request, work.sequence, amount, final))
        assert isinstance(outcome, Decision)
        within = min(amount, work.held)
        beyond = min(amount - within, left)
        assert outcome.entry.credits.consumed == within + beyond
        assert outcome.entry.uncollected_micros == amount - within - beyond
        work.charged += within + beyond
        work.held = 0 if final else work.held - within
        work.is_open = not final
    elif verb == "extend" and is_held:
        outcome = world.run(Extend(*request, work.sequence, amount))
        assert isinstance(outcome, Decision) is (amount <= left)
        work.held += amount if amount <= left else 0
    elif verb == "release" and is_held:
        assert isinstance(world.run(Release(*request, work.sequence)), Decision)
        work.held, work.is_open = 0, False
    elif verb == "reverse" and not is_held and not work.is_undone:
        subject = (None, work.sequence) if work.is_reservation else (work.sequence, None)
        assert isinstance(world.run(Reverse(*request, *subject, "why")), Decision)
        work.charged, work.is_open, work.is_undone = 0, False, True


@given(STEPS)
@settings(deadline=None, max_examples=150)
def test_budgets_agree_with_a_model(steps: list[tuple[str, int, str | int, bool]]) -> None:
    """Whatever is asked for in whatever order: what is taken, what is refused, and what is left of it."""
    world, model, numbers = World(Plan("standard", None, budgets=BUDGETS)), Model(), count()
    world.run(IssueGrant("grant", b"", 10**9, GrantKind.PROMO, 0))
    for step in steps:
        if step[0] == "tick":
            world.pass_time(timedelta(minutes=step[1]))
            model.tick(step[1])
        else:
            _step(world, model, (f"request-{next(numbers)}", b""), step)
        for hour in {work.hour for work in model.works}:
            start = START + timedelta(hours=hour)
            key = f"budget:all:HOUR:{start:%Y-%m-%dT%H.%M}"
            assert int(world.states[key].text) == model.used(hour, None) <= ALL_LIMIT
