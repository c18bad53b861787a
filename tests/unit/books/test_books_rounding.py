"""Rounding and shares: exact, and adding up."""

from fractions import Fraction

import pytest

from ledger.books import BooksError, Rounding, apportion, round_exact
from ledger.books.rounding import share


@pytest.mark.parametrize(
    ("amount", "mode", "rounded"),
    [
        ("0.5", "half_even", 0),
        ("1.5", "half_even", 2),
        ("2.5", "half_even", 2),
        ("2.500001", "half_even", 3),
        ("0.5", "half_up", 1),
        ("0.499999", "half_up", 0),
        ("0.000001", "up", 1),
        ("3", "up", 3),
        ("0.999999", "down", 0),
        ("3", "down", 3),
        ("-0.5", "half_even", 0),
        ("-1.5", "half_even", -2),
        ("-2.6", "half_even", -3),
    ],
)
def test_each_mode_rounds_to_whole_numbers(amount: str, mode: str, rounded: int) -> None:
    """Half even is the default; half up, up and down do as they say."""
    assert round_exact(Fraction(amount), Rounding(1, mode)) == rounded


@pytest.mark.parametrize(
    ("amount", "mode", "rounded"),
    [
        (14_999, "half_even", 10_000),
        (15_000, "half_even", 20_000),
        (25_000, "half_even", 20_000),
        (1, "up", 10_000),
        (0, "up", 0),
        (19_999, "down", 10_000),
    ],
)
def test_a_quantum_is_what_is_rounded_to(amount: int, mode: str, rounded: int) -> None:
    """A card that rounds to 0.01 credit charges multiples of 10,000 micro-credits."""
    assert round_exact(Fraction(amount), Rounding(10_000, mode)) == rounded


def test_an_unknown_mode_is_a_fault() -> None:
    """A mode that nobody knows never rounds silently."""
    with pytest.raises(BooksError, match="half_odd"):
        round_exact(Fraction(1, 2), Rounding(1, "half_odd"))


def test_shares_go_to_the_largest_remainders_and_ties_to_the_earlier() -> None:
    """10 over 3 equal weights is 4, 3, 3; the largest remainder comes first."""
    assert apportion(10, [1, 1, 1]) == (4, 3, 3)
    assert apportion(10, [2, 3, 1]) == (3, 5, 2)
    assert apportion(2, [1, 3, 3]) == (0, 1, 1)
    assert apportion(1, [0, 5, 5]) == (0, 1, 0)


def test_nothing_is_divided_over_anything() -> None:
    """Nothing to divide needs no weights; a negative total is divided as its magnitude."""
    assert apportion(0, []) == ()
    assert apportion(0, [0, 0]) == (0, 0)
    assert apportion(-10, [1, 1, 1]) == (-4, -3, -3)


@pytest.mark.parametrize("weights", [[], [0], [0, 0], [2, -1]])
def test_what_cannot_be_divided_is_a_fault(weights: list[int]) -> None:
    """Something to divide needs something that weighs: it is never dropped."""
    with pytest.raises(BooksError):
        apportion(5, weights)


def test_the_last_part_takes_all_the_value() -> None:
    """A part takes its share rounded down; the last one all that is left."""
    assert share(10, 1, 3) == 3
    assert share(10, 2, 3) == 6
    assert share(10, 3, 3) == 10
