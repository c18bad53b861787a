"""Exact sums that prices remember: their texts stay short, whatever is added up."""

from fractions import Fraction

from pricing_world import units

MARGINS = [Fraction(10 + n % 60) + Fraction(n * 1_000_003 + 1, 10**9) for n in range(450)]
"""Percentages; a price at any of them has a denominator of its own, of ten digits."""


def _rule(n: int, margin: Fraction) -> str:
    percent = f"{int(margin)}.{int(margin % 1 * 10**9):09d}%"
    return f"group: g, match: {{units: mail-{n}}}, price: {{cost_plus: {{margin: '{percent}'}}}}"


def test_sums_of_many_margins_stay_short(customer):
    """450 margins in one sum of a day: each line is charged its price, and all of them go back in the end."""
    one = customer(
        *[_rule(n, margin) for n, margin in enumerate(MARGINS)],
        "match: {units: fee}, price: {each: '1', allowance: {share: 10%, of: g, per: day}}",
        costs="units:\n  fee: {cost: none}\n"
        + "".join(f'  mail-{n}: {{each: "1"}}\n' for n in range(len(MARGINS))),
    )
    for n, margin in enumerate(MARGINS):
        price = 1 / (1 - margin / 100)
        assert round(one.pays(units(f"mail-{n}", "1")) * 10**12) == round(price * 10**12)
        assert all(len(text) < 1_000 for text in one.states.values())
    for line in one.lines:
        one.undo(line)
    assert set(one.states.values()) == {""}
