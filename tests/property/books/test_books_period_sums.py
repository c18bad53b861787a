"""Periods against a model in plain sums: what closes give back, refunds and reversals before and after."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from books_world import World
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.books import (
    Charge,
    Decision,
    Effect,
    EntryKind,
    GrantKind,
    IssueGrant,
    OverCapture,
    Plan,
    Refund,
    Reverse,
    State,
)
from tests.build import START, decided, line, priced

KEYS = ("count/card/hours/1", "count/card/hours/2")
CLOSES = {key: START + timedelta(days=day) for day, key in enumerate(KEYS, 1)}
WORDS = ("charge", "charge", "refund", "reverse", "pass_time")
STEPS = st.lists(
    st.tuples(st.sampled_from(WORDS), st.integers(0, 60), st.integers(0, 12)), min_size=6, max_size=20
)


class Model:
    """One customer and two periods: a charge counts in the first that is open. The audit runs all along."""

    def __init__(self, *, overdraft: bool, granted: int, paid: int) -> None:
        self.world = World()
        policy = OverCapture.ALLOW_WITH_OVERDRAFT if overdraft else OverCapture.ALLOW_IF_AVAILABLE
        self.world.plan = Plan("standard", None, policy, overdraft_limit_micros=40)
        self.world.run(IssueGrant("grant", b"", granted, GrantKind.PAID, paid))
        self.charges: list[tuple[int, str, int]] = []
        """Sequence, period, what was not collected."""
        self.surplus = dict.fromkeys(KEYS, 0)
        self.uncollected = dict.fromkeys(KEYS, 0)
        self.collected = dict.fromkeys(KEYS, 0)
        self.undone: set[int] = set()

    def request(self) -> tuple[str, bytes]:
        """Give an id that nobody used."""
        return f"r{self.world.wallet.sequence}", b""

    def charge(self, micros: int, part: int) -> None:
        """Charge usage of a period that is open; its surplus becomes some part of what it charged."""
        key = next((key for key in KEYS if CLOSES[key] > self.world.now), None)
        if key is None:
            return
        before = self.world.states.get(key, State(""))
        charged = before.collected_micros + before.uncollected_micros + micros
        surplus = self.surplus[key] = charged * part // 12
        state = before._replace(closes_at=CLOSES[key], surplus_micros=surplus, terms=self.world.terms)
        usage = priced(line(micros, kind="units", effects=(Effect(key, "1"),)), states={key: state})
        made = decided(self.world.run(Charge(*self.request(), None, already_used=True), usage))
        self.uncollected[key] += made.entry.uncollected_micros
        self.collected[key] += made.entry.charged_micros
        self.charges.append((made.entry.sequence, key, made.entry.uncollected_micros))

    def refund(self, micros: int, which: int) -> None:
        """Give back some of a charge, or be refused."""
        if self.charges:
            sequence, key, missing = self.charges[which % len(self.charges)]
            made = self.world.run(Refund(*self.request(), sequence, micros or None, "goodwill"))
            if isinstance(made, Decision):
                self.give_back(made, sequence, key, missing)

    def reverse(self, _: int, which: int) -> None:
        """Undo a charge, or be refused."""
        if self.charges:
            sequence, key, missing = self.charges[which % len(self.charges)]
            made = self.world.run(Reverse(*self.request(), sequence, None, "by mistake"))
            if isinstance(made, Decision):
                self.give_back(made, sequence, key, missing)
                self.surplus[key] = self.world.states[key].surplus_micros
                self.pass_time(0, 0)  # One that had closed closes again at once.

    def give_back(self, made: Decision, sequence: int, key: str, missing: int) -> None:
        """Take off the sums what came back; what was not collected goes with the last of it."""
        self.collected[key] += made.entry.credits.consumed
        back = [e.charged_micros for e in self.world.entries if e.subject == sequence]
        charged = self.world.entries[sequence - 1].charged_micros
        whole = charged + sum(back) == 0 or made.entry.kind is EntryKind.REVERSAL
        if whole and sequence not in self.undone:
            self.undone.add(sequence)
            self.uncollected[key] -= min(missing, self.uncollected[key])

    def pass_time(self, hours: int, _: int) -> None:
        """Let the clock run; each period that closes gives back what the model says."""
        for decision in self.world.pass_time(timedelta(hours=hours)):
            if decision.entry.kind is EntryKind.PERIOD_CLOSED:
                [key] = decision.states
                covered = min(self.surplus[key], self.uncollected[key])
                due = min(self.surplus[key] - covered, self.collected[key])
                assert -decision.entry.credits.consumed == due
                self.collected[key] -= due
                self.uncollected[key] -= covered
                self.surplus[key] = 0


@given(STEPS, st.booleans(), st.integers(1, 200), st.integers(0, 10**6))
@settings(max_examples=150, deadline=None)
def test_no_more_comes_back_than_was_collected(
    steps: list[tuple[str, int, int]], overdraft: bool, granted: int, paid: int
) -> None:
    """By closes, refunds and reversals in any order; of each period what its lines have left is kept."""
    model = Model(overdraft=overdraft, granted=granted, paid=paid)
    for word, amount, which in steps:
        step: Callable[[int, int], None] = getattr(model, word)
        step(amount, which)
        stored = {key: state.collected_micros for key, state in model.world.states.items()}
        assert stored == {key: model.collected[key] for key in stored}
        assert model.world.wallet.balances.consumed == sum(model.collected.values())
