"""Pieces of a period against the list of its lines: exact, or said not to be.

Lines of other prices a unit, by the bounds of one version of a card or of several, added and taken out.
"""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.rating import pieces
from pricing.rating.pieces import GRADUATED, PIECES_MAX, VOLUME

BOUNDS = {
    "graduated": [[GRADUATED, 0, 20, 60]],
    "graduated beyond a bundle": [[GRADUATED, 7, 20]],
    "volume": [[VOLUME, 0, 50, 200]],
    "volume beyond a bundle": [[VOLUME, 30, 50, 200]],
    "versions": [[GRADUATED, 5, 40], [GRADUATED, 0, 30, 90], [VOLUME, 10, 100, 250]],
}


class Lines:
    """The lines of a period, all of them, and what they come to."""

    def __init__(self):
        self.lines, self.last = {}, {}

    def total(self):
        """Add up what each line amounts to where it lies."""
        position, reached = 0, {}
        for number, (_, _, used, _) in self.lines.items():
            position += used
            for other, last in self.last.items():
                if number <= last:
                    reached[other] = position
        position, total = 0, Fraction(0)
        for place, bounds, used, prices in self.lines.values():
            total += pieces.value(bounds, position, used, prices, reached[place])
            position += used
        return total


def add(state, lines, bounds, used, prices):
    """Append a line to both; return by how much the period amounts to more."""
    more = pieces.append(state, bounds, used, prices)
    place = pieces.place_of(state, bounds)
    lines.lines[state["last"]] = place, bounds, used, prices
    lines.last[place] = state["last"]
    return more


def take(state, lines, number):
    """Take a line out of both; what that takes away is by how much the period amounts to less."""
    before = pieces.total(state)
    place, _, used, prices = lines.lines.pop(number)
    assert pieces.take_away(state, number, place, used, prices) == before - pieces.total(state)


def assert_exact(state, lines):
    """Compare what the pieces come to with the list of lines."""
    assert pieces.is_exact(state)
    assert pieces.total(state) == lines.total()


@pytest.mark.parametrize("name", BOUNDS)
@settings(max_examples=8, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 2 * PIECES_MAX), st.integers(0, 30))
def test_pieces_are_exact_or_say_that_they_are_not(name, chance, count, undone):
    """Of up to twice as many lines as are kept apart, until the first that cannot be taken out exactly."""
    state, lines, more = {}, Lines(), 0
    for _ in range(count):
        bounds = chance.choice(BOUNDS[name])
        prices = [Fraction(chance.randrange(1000), chance.choice([1, 3, 7])) for _ in bounds[1:]]
        more += add(state, lines, bounds, chance.choice([0, 1, 1, 2, 5]), prices)
        assert len(state["pieces"]) <= PIECES_MAX
    assert more == pieces.total(state) == lines.total()
    for _ in range(min(undone, count)):
        take(state, lines, chance.choice([min(lines.lines), chance.choice(list(lines.lines))]))
        if not pieces.is_exact(state):
            break
        assert pieces.total(state) == lines.total()
    if count < PIECES_MAX:
        assert pieces.is_exact(state)


def test_a_step_that_begins_in_what_was_put_together_is_not_exact():
    """Behind 20 of the first step come as many as are kept apart and 10: these may move there, no others."""
    state, lines = {}, Lines()
    for n in range(20 + PIECES_MAX + 10):
        add(state, lines, [GRADUATED, 0, 20], 1, [Fraction(n), Fraction(2 * n)])
    apart = len(state["pieces"]) - 2
    for number in range(1, apart + 1):
        take(state, lines, number)
        assert_exact(state, lines)
    take(state, lines, apart + 1)
    assert not pieces.is_exact(state)


def test_what_was_put_together_is_taken_out_exactly():
    """From the last line to the first: nothing moves, and in the end nothing is left."""
    state, lines = {}, Lines()
    for n in range(20 + PIECES_MAX + 5):
        add(state, lines, [GRADUATED, 0, 20], 1, [Fraction(n), Fraction(2 * n)])
    for number in reversed(list(lines.lines)):
        take(state, lines, number)
        assert_exact(state, lines)
    assert (state["pieces"], state["count"]) == ([], 0)


def test_what_was_put_together_moves_as_a_whole_exactly():
    """All that lies behind the first line comes to lie in the first step, which it does not fill."""
    state, lines = {}, Lines()
    add(state, lines, [GRADUATED, 0, 200], 200, [Fraction(1), Fraction(2)])
    for n in range(PIECES_MAX + 10):
        add(state, lines, [GRADUATED, 0, 200], 1, [Fraction(n), Fraction(2 * n)])
    take(state, lines, 1)
    assert_exact(state, lines)
    assert pieces.total(state) == sum(range(PIECES_MAX + 10))


def test_a_line_of_nothing_at_the_end_of_a_step_is_not_taken_for_one_of_it():
    """What was put together just fills the first step, once moved: its last line stands in the second."""
    state, lines = {}, Lines()
    add(state, lines, [GRADUATED, 0, PIECES_MAX], PIECES_MAX, [Fraction(1), Fraction(2)])
    for n in range(PIECES_MAX):
        add(state, lines, [GRADUATED, 0, PIECES_MAX], 1, [Fraction(n), Fraction(2 * n)])
    add(state, lines, [GRADUATED, 0, PIECES_MAX], 0, [Fraction(3), Fraction(7)])
    take(state, lines, 1)
    assert not pieces.is_exact(state)
