"""Credits in decimals and in micro-credits are the same, to the last."""

from __future__ import annotations

from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.client.amounts import credits_of, micros_of


@given(st.integers(-(2**63), 2**63 - 1))
def test_there_and_back(micros: int) -> None:
    """Whatever precision the caller calculates with."""
    with localcontext(prec=3):
        assert micros_of(credits_of(micros)) == micros
        assert credits_of(micros) * 0 == 0
    assert credits_of(micros) == Decimal(micros) / 1_000_000


@pytest.mark.parametrize(
    "amount", [Decimal("0.0000001"), Decimal("NaN"), Decimal("Infinity"), Decimal("1E+30"), 10**30]
)
def test_amounts_that_are_none(amount: Decimal | int) -> None:
    """Nothing is rounded: what is no number of micro-credits is refused."""
    with pytest.raises(ValueError, match="credits"):
        micros_of(amount)


@pytest.mark.parametrize("amount", [0.1, True, "1", None])
def test_no_floats(amount: object) -> None:
    """Nor what is no number at all."""
    with pytest.raises(TypeError, match="Decimal"):
        micros_of(amount)  # type: ignore[arg-type]
