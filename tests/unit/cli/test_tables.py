"""Tables of the command line: what is printed of an id can be copied, on whatever terminal."""

from __future__ import annotations

import sys
from io import StringIO

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from ledger.admin.v1 import admin_service_pb2 as pb
from ledger.cli.commands.grants import grants_table
from ledger.cli.output.console import print_table
from ledger.v1.wallet_service_pb2 import Grant

GRANTS = [
    pb.CustomerGrant(
        customer_id=f"customer-of-a-long-name-{number:020}",
        note="a note of several words that people write, and that may be parted between any two of them",
        grant=Grant(
            grant_id=f"grt_{number:032}",
            external_reference=f"invoice/2026/11/{number:030}",
            recurring="monthly",
            expires_at=Timestamp(seconds=1_796_083_200),
            amount_micros=123_456_789_012_345_678,
            remaining_micros=123_456_789_012_345_678,
            consumed_micros=987_654_321,
        ),
    )
    for number in range(3)
]


class Terminal(StringIO):
    """A terminal, of as many columns as the environment says."""

    def isatty(self) -> bool:
        return True


def test_where_nobody_watches_each_row_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Whole: what reads it finds in a line all that belongs together."""
    print_table(grants_table(GRANTS))
    lines = capsys.readouterr().out.splitlines()
    for each in GRANTS:
        [line] = [line for line in lines if each.grant.grant_id in line]
        for text in (each.customer_id, each.note, each.grant.external_reference, "123,456,789,012.345678"):
            assert text in line


@pytest.mark.parametrize("columns", [40, 80, 160, 400])
def test_no_terminal_is_too_narrow_for_an_id(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """Ids, amounts and references stand on one line each; notes alone are parted, between words."""
    terminal = Terminal()
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys, "stdout", terminal)
    print_table(grants_table(GRANTS))
    words = terminal.getvalue().replace("\u2502", " ").split()
    for each in GRANTS:
        for text in (each.customer_id, each.grant.grant_id, each.grant.external_reference):
            assert words.count(text) == 1
    assert words.count("123,456,789,012.345678") == 2 * len(GRANTS)
    assert words.count("people") == len(GRANTS)
    assert "\u2026" not in terminal.getvalue()
