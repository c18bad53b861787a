"""`acu-ledger customers budgets`: what is printed of a customer's budgets."""

from __future__ import annotations

import pytest
import typer
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console

from ledger.cli.commands.customers import _labels, budgets_table
from ledger.v1 import credit_service_pb2 as credit
from ledger.v1 import wallet_service_pb2 as wallet


def test_budgets_are_printed() -> None:
    """A row each; of one by labels that were not asked for there are no counts, which is not 0."""
    daily = credit.Budget(
        name="daily",
        limit_micros=500_000_000,
        window=credit.BUDGET_WINDOW_DAY,
        where={"project": "p"},
        used_micros=1_500_000,
        left_micros=498_500_000,
        window_ends_at=Timestamp(seconds=1_796_083_200),
    )
    each = credit.Budget(
        name="each", limit_micros=1_000_000, window=credit.BUDGET_WINDOW_TOTAL, by=["agent", "session"]
    )
    console = Console(width=160)
    with console.capture() as printed:
        console.print(budgets_table(wallet.GetBudgetsResponse(budgets=[daily, each])))
    rows = [line.strip(" │|").split() for line in printed.get().splitlines()]
    cells = [[cell for cell in row if cell not in "│┃|"] for row in rows if {"daily", "each"} & {*row}]
    assert cells == [
        ["daily", "DAY", "-", "project=p", "2026-12-01", "00:00:00", "500.000000", "1.500000", "498.500000"],
        ["each", "TOTAL", "agent,", "session", "-", "-", "1.000000", "-", "-"],
    ]


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        (["agent=a", "agent=b"], "agent=b: agent stands here twice; keep one of them"),
        (["agent"], "agent: write NAME=VALUE"),
        (["=a"], "=a: write NAME=VALUE"),
    ],
)
def test_labels_that_say_nothing_certain(stated: list[str], said: str, capsys: pytest.CaptureFixture) -> None:
    """They are refused: counts of other labels than were meant would look right."""
    with pytest.raises(typer.Exit):
        _labels(stated)
    assert capsys.readouterr().err == f"{said}\n"
