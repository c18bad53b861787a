"""Decimal strings: what is written is what was read, and what cannot be read is named."""

from __future__ import annotations

from fractions import Fraction

import pytest

from pricing.exact import DECIMAL_RULE, format_nanos, format_percent, parse_nanos, parse_percent


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (0, "0"),
        (1, "0.000000001"),
        (100_000_000, "0.1"),
        (10_000_000_000, "10"),
        (10_500_000_000, "10.5"),
        (999_999_999_999_999_999_999_999, "999999999999999.999999999"),
    ],
)
def test_billionths_have_one_shortest_string(nanos: int, text: str) -> None:
    """No zeros at the end of a fraction, no point without one; the zeros of a whole number stay."""
    assert format_nanos(nanos) == text
    assert parse_nanos(text) == nanos


@pytest.mark.parametrize("text", ["", "-1", "+1", "1e3", " 1", "1.", ".5", "1.0000000001", "1" * 16, "one"])
def test_what_is_no_decimal_is_named_with_the_rule(text: str) -> None:
    """The error repeats what was given and says what is allowed."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 -- the message is compared below
        parse_nanos(text)
    assert str(caught.value) == f"{text!r} is not {DECIMAL_RULE}"


@pytest.mark.parametrize(
    ("text", "ratio"),
    [
        ("0%", Fraction(0)),
        ("12.5%", Fraction(1, 8)),
        ("37.31%", Fraction(3731, 10_000)),
        ("250%", Fraction(5, 2)),
    ],
)
def test_a_percentage_is_read_and_written_exactly(text: str, ratio: Fraction) -> None:
    """A percentage is a hundredth of its number, and comes back as it was."""
    assert parse_percent(text) == ratio
    assert format_percent(ratio) == text


def test_the_sign_of_a_percentage_is_asked_for() -> None:
    """A bare number is no percentage."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 -- the message is compared below
        parse_percent("30")
    assert str(caught.value) == "'30' is not a percentage such as \"30%\""
