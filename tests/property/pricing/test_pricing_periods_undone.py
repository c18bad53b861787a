"""Reversals under a period: in whatever order lines are charged and undone, what is left is paid.

What was charged of the lines that are left, less what goes back when the period closes (or with what is due
then), is what these lines would have cost if they alone had been used, in their order.
"""

from fractions import Fraction
from math import trunc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pricing_period_schemes import NOW, SCHEMES, actions, terms_of

from pricing import Memory, Tokens, memory_keys, price, unwind


class Period:
    """One customer's usage in one period, and what was paid of the lines that are left."""

    def __init__(self, terms):
        self.terms, self.states, self.surplus, self.lines = terms, {}, {}, []
        self.is_closed, self.paid = False, Fraction(0)

    def use(self, item):
        """Charge an item: never less than nothing."""
        keys = memory_keys([item], {}, self.terms, NOW)
        known = {key: text for key, text in self.states.items() if key in keys}
        quote = price([item], {}, self.terms, Memory(known), now=NOW)
        [line] = quote.lines
        assert line.exact_micros >= 0
        self.keep(quote.states)
        self.paid += line.exact_micros
        self.lines.append(line)

    def undo(self, which):
        """Reverse one of the lines that are left, if any are: what it paid goes back."""
        if self.lines:
            line = self.lines.pop(which % len(self.lines))
            self.paid -= line.exact_micros
            self.keep(unwind(line.effects, self.states, self.states if self.is_closed else ()))
            if self.is_closed:
                self.close()

    def keep(self, states):
        """Keep what changed."""
        self.states |= {key: state.text for key, state in states.items()}
        self.surplus |= {key: state.surplus_micros for key, state in states.items()}

    def close(self):
        """What was charged too much goes back, what is due is charged, in whole micro-credits."""
        self.is_closed = True
        for key, micros in self.surplus.items():
            self.paid -= trunc(micros)
            self.surplus[key] = micros - trunc(micros)

    @property
    def exactly_paid(self):
        """What was paid, less what is carried on: of each state less than a micro-credit, once closed."""
        return self.paid - sum(self.surplus.values())


def assert_pays_what_is_left(period):
    """Compare what was paid with what the lines that are left cost by themselves, in their order.

    To the last fraction: less than a micro-credit of each state is carried on, and nothing is lost of it.
    """
    alone = Period(period.terms)
    for line in period.lines:
        alone.use(line.item)
    alone.close()
    assert period.exactly_paid == alone.exactly_paid


@pytest.mark.parametrize("name", SCHEMES)
@settings(max_examples=60, deadline=None)
@given(actions, st.sampled_from(["1", "0.5", "3"]), st.lists(st.integers(0, 20), max_size=3))
def test_what_is_paid_is_the_price_of_what_is_left(name, done, multiplier, after_the_close):
    """Numbers reverse; also after the close, where what remains is settled at once."""
    period = Period(terms_of(name, multiplier))
    for action in done:
        if isinstance(action, int):
            period.undo(action)
        else:
            period.use(action)
    period.close()
    assert_pays_what_is_left(period)
    for which in after_the_close:
        period.undo(which)
        assert_pays_what_is_left(period)


@pytest.mark.parametrize("name", ["graduated fees", "volume of fees", "fee beyond a bundle"])
@settings(max_examples=15, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(40, 110))
def test_many_lines_of_other_prices_are_undone_exactly(name, chance, count):
    """Each of another price a unit; a quarter of them is undone, from the first line on or anywhere."""
    period = Period(terms_of(name))
    for _ in range(count):
        period.use(Tokens("a/large", {"input": chance.randrange(10**6)}, requests=chance.randrange(3)))
    for _ in range(count // 4):
        period.undo(chance.choice([0, chance.randrange(count)]))
    period.close()
    assert_pays_what_is_left(period)
