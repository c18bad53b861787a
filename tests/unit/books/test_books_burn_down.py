"""Which lot pays for what, where more than one could: rules that random sums do not tell apart."""

from __future__ import annotations

import pytest

from ledger.books.billing import Bill, make_bill
from ledger.books.burn_down import Source, cover
from tests.build import line, lot, priced


def source(n: int, scope: str | None, micros: int) -> Source:
    """Give what is available in a lot; the lots burn in the order of their numbers."""
    return lot(n, micros, scope), micros, False


def bill(needs: dict[str | None, int]) -> Bill:
    """Give a bill for usage of so much a kind, or for credits, which have none."""
    if None in needs:
        return make_bill(needs[None], None)
    return make_bill(None, priced(*[line(micros, kind=kind) for kind, micros in needs.items() if kind]))


@pytest.mark.parametrize(
    ("needs", "sources", "taken"),
    [
        pytest.param({"tokens": 10}, [(None, 10), ("tokens", 10)], {0: 10}, id="the first burns first"),
        pytest.param(
            {"tokens": 10}, [(None, 6), ("tokens", 10)], {0: 6, 1: 4}, id="a later one pays the rest"
        ),
        pytest.param(
            {"tokens": 4, "compute": 4},
            [(None, 6), ("tokens", 4)],
            {0: 6, 1: 2},
            id="what no later one can pay goes first, and what is left burns in order",
        ),
        pytest.param(
            {"tokens": 5, "compute": 5},
            [(None, 5), ("tokens", 3)],
            {0: 5, 1: 3},
            id="only what later ones cannot pay is pressing",
        ),
        pytest.param(
            {"compute": 4, "tokens": 4},
            [(None, 1), ("tokens", 3), ("compute", 4)],
            {0: 1, 1: 3, 2: 4},
            id="what a later one has to the last credit is left to it",
        ),
        pytest.param(
            {"compute": 4, "tokens": 4},
            [("tokens", 3), (None, 1), ("compute", 4)],
            {0: 3, 1: 1, 2: 4},
            id="a scope that has paid is no later one any more",
        ),
        pytest.param({None: 3}, [("tokens", 5), (None, 5)], {1: 3}, id="a scope pays for no stated credits"),
        pytest.param({"tokens": 2}, [("compute", 5), ("tokens", 5)], {1: 2}, id="nor for another kind"),
    ],
)
def test_lots_pay_in_burn_order_and_for_what_needs_them_most(
    needs: dict[str | None, int], sources: list[tuple[str | None, int]], taken: dict[int, int]
) -> None:
    """An unscoped lot pays first what no later scope can, then all kinds alike: it is not spared."""
    found, _ = cover(bill(needs), iter([source(n, *each) for n, each in enumerate(sources)]))
    assert {burnt.key.sequence: micros for burnt, micros, _ in found} == taken


def test_lines_of_one_kind_are_one_need() -> None:
    """Needs are added up by kind, in the order in which the kinds come; stated credits have none."""
    usage = make_bill(None, priced(line(4), line(1, kind="compute"), line(3)))
    assert list(usage.needs().items()) == [("tokens", 7), ("compute", 1)]
    assert make_bill(8, None).needs() == {None: 8}
