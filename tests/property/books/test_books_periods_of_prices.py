"""Prices that count over a period, and the books: charges, refunds and reversals in any order.

What is paid once the period has closed is the price of what is left, less what was refunded of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from math import trunc
from typing import Any

import pytest
from books_world import World
from hypothesis import given, settings
from hypothesis import strategies as st
from pricing_period_schemes import NOW, ONCE_SCHEMES, SCHEMES, items, terms_of, tickets

import pricing
from ledger.books import (
    Charge,
    Command,
    Decision,
    Entry,
    EntryKind,
    Facts,
    GrantKind,
    IssueGrant,
    Refund,
    Reverse,
    State,
)
from ledger.books.model.wallets import NO_TALLY
from ledger.engine.cell.customer import effects_of
from ledger.prices.price_book import freed, priced_of, texts_of, unwound
from tests.build import decided


def steps_of(used: st.SearchStrategy[pricing.Item]) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    """Give usage, refunds and reversals in any order."""
    return st.lists(
        st.one_of(
            st.tuples(st.just("use"), used),
            st.tuples(st.just("refund"), st.integers(0, 20), st.sampled_from([1, 5, 10, 12])),
            st.tuples(st.just("reverse"), st.integers(0, 20), st.none()),
        ),
        min_size=1,
        max_size=14,
    )


AFTER = st.lists(
    st.tuples(st.sampled_from(["reverse", "refund"]), st.integers(0, 20), st.sampled_from([5, 12])),
    max_size=4,
)
"""Of what is left: in twelfths how much of it is refunded."""


class Customer(World):
    """A customer whose usage is priced under terms, as the engine prices it."""

    def __init__(self, terms: pricing.Terms) -> None:
        super().__init__()
        self.priced_by = terms
        self.requests = 0
        self.left: dict[int, pricing.Item] = {}
        """Usage that was charged and is not undone, by the sequence of its charge."""
        self.charged_of: dict[str, int] = {}
        """Of what is charged once: the sequence of the charge that each subject's mark is of."""
        self.free: set[int] = set()
        """Charges of subjects that had been charged: they stay free, whatever is undone."""
        self.now = NOW
        self.entry(IssueGrant(*self.request(), 10**15, GrantKind.PAID, 0))

    def request(self) -> tuple[str, bytes]:
        self.requests += 1
        return f"request-{self.requests}", b""

    def entry(self, command: Command, priced: object = None) -> Entry:
        return decided(self.run(command, priced)).entry  # type: ignore[arg-type]

    def facts(self, command: Command) -> Facts:
        """Give what a command names, with the states of what is reversed as they are without it."""
        facts = super().facts(command)
        effects = effects_of(facts)
        if isinstance(command, Reverse):
            return unwound(facts, effects, facts.states, self.now)
        return facts._replace(freed=freed(effects))

    def use(self, item: pricing.Item) -> None:
        """Charge usage that has happened."""
        keys = pricing.memory_keys([item], {}, self.priced_by, self.now)
        known: Mapping[str, State] = {key: self.states[key] for key in keys if key in self.states}
        memory = pricing.Memory(texts_of(known))
        quote = pricing.price([item], {}, self.priced_by, memory, now=self.now)
        priced = priced_of(quote, known, self.terms, self.now)
        sequence = self.entry(Charge(*self.request(), None, already_used=True), priced).sequence
        self.left[sequence] = item
        if isinstance(item, pricing.Outcome) and item.count and item.result is not pricing.Result.FAILED:
            if item.subject in self.charged_of:
                self.free.add(sequence)
            else:
                self.charged_of[item.subject] = sequence

    def reverse(self, which: int, _: object = None) -> None:
        """Undo one of the charges that are left, if there is one."""
        if self.left:
            sequence = list(self.left)[which % len(self.left)]
            self.entry(Reverse(*self.request(), sequence, None, "did not happen"))
            del self.left[sequence]
            self.free_subject(sequence)
            self.write_due()

    def refund(self, which: int, twelfths: int) -> None:
        """Give back a part of one of the charges that are left, or all that is left of it."""
        if self.left:
            sequence = list(self.left)[which % len(self.left)]
            charged = self.entries[sequence - 1].charged_micros
            micros = charged * twelfths // 12 if twelfths < 12 else None
            outcome = self.run(Refund(*self.request(), sequence, micros, "goodwill"))
            if isinstance(outcome, Decision) and outcome.entry.final:
                self.free_subject(sequence)

    def free_subject(self, sequence: int) -> None:
        """Let the next report of the subject that a charge was of be charged."""
        self.charged_of = {subject: of for subject, of in self.charged_of.items() if of != sequence}

    def close(self) -> None:
        """Let the period end, and what it settles be written."""
        self.pass_time(timedelta(days=100))

    @property
    def paid_micros(self) -> Fraction:
        """What was collected, with what rounding has left over, and what states carry on.

        A close gives back, or charges, whole micro-credits of each state; the rest is carried on with it.
        """
        tally = self.wallet.tallies.get("card", NO_TALLY)
        carried = [
            Fraction(json.loads(state.text).get("over", 0)) for state in self.states.values() if state.text
        ]
        rest = sum((over - trunc(over) for over in carried), Fraction(0))
        return self.wallet.balances.consumed + tally.exact_micros - tally.billed_micros - rest

    @property
    def refunded_micros(self) -> int:
        """What was refunded of charges that are left."""
        return -sum(
            entry.charged_micros
            for entry in self.entries
            if entry.kind is EntryKind.REFUND and entry.subject in self.left
        )


def price_of_what_is_left(customer: Customer) -> Fraction:
    """Give what the usage that is left would have cost if it alone had been used, in its order."""
    alone = Customer(customer.priced_by)
    for sequence, item in customer.left.items():
        if sequence in customer.free:
            continue
        # That its subject was charged before, and has been refunded, is not what it is priced by.
        alone.use(replace(item, subject=f"{sequence}") if isinstance(item, pricing.Outcome) else item)
    alone.close()
    return alone.paid_micros


@pytest.mark.parametrize("name", SCHEMES)
@settings(max_examples=40, deadline=None)
@given(steps_of(items), st.sampled_from(["1", "0.5"]), AFTER)
def test_what_is_paid_is_the_price_of_what_is_left_less_what_was_refunded(
    name: str, steps: list[tuple[Any, ...]], multiplier: str, after: list[tuple[Any, ...]]
) -> None:
    """Once the period has closed, and whatever is undone or refunded then; never less than nothing."""
    assert_pays_what_is_left(name, steps, multiplier, after)


@pytest.mark.parametrize("name", ONCE_SCHEMES)
@settings(max_examples=60, deadline=None)
@given(steps_of(tickets), st.sampled_from(["1", "0.5"]), AFTER)
def test_what_is_charged_once_counts_where_it_was_charged(
    name: str, steps: list[tuple[Any, ...]], multiplier: str, after: list[tuple[Any, ...]]
) -> None:
    """Of a subject the first report, or the next one after that was undone or refunded in full.

    A subject has no close: reports that were free when they came stay free, and count nowhere.
    """
    assert_pays_what_is_left(name, steps, multiplier, after)


def assert_pays_what_is_left(
    name: str, steps: list[tuple[Any, ...]], multiplier: str, after: list[tuple[Any, ...]]
) -> None:
    """Compare what was paid with the price of what is left, at the close and after each step that follows.

    Exactly, as long as nothing was refunded. Else what rounding has left over of the card and of the period
    may never be set off: a part of a micro-credit each.
    """
    customer = Customer(terms_of(name, multiplier))
    for verb, *said in steps:
        getattr(customer, verb)(*said)
    customer.close()
    for undone in [(), *after]:
        for verb, *said in [undone] if undone else []:
            getattr(customer, verb)(*said)
        expected = max(price_of_what_is_left(customer) - customer.refunded_micros, Fraction(0))
        was_refunded = any(entry.kind is EntryKind.REFUND for entry in customer.entries)
        off = abs(customer.paid_micros - expected)
        assert off < 2 if was_refunded else off == 0


def pages(quantity: int) -> pricing.Item:
    return pricing.Units("page", quantity * 10**9)


def test_what_refunds_left_nothing_of_is_set_off_later() -> None:
    """5 pages for 20 and one for nothing: all 20 are refunded, so that no part of a surplus of 8 goes back.

    Without the first what is left is a page at 4: 4 credits, not 12.
    """
    customer = Customer(terms_of("volume"))
    customer.use(pages(5))
    customer.use(pages(1))
    customer.refund(0, 12)
    customer.close()
    assert customer.paid_micros == 0
    customer.reverse(0)
    assert customer.paid_micros == 4 * 10**6


def test_a_line_in_two_counters_never_goes_back_twice() -> None:
    """43 credits, of which both counters have 8 too much: after 11 twelfths only a twelfth can go back."""
    customer = Customer(terms_of("volumes"))
    customer.use(pages(5))
    customer.use(pages(1))
    customer.refund(0, 11)
    customer.close()
    assert 0 <= customer.paid_micros <= 1
