"""Amounts cross the edge exactly, or not at all."""

from __future__ import annotations

import pytest

from ledger.cli.output.amounts import (
    dollars,
    margin,
    micros,
    nanousd,
    show_credits,
    show_dollars,
    show_margin,
    show_whole_dollars,
)


def test_amounts_are_exact_both_ways() -> None:
    """A decimal string and its integer name the same amount."""
    assert nanousd("1000000000.000000001") == 1_000_000_000_000_000_001
    assert nanousd("-0.5") == -500_000_000
    assert dollars(1_000_000_000_000_000_001) == "1000000000.000000001"
    assert micros("12.5") == 12_500_000


@pytest.mark.parametrize(
    "text",
    [
        "0.0000000001",
        "1.0000000000000000000000000000001",
        "1e-999999999",
        "1e3",
        "1_000",
        "\u0661\u0660",
        "NaN",
        "Infinity",
        " 5",
        "5.",
        ".5",
        "+5",
        "",
    ],
)
def test_what_is_finer_or_no_amount_is_refused(text: str) -> None:
    """Nothing is rounded on the way in."""
    with pytest.raises(ValueError, match=r"decimal places|not an amount"):
        nanousd(text)


def test_margin_is_what_is_left_of_revenue() -> None:
    """The margin is (revenue - cost) / revenue, and none without revenue."""
    assert margin(10, 4) == 0.6
    assert margin(0, 4) is None
    assert [show_margin(10, 14), show_margin(0, 4), show_margin(10**6, 10**6 + 1)] == ["-40.0%", "-", "0.0%"]


def test_amounts_as_people_read_them() -> None:
    """Thousands are grouped; dollars show a hundredth of a cent, credits every place; no zero has a sign."""
    assert show_credits(-1_234_500_000) == "-1,234.500000"
    assert show_dollars(-1_234_567_891_234) == "-$1,234.5679"
    assert [show_dollars(-50_001), show_dollars(-49_999)] == ["-$0.0001", "$0.0000"]
    assert [show_whole_dollars(nanousd(text)) for text in ("-1234.5", "1235.5", "-0.4")] == [
        "-$1,234",
        "$1,236",
        "$0",
    ]
