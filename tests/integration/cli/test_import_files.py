"""Customers and opening grants of another system are imported once, each row by itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command_line import acu_ledger, lines

from tests.serving import REPOSITORY, Server

PAGE = (REPOSITORY / "docs" / "import.md").read_text("utf-8")


def test_the_pages_samples_are_imported(server: Server, tmp_path: Path) -> None:
    """As the page has them: dry runs have no effect, the imports what these said, and a repeat none."""
    to = ("--target", server.back_office, "--json")
    for name, text in re.findall(r"```csv (\w+\.csv)\n(.*?)```", PAGE, re.DOTALL):
        (tmp_path / name).write_text(text, "utf-8")
    customers, grants = tmp_path / "customers.csv", tmp_path / "grants.csv"
    for what, file, rows in (("customers", customers, 2), ("grants", grants, 3)):
        planned = acu_ledger("import", what, file, "--dry-run", *to).json()
        done = acu_ledger("import", what, file, *to).json()
        again = acu_ledger("import", what, file, *to).json()
        assert planned == done
        assert (done["rows"], done["imported"], done["imported_before"]) == (rows, rows, 0)
        assert (again["imported"], again["imported_before"], again["credits_micros"]) == (0, rows, "0")
    assert (done["credits_micros"], done["paid_total_usd"]) == ("1765500000", "152.550000000")


def test_a_bad_row_loses_no_other(server: Server, tmp_path: Path) -> None:
    """Each is said with its line and column; the rest is imported, and the exit status says some were not."""
    to = ("--target", server.back_office, "--json")
    file = tmp_path / "customers.csv"
    header, good = ("customer_id", "plan", "rate_card", "zone"), ("moved-a", "standard", "resolved", "")
    bad = [
        ("moved-b", "no-such-plan", "resolved", ""),
        ("moved-c", "standard", "no-such-card", ""),
        ("moved-d", "standard", "resolved", "Mars/Phobos"),
        good,
    ]
    file.write_text(lines(header, good, *bad), "utf-8")
    for options, figure in ((["--dry-run"], "imported"), ([], "imported"), ([], "imported_before")):
        ran = acu_ledger("import", "customers", file, *to, *options)
        answer = ran.json(status=1)
        assert (answer["rows"], answer["wrong"], answer[figure]) == (5, 4, 1)
        fields = [(each["line"], each["field"]) for each in answer["problems"]]
        assert fields == [(3, "plan"), (4, "rate_card"), (5, "zone"), (6, "customer_id")]
        assert f"{file}:5: zone: 'Mars/Phobos'" in ran.stderr


def test_a_row_that_was_imported_stands(server: Server, tmp_path: Path) -> None:
    """With other values it is refused by its id, and nothing is booked anew."""
    to = ("--target", server.back_office, "--json")
    file = tmp_path / "grants.jsonl"
    acu_ledger("customers", "create", "moved-e", "--card", "resolved", *to).json()
    row = '{"id": "lot", "customer_id": "moved-e", "credits": %s, "kind": "PAID"}\n'
    file.write_text(row % "5.25", "utf-8")
    assert acu_ledger("import", "grants", file, *to).json()["credits_micros"] == "5250000"
    file.write_text(row % "6" + row.replace("moved-e", "nobody").replace('"lot"', '"other"') % "6", "utf-8")
    again = acu_ledger("import", "grants", file, *to).json(status=1)
    assert (again["imported"], again["credits_micros"]) == (0, "0")
    assert [(each["line"], each["field"]) for each in again["problems"]] == [(1, "id"), (2, "customer_id")]


@pytest.mark.parametrize("content", ["", "customer_id,plan,colour\n"])
def test_a_file_of_other_columns_is_a_usage_error(server: Server, tmp_path: Path, content: str) -> None:
    """Nothing of it is imported."""
    file = tmp_path / "rows.csv"
    file.write_text(content, "utf-8")
    ran = acu_ledger("import", "customers", file, "--target", server.back_office)
    assert (ran.status, ran.stdout) == (2, "")
    assert "line 1: " in ran.stderr
