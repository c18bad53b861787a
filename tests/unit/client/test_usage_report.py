"""The pieces of a usage report's rows add up to what one row would have reported."""

from __future__ import annotations

import pytest

from ledger.client.usage_report import added_up
from ledger.v1.credit_service_pb2 import Labels
from ledger.v1.wallet_service_pb2 import UsageRow


def row(**fields) -> UsageRow:
    reported = {
        "day": "2026-03-01",
        "kind": "units",
        "labels": Labels(project="p", other={"b": "1", "a": "2"}),
    }
    return UsageRow(**{**reported, **fields})


def test_pieces_add_up_exactly():
    """Every figure, in as many digits as it has; what differs in a part of its key stays apart."""
    big = f"{10**15 * 10**6 - 1}.999999999"
    first = row(
        unit="DBU", measured="0.25", items=3, credits_micros=10, quantities={"quantity": big, "x": "1.5"}
    )
    others = [
        row(unit="ACU", items=1),
        row(day="2026-03-02", items=1),
        row(labels=Labels(project="q"), items=1),
    ]
    last = row(
        unit="DBU", measured="0.75", items=-1, credits_micros=-4, quantities={"quantity": big, "y": "-2"}
    )
    assert added_up([first, *others, last]) == [
        row(
            unit="DBU",
            measured="1",
            items=2,
            credits_micros=6,
            quantities={"quantity": f"{2 * 10**21 - 1}.999999998", "x": "1.5", "y": "-2"},
        ),
        *others,
    ]


def test_what_comes_to_nothing_is_left_out():
    """A charge in one piece and its reversal in the next are no usage; a quantity of 0 is not reported."""
    done = row(items=1, credits_micros=5, quantities={"quantity": "2.50"})
    undone = row(items=-1, credits_micros=-5, quantities={"quantity": "-2.5"})
    assert added_up([done, undone]) == []
    assert added_up([row(items=1, quantities={"a": "1"}), row(items=0, quantities={"a": "-1"})]) == [
        row(items=1)
    ]


def test_a_sum_that_no_row_holds():
    """Never another figure."""
    with pytest.raises(ValueError, match=r"[Oo]ut of range"):
        added_up([row(credits_micros=2**62), row(credits_micros=2**62)])
