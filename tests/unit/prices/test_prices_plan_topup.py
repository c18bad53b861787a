"""`topup` of a plan: what it says, and what is refused of it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

import pricing
from ledger.books.top_up_rules import TopUpRules
from ledger.prices.plan_topup import TopUpModel
from pricing.documents.validate import load_model

LEAST = {"below": "20", "add": "100", "credit_price_usd": "0.01", "monthly_cap": "1000"}


def _read(tmp_path: Path, **changes: str | None) -> TopUpRules:
    stated = {key: value for key, value in (LEAST | changes).items() if value is not None}
    lines = [f"{key}: {value if key == 'attempts' else repr(value)}" for key, value in stated.items()]
    file = tmp_path / "topup.yaml"
    file.write_text("\n".join(lines))
    return load_model(file, TopUpModel).rules()


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    """An hour after the first failure, three attempts, a day for an answer, ten minutes to cool down."""
    assert _read(tmp_path) == TopUpRules(
        below_micros=20_000_000,
        add_micros=100_000_000,
        up_to_micros=None,
        credit_price_nanousd=10_000_000,
        monthly_cap_micros=1_000_000_000,
        expires_after=None,
        answer_within=timedelta(hours=24),
        cool_down=timedelta(minutes=10),
        attempts_max=3,
        back_off=timedelta(hours=1),
    )


def test_a_target_in_the_place_of_an_amount(tmp_path: Path) -> None:
    """The price need not be whole cents: what is missing is known when it is bought."""
    found = _read(tmp_path, add=None, up_to="150", credit_price_usd="0.0033", expires_after="365d")
    assert (found.add_micros, found.up_to_micros) == (None, 150_000_000)
    assert found.expires_after == timedelta(days=365)


def test_a_month_has_room_for_the_least_that_is_missing(tmp_path: Path) -> None:
    """With a target that is more than what is left when one is needed, in whole credits."""
    assert _read(tmp_path, add=None, up_to="150", monthly_cap="131").monthly_cap_micros == 131_000_000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"add": None}, "states both of add and up_to, or none"),
        ({"up_to": "150"}, "states both of add and up_to, or none"),
        ({"below": "0"}, "nothing is ever below 0"),
        ({"add": "0"}, "adds nothing"),
        ({"add": None, "up_to": "19"}, "is less than below"),
        ({"monthly_cap": "99"}, "leaves no room for a single top-up"),
        # Fewer than 20 are left when one is needed: at least 131 are missing to 150.
        ({"add": None, "up_to": "150", "monthly_cap": "130"}, "leaves no room for a single top-up"),
        ({"add": None, "up_to": "20", "monthly_cap": "0.5"}, "leaves no room for a single top-up"),
        ({"add": "1000000001", "monthly_cap": "1000000001"}, "is no amount of a top-up (write 1000000000"),
        ({"add": None, "up_to": "1000000001", "monthly_cap": "1000000001"}, "is no amount of a top-up"),
        ({"credit_price_usd": "10000.01"}, "a top-up costs more than 1000000 USD"),
        ({"monthly_cap": None}, "monthly_cap"),
        ({"credit_price_usd": None}, "credit_price_usd"),
        ({"credit_price_usd": "0"}, "must be above 0"),
        ({"credit_price_usd": "0.00001"}, "a top-up costs no whole number of cents"),
        ({"expires_after": "1d"}, "a grant would expire before it has to be paid"),
        ({"expires_after": "3651d"}, "is too short or too long"),
        ({"answer_within": "31d"}, "is too short or too long"),
        ({"cool_down": "0s"}, "is too short or too long"),
        ({"cool_down": "10"}, "is no duration"),
        ({"attempts": "{max: 11}"}, "less than or equal to 10"),
        ({"attempts": "{max: 0}"}, "greater than or equal to 1"),
        ({"attempts": "{back_off: 2d}"}, "is too short or too long"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, changes: dict[str, str | None], message: str) -> None:
    """With the place, and what to write instead."""
    with pytest.raises(pricing.ConfigError) as refused:
        _read(tmp_path, **changes)
    assert message in str(refused.value)
